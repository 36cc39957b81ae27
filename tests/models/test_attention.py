"""Who sees whom, and where the columns of one forward are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.toy import MASK, blank
from unveil.canvas import Canvas
from unveil.models import attention
from unveil.models.attention import Bidirectional, BlockCausal, Causal, Grid, Layout, Rule, attend

RULES = [Bidirectional(), Causal(), BlockCausal(size=3)]


def sees(rule: Rule, query: int, key: int, start: int) -> bool:
    """The rules in plain words."""
    if isinstance(rule, Bidirectional):
        return True
    if isinstance(rule, Causal):
        return key <= query
    assert isinstance(rule, BlockCausal)
    blocks = [-1 if column < start else (column - start) // rule.size for column in (query, key)]
    return blocks[1] <= blocks[0]


def masks(data: st.DataObject, canvas: Canvas) -> tuple[Tensor, Tensor]:
    """Random fresh columns inside the rows, and a random part of them to read."""
    shape = canvas.tokens.shape
    flags = st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    fresh = torch.tensor(data.draw(flags)).view(shape) & canvas.inside
    return fresh, torch.tensor(data.draw(flags)).view(shape) & fresh


@given(
    prompts=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=4),
    data=st.data(),
    shift=st.integers(0, 1),
    rule=st.sampled_from(RULES),
)
def test_a_layout_is_what_plain_loops_find(
    prompts: list[tuple[int, int]], data: st.DataObject, shift: int, rule: Rule
) -> None:
    canvas = blank([[1] * given for given, _ in prompts], [new for _, new in prompts])
    fresh, read = masks(data, canvas)
    layout = Layout.of(canvas, fresh, read, shift=shift, rule=rule)
    B, L = fresh.shape
    wanted = [(row, column) for row in range(B) for column in range(L) if read[row, column]]
    answering = [(row, max(column - shift, 0)) for row, column in wanted]
    computed = sorted({(r, c) for r in range(B) for c in range(L) if fresh[r, c]} | set(answering))
    assert layout.index.tolist() == [row * L + column for row, column in computed]
    assert layout.column.tolist() == [column for _, column in computed]
    assert layout.target.tolist() == [row * L + column for row, column in wanted]
    assert [computed[place] for place in layout.answer.tolist()] == answering
    active = sorted({row for row, _ in computed})
    assert (list(range(B)) if layout.rows is None else layout.rows.tolist()) == active
    ends = canvas.end.tolist()
    assert layout.length == max((ends[row] for row in active), default=0)
    assert layout.whole == (len(computed) == sum(ends[row] for row in active))
    for grid, mask, flat in ((layout.fresh, layout.visible, computed), (layout.read, layout.visible_last, answering)):
        for rank, row in enumerate(active):
            columns = [column for r, column in flat if r == row]
            for place, query in enumerate(columns):
                keys = [
                    mask is None or bool(mask.expand(-1, -1, max(grid.width, 1), -1)[rank, 0, place, key])
                    for key in range(layout.length)
                ]
                start = int(canvas.start[row])
                assert keys == [key < ends[row] and sees(rule, query, key, start) for key in range(layout.length)]


def test_nothing_is_masked_where_all_see_all() -> None:
    even, ragged = blank([[1, 2], [3, 4]], 3), blank([[1, 2], [3]], 3)
    layouts = [Layout.of(c, c.inside, c.undecided, shift=0, rule=Bidirectional()) for c in (even, ragged)]
    assert layouts[0].visible is None and layouts[0].visible_last is None
    assert layouts[1].visible is not None and layouts[1].visible_last is not None


@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_a_grid_pads_and_flattens_back(counts: list[int]) -> None:
    flat = torch.arange(1, sum(counts) + 1)[:, None].expand(-1, 3) * 1.0
    grid = Grid.of(counts, flat.device)
    padded = grid.pad(flat)
    assert padded.shape == (len(counts), max(counts), 3)
    for row, part in zip(padded, flat.split(counts), strict=True):
        assert torch.equal(row[: len(part)], part) and row[len(part) :].abs().sum() == 0
    assert torch.equal(grid.flat(padded), flat)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_is_the_formula_also_with_grouped_heads(groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    H, d, C = 4, 6, 7
    query = torch.randn(5, H, d, generator=generator, dtype=torch.float64)
    keys, values = torch.randn(2, 2, groups, C, d, generator=generator, dtype=torch.float64)
    visible = torch.rand(2, 1, 3, C, generator=generator) > 0.3
    visible[..., 0] = True
    grid = Grid.of([3, 2], query.device)
    out = attend(grid, query, keys, values, visible)
    rows = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]  # flat column -> row, place in the row
    for column, (row, place) in enumerate(rows):
        for head in range(H):
            group = head // (H // groups)
            scores = keys[row, group] @ query[column, head] / d**0.5
            weights = scores.masked_fill(~visible[row, 0, place], float("-inf")).softmax(0)
            assert torch.allclose(out[column, head * d : head * d + d], weights @ values[row, group])


@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any),
    seen=st.sampled_from(["all", "per row", "per column"]),
    seed=st.integers(0, 2**32),
)
def test_row_by_row_is_the_same(counts: list[int], seen: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(sum(counts), 4, 6, generator=generator, dtype=torch.float64)
    keys, values = torch.randn(2, len(counts), 2, 7, 6, generator=generator, dtype=torch.float64)
    visible = None
    if seen != "all":
        width = 1 if seen == "per row" else max(counts)
        visible = torch.rand(len(counts), 1, width, 7, generator=generator) > 0.5
        visible[..., 0] = True
    grid = Grid.of(counts, query.device)
    assert grid.padding == sum(max(counts) - count for count in counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "CALL", -1)
        rows = attend(grid, query, keys, values, visible)
        patch.setattr(attention, "CALL", 1 << 60)
        patch.delattr(attention, "_row_by_row")
        assert torch.allclose(rows, attend(grid, query, keys, values, visible), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("longest, rows", [(2, 0), (64, 1)])
def test_padding_that_is_worth_a_call_is_left_out(monkeypatch: pytest.MonkeyPatch, longest: int, rows: int) -> None:
    taken, plain = list[int](), attention._row_by_row
    monkeypatch.setattr(attention, "_row_by_row", lambda *given: taken.append(1) or plain(*given))
    grid = Grid.of([longest, 1], torch.device("cpu"))
    keys = torch.zeros(2, 4, longest, 32)
    attend(grid, torch.zeros(longest + 1, 4, 32), keys, keys, None)
    assert len(taken) == rows


def test_a_template_starts_its_blocks_at_the_first_hole() -> None:
    canvas = Canvas.template([[1, 2, MASK, 3, MASK, 4]], mask_id=MASK)
    layout = Layout.of(canvas, canvas.inside, canvas.inside, shift=0, rule=BlockCausal(size=2))
    assert layout.visible is not None
    assert layout.visible[0, 0].sum(1).tolist() == [2, 2, 4, 4, 6, 6]
