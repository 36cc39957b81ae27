"""The canvas: constructors, rows as values, and what it says to wrong input."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unveil.canvas import DECODED, GIVEN, MASK, PAD, SOFT, SOFT_MASK, Canvas, Stage

M = 99  # the mask id
Rows = list[tuple[list[int], int]]  # prompts with their numbers of new tokens
TOKENS = st.lists(st.integers(0, 98), min_size=1, max_size=6)
PROMPTS = st.lists(st.tuples(TOKENS, st.integers(1, 5)), min_size=1, max_size=4)


def random_canvas(rows: Rows, soft: int = 2, seed: int = 0) -> Canvas:
    """A canvas in which every field of every row is something else."""
    generator = torch.Generator().manual_seed(seed)
    prompts, new = [row[0] for row in rows], [row[1] for row in rows]
    canvas = Canvas.blank(prompts, new, mask_id=M, num_soft=soft, seed=[7 + i for i in range(len(rows))])
    fields = {}
    for name, value in canvas.tensors().items():
        noise = torch.rand(value.shape, generator=generator) * 50
        fields[name] = noise > 25 if value.dtype is torch.bool else noise.to(value.dtype)
    fields |= {name: getattr(canvas, name) for name in ("start", "end", "stage")}
    outside = ~canvas.inside
    for name, empty in {"tokens": M, "soft_ids": M, "written": -1, "confidence": 0, "soft_weights": 0}.items():
        fields[name][outside] = empty
    return replace(canvas, **fields)


def assert_equal(one: Canvas, other: Canvas) -> None:
    assert one.mask_id == other.mask_id and one.end_ids == other.end_ids
    for name, value in one.tensors().items():
        assert torch.equal(value, other.tensors()[name]), name


@pytest.mark.parametrize("num_soft", [0, 3])
def test_blank(num_soft: int) -> None:
    canvas = Canvas.blank([[1, 2, 3], [4]], [2, 1], mask_id=M, end_ids=(5, 6), num_soft=num_soft, seed=[8, 9])
    assert canvas.tokens.tolist() == [[1, 2, 3, M, M], [4, M, M, M, M]]
    assert canvas.stage.tolist() == [[GIVEN] * 3 + [MASK] * 2, [GIVEN, MASK] + [PAD] * 3]
    assert canvas.start.tolist() == [3, 1] and canvas.end.tolist() == [5, 2]
    assert canvas.written.unique().tolist() == [-1] and canvas.confidence.abs().sum() == 0
    assert canvas.soft_ids.shape == canvas.soft_weights.shape == (2, 5, num_soft)
    assert canvas.seed.tolist() == [8, 9] and canvas.end_ids == (5, 6)
    for name in ("block", "step", "nfe", "done"):
        assert getattr(canvas, name).sum() == 0, name
    assert canvas.num_undecided.tolist() == [2, 1]


def test_template_starts_at_the_first_hole() -> None:
    canvas = Canvas.template([[1, M, 2, M, 3], [M, 4]], mask_id=M)
    assert canvas.start.tolist() == [1, 0] and canvas.end.tolist() == [5, 2]
    assert canvas.stage.tolist() == [[GIVEN, MASK, GIVEN, MASK, GIVEN], [MASK, GIVEN, PAD, PAD, PAD]]


def test_corrupt_is_a_canvas_for_training() -> None:
    tokens, hidden = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]), torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0]]).bool()
    canvas = Canvas.corrupt(tokens, hidden, start=torch.tensor([1, 1]), end=torch.tensor([4, 2]), mask_id=M)
    assert canvas.tokens.tolist() == [[1, 2, M, 4], [5, M, 0, 0]]
    assert canvas.stage.tolist() == [[GIVEN, DECODED, MASK, DECODED], [GIVEN, MASK, PAD, PAD]]
    blank = Canvas.blank([[1], [5]], [3, 1], mask_id=M)
    every = Canvas.corrupt(tokens, blank.undecided, start=blank.start, end=blank.end, mask_id=M)
    assert torch.equal(every.stage, blank.stage) and torch.equal(every.tokens[blank.inside], blank.tokens[blank.inside])


def test_stages_are_ordered_and_group() -> None:
    canvas = Canvas.blank([[1]], 5, mask_id=M)
    stages = torch.tensor([[GIVEN, MASK, SOFT_MASK, SOFT, DECODED, PAD]], dtype=torch.int8)
    canvas = replace(canvas, stage=stages)
    assert canvas.undecided.tolist() == [[False, True, True, False, False, False]]
    assert canvas.chosen.tolist() == [[False, False, False, True, True, False]]
    assert canvas.inside.tolist() == [[True] * 5 + [False]]
    assert [stage.name for stage in Stage] == ["MASK", "SOFT_MASK", "SOFT", "DECODED", "GIVEN", "PAD"]


@given(rows=PROMPTS, extra=st.integers(0, 5))
def test_widen_then_narrow_is_nothing(rows: Rows, extra: int) -> None:
    canvas = random_canvas(rows)
    width = canvas.tokens.shape[1]
    wide = canvas.widen(width + extra)
    assert wide.tokens.shape[1] == width + extra
    assert (wide.stage[:, width:] == PAD).all() and (wide.tokens[:, width:] == M).all()
    assert_equal(wide.narrow(width), canvas)


def test_padding_is_what_a_row_has_in_a_wider_batch() -> None:
    row = Canvas.blank([[1, 2]], 1, mask_id=M, num_soft=2)
    batch = Canvas.blank([[1, 2], [1, 2]], [1, 4], mask_id=M, num_soft=2)
    assert_equal(row.widen(6), batch.rows(torch.tensor([0])))


@given(rows=PROMPTS, data=st.data())
def test_rows_select_repeat_and_reorder_every_field(rows: Rows, data: st.DataObject) -> None:
    canvas = random_canvas(rows)
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    chosen = canvas.rows(torch.tensor(index))
    for name, value in canvas.tensors().items():
        assert torch.equal(chosen.tensors()[name], torch.stack([value[i] for i in index])), name
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    assert_equal(canvas.rows(keep), canvas.rows(keep.nonzero()[:, 0]))


@given(mine=PROMPTS, theirs=PROMPTS)
def test_join_then_take_apart_is_nothing(mine: Rows, theirs: Rows) -> None:
    one, other = random_canvas(mine), random_canvas(theirs, seed=1)
    both = one.join(other)
    parts = both.rows(torch.arange(len(mine))), both.rows(torch.arange(len(mine), len(mine) + len(theirs)))
    for part, whole in zip(parts, (one, other), strict=True):
        assert_equal(part.narrow(whole.tokens.shape[1]), whole)


@given(rows=PROMPTS, data=st.data())
def test_put_replaces_rows_and_leaves_the_others(rows: Rows, data: st.DataObject) -> None:
    canvas = random_canvas(rows)
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, unique=True))
    new = [([1], data.draw(st.integers(1, canvas.tokens.shape[1] - 1))) for _ in index]
    other = random_canvas(new, seed=1)
    result = canvas.put(torch.tensor(index), other)
    assert_equal(result.rows(torch.tensor(index)), other.widen(canvas.tokens.shape[1]))
    rest = torch.tensor([row for row in range(len(rows)) if row not in index], dtype=torch.int64)
    assert_equal(result.rows(rest), canvas.rows(rest))


def test_tick_counts_for_rows_that_are_awake_and_ends_at_the_limit() -> None:
    canvas = Canvas.blank([[1], [1], [1]], 2, mask_id=M)
    canvas = replace(canvas, done=torch.tensor([False, True, False]), nfe=torch.tensor([0, 4, 2]))
    after = canvas.tick(3)
    assert after.nfe.tolist() == [1, 4, 3] and after.step.tolist() == [1, 0, 1]
    assert after.done.tolist() == [False, True, True]


def test_an_answer_ends_before_its_first_end_id_and_keeps_masks() -> None:
    canvas = Canvas.blank([[1, 2]] * 4, 4, mask_id=M, end_ids=(5, 6))
    tokens = [[1, 2, 7, 8, 6, 5], [1, 2, 5, 7, 7, 7], [1, 2, 7, M, 7, 7], [5, 2, 3, 3, 3, 3]]
    canvas = replace(canvas, tokens=torch.tensor(tokens))
    assert [canvas.answer(row) for row in range(4)] == [[7, 8], [], [7, M, 7, 7], [3, 3, 3, 3]]


def test_a_rows_noise_is_its_own() -> None:
    canvas = Canvas.blank([[1], [1, 2]], [4, 2], mask_id=M, seed=[3, 4])
    together, alone = canvas.uniform(2), Canvas.blank([[1, 2]], 2, mask_id=M, seed=4).uniform(2)
    assert torch.equal(together[1, :4], alone[0]) and not torch.equal(together[0], together[1])
    assert not torch.equal(canvas.tick(9).uniform(2), together) and not torch.equal(canvas.uniform(3), together)


ERRORS = [
    (lambda: Canvas.blank([], 3, mask_id=M), "no rows: a canvas needs at least one prompt or template"),
    (lambda: Canvas.blank([[1]], [3, 4], mask_id=M), "2 new_tokens for 1 prompts: give one number, or one per prompt"),
    (
        lambda: Canvas.blank([[1], []], 3, mask_id=M),
        "prompt 1 is empty: give at least one token, for example the model's BOS",
    ),
    (
        lambda: Canvas.blank([[1, 2, M]], 3, mask_id=M),
        "prompt 0 contains the mask id 99 at position 2: remove it, or use a template for infilling",
    ),
    (lambda: Canvas.blank([[1]], 0, mask_id=M), "new_tokens of prompt 0 is 0: it must be at least 1"),
    (lambda: Canvas.blank([[1], [1]], [1, -2], mask_id=M), "new_tokens of prompt 1 is -2: it must be at least 1"),
    (lambda: Canvas.blank([[1]], 1, mask_id=M, seed=[1, 2]), "2 seeds for 1 rows: give one number, or one per row"),
    (lambda: Canvas.template([], mask_id=M), "no rows: a canvas needs at least one prompt or template"),
    (
        lambda: Canvas.template([[M], [1, 2]], mask_id=M),
        "row 1 has no hole: put the mask id 99 where a token is wanted",
    ),
    (
        lambda: Canvas.blank([[1]], 3, mask_id=M).widen(2),
        "a canvas of 4 columns does not fit into 2: widen that one",
    ),
    (
        lambda: Canvas.blank([[1]], 3, mask_id=M).put(torch.tensor([0]), Canvas.blank([[1]], 4, mask_id=M)),
        "a canvas of 5 columns does not fit into 4: widen that one",
    ),
]


@pytest.mark.parametrize("wrong, message", ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_wrong_input_is_explained(wrong: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        wrong()  # type: ignore[operator]
    assert str(caught.value) == message
