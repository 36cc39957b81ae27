"""Blocks, proposals, evolution and cache plans one by one, and their messages."""

from dataclasses import replace

import pytest
import torch

from tests.toy import MASK, PROMPTS, blank, toy
from unveil.canvas import DECODED, GIVEN, SOFT, SOFT_MASK, Canvas
from unveil.canvas import MASK as MASKED
from unveil.models.denoiser import Prediction, Want
from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import HardTokens, SoftTokens
from unveil.sampling.mixing import Constant, Drawn, FollowsConfidence
from unveil.sampling.picks import Best, Finishing, Quota
from unveil.sampling.propose import Proposal, Propose
from unveil.sampling.queue import decode_queue, steps_queue
from unveil.sampling.random_picks import Coin
from unveil.sampling.refresh import BlockCache, DelayedCache, DualCache, NearCache, NoCache, PrefixCache, Refresh
from unveil.sampling.sampler import Sampler, Select

NEVER = float("-inf")


def at(
    canvas: Canvas, *, block: int = 0, step: int = 0, stages: dict[int, int] | None = None, **more: object
) -> Canvas:
    """A one-row canvas in some block and step, with the stages of some columns."""
    stage = canvas.stage.clone()
    for column, value in (stages or {}).items():
        stage[0, column] = value
    return replace(canvas, stage=stage, block=canvas.block + block, step=canvas.step + step, **more)


def where(mask: torch.Tensor) -> list[int]:
    return mask[0].nonzero()[:, 0].tolist()


def test_blocks_are_counted_from_the_first_new_column_and_the_last_may_be_short() -> None:
    canvas = blank(PROMPTS[:2], [6, 3])
    canvas = replace(canvas, block=torch.tensor([1, 0]))
    first, last = Blocks(size=4).bounds(canvas)
    assert first[:, 0].tolist() == [9, 3] and last[:, 0].tolist() == [11, 6]
    assert Blocks(size=4).here(canvas)[0].nonzero()[:, 0].tolist() == [9, 10]
    assert [edge[:, 0].tolist() for edge in Blocks().bounds(canvas)] == [[5, 3], [11, 6]]
    asleep = replace(canvas, done=torch.tensor([True, False]))
    assert not Blocks(size=4).here(asleep)[0].any() and Blocks(size=4).here(asleep)[1].any()


def test_a_block_settles_when_it_is_full_and_the_last_ends_the_row() -> None:
    canvas = blank([[1]], 4)
    half = Blocks(size=2).advance(at(canvas, step=3, stages={1: SOFT}))
    assert half.block == 0 and half.step == 3 and half.stage[0, 1] == SOFT and not half.done
    full = Blocks(size=2).advance(at(canvas, step=3, stages={1: SOFT, 2: DECODED}))
    assert full.block == 1 and full.step == 0 and full.stage[0].tolist() == [GIVEN, DECODED, DECODED, MASKED, MASKED]
    end = Blocks(size=2).advance(at(canvas, block=1, stages={1: DECODED, 2: DECODED, 3: SOFT, 4: SOFT}))
    assert end.done and (end.stage[0, 1:] == DECODED).all()


def test_a_full_block_is_held_for_min_steps_or_until_quiet_and_a_limit_leaves_it() -> None:
    canvas = blank([[1]], 4)
    full = at(canvas, step=2, stages={1: DECODED, 2: DECODED}, nfe=torch.tensor([2]))
    assert Blocks(size=2, min_steps=3).advance(full).block == 0 and Blocks(size=2, min_steps=2).advance(full).block == 1
    fresh = replace(full, written=full.written.index_fill(1, torch.tensor(1), 1))
    assert Blocks(size=2, until_quiet=3).advance(fresh).block == 0  # column 1 was written by the last forward
    assert Blocks(size=2, until_quiet=2).advance(fresh).block == 1  # long enough
    assert Blocks(size=2, until_quiet=3).advance(full).block == 1  # quiet
    half = at(canvas, step=2, stages={1: DECODED})
    assert Blocks(size=2, limit=2).advance(half).block == 1 and Blocks(size=2, limit=3).advance(half).block == 0


def test_an_end_id_counts_where_it_was_chosen_and_is_final() -> None:
    canvas = blank([[7]], 4, end_ids=(7, 8))
    tokens = canvas.tokens.index_fill(1, torch.tensor(2), 8)
    done = Blocks(size=2).advance(at(canvas, stages={1: SOFT, 2: SOFT}, tokens=tokens))
    assert done.done and done.answer(0) == [MASK]
    given = at(canvas, stages={1: SOFT, 2: GIVEN}, tokens=tokens)
    assert not Blocks(size=2).advance(given).done
    later = at(canvas, stages={1: SOFT, 3: SOFT}, tokens=canvas.tokens.index_fill(1, torch.tensor(3), 8))
    assert not Blocks(size=2).advance(later).done


def test_a_proposal_is_spread_over_the_canvas() -> None:
    canvas = blank([[1, 2]] * 2, 2)
    flat = Prediction(
        index=torch.tensor([2, 7]), tokens=torch.tensor([5, 6]), confidence=torch.tensor([0.5, 0.25]),
        entropy=torch.tensor([1.0, 2.0]), top_ids=torch.tensor([[5, 1], [6, 2]]), top_probs=torch.ones(2, 2),
    )  # fmt: skip
    out = Propose()(flat, canvas)
    assert out.tokens.tolist() == [[MASK, MASK, 5, MASK], [MASK, MASK, MASK, 6]]
    assert out.confidence.tolist() == [[NEVER, NEVER, 0.5, NEVER], [NEVER, NEVER, NEVER, 0.25]]
    assert out.entropy.tolist() == [[0, 0, 1, 0], [0, 0, 0, 2]] and out.top_ids[1, 3].tolist() == [6, 2]
    assert Propose()(replace(flat, entropy=None), canvas).entropy is None


def test_what_is_proposed_never_is_the_mask_and_eos_only_where_it_may() -> None:
    canvas = blank(end_ids=(4, 5))
    assert Propose().want(canvas).forbid == (MASK,)
    assert Propose(forbid_eos=True).want(canvas).forbid == (MASK, 4)
    with pytest.raises(ValueError, match="forbid_eos has no end id to forbid: a template names none"):
        Propose(forbid_eos=True).want(blank())
    want = Propose(temperature=0.5, top_p=0.9, top_k=3, tempered=True).want(canvas)
    assert (want.temperature, want.top_p, want.top_k, want.tempered) == (0.5, 0.9, 3, True)


def choices(canvas: Canvas, *columns: int) -> torch.Tensor:
    return torch.zeros_like(canvas.inside).index_fill(1, torch.tensor(columns, dtype=torch.int64), True)


def test_hard_tokens_write_revise_and_mask_again() -> None:
    canvas = at(blank([[1]], 4), stages={3: DECODED, 4: DECODED}, nfe=torch.tensor([6]))
    canvas = replace(canvas, tokens=torch.tensor([[1, MASK, MASK, 8, 9]]), confidence=torch.full((1, 5), 0.125))
    said = Proposal(torch.tensor([[2, 3, 4, 5, 6]]), torch.full((1, 5), 0.5))
    out = HardTokens()(canvas, said, choices(canvas, 1), choices(canvas, 3), choices(canvas, 4))
    assert out.tokens.tolist() == [[1, 3, MASK, 5, MASK]]
    assert out.stage.tolist() == [[GIVEN, DECODED, MASKED, DECODED, MASKED]]
    assert out.written.tolist() == [[-1, 6, -1, 6, 6]]
    assert out.confidence.tolist() == [[0.125, 0.5, 0.125, 0.5, 0.125]]


def test_soft_tokens_show_mask_and_candidates_then_candidates() -> None:
    canvas = blank([[1]], 3, num_soft=3)
    said = Proposal(
        torch.tensor([[0, 5, 6, 0]]), torch.tensor([[NEVER, 0.5, 0.4, NEVER]]), None,
        torch.tensor([[[0, 0], [5, 7], [6, 8], [0, 0]]]), torch.tensor([[[0, 0], [0.5, 0.3], [0.4, 0.1], [0, 0]]]),
    )  # fmt: skip
    nothing = choices(canvas)
    out = SoftTokens(k=2, share=Constant(share=0.6))(canvas, said, choices(canvas, 1), nothing, nothing)
    assert out.stage.tolist() == [[GIVEN, SOFT, SOFT_MASK, MASKED]] and out.tokens.tolist() == [[1, 5, MASK, MASK]]
    assert out.soft_ids[0, 1:3].tolist() == [[MASK, 5, 7], [MASK, 6, 8]]
    assert torch.allclose(out.soft_weights[0, 1:3], torch.tensor([[0, 0.625, 0.375], [0.6, 0.32, 0.08]]))
    assert torch.equal(out.soft_weights[0, [0, 3]], canvas.soft_weights[0, [0, 3]])
    back = SoftTokens(k=2, share=Constant(share=0.6))(out, said, nothing, nothing, choices(canvas, 1))
    assert back.stage[0, 1] == SOFT_MASK and back.tokens[0, 1] == MASK
    assert SoftTokens(k=2).require(Want(top=1)).top == 2 and SoftTokens(k=2).require(Want(top=5)).top == 5


def test_what_evolution_looks_at() -> None:
    canvas = blank([[1, 2], [1]], [4, 2])
    here = Blocks(size=2).here(canvas)
    assert not HardTokens().view(canvas, here).any()
    assert torch.equal(SoftTokens(k=2).view(canvas, here), here)
    ahead = SoftTokens(k=2, lookahead=True).view(canvas, here)
    assert [row.nonzero()[:, 0].tolist() for row in ahead] == [[2, 3, 4, 5], [1, 2]]


PLANS: list[tuple[Refresh, list[int], list[int]]] = [  # at the block's start, in its second forward
    (NoCache(), [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
    (DualCache(), [0, 1, 2, 3, 4, 5, 6, 7], [4, 5]),
    (DualCache(every=1), [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
    (PrefixCache(), [0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7]),
    (NearCache(radius=1), [0, 1, 2, 3, 4, 5, 6, 7], [3, 4, 5, 6]),
    (NearCache(radius=9), [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
    (DelayedCache(), [0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7]),
    (BlockCache(size=2), [2, 3, 4, 5], [4, 5]),
]


@pytest.mark.parametrize("plan, first, then", PLANS, ids=[repr(plan) for plan, _, _ in PLANS])
def test_what_a_plan_recomputes(plan: Refresh, first: list[int], then: list[int]) -> None:
    """Prompt of two, blocks of two, the second block; column 4 was just written. The second row is done, padded."""
    canvas = at(blank([[1, 2], [1]], [6, 2]), block=1, stages={2: DECODED, 3: DECODED}, nfe=torch.tensor([2, 2]))
    canvas = replace(canvas, done=torch.tensor([False, True]))
    here = Blocks(size=2).here(canvas)
    begins = plan(canvas, here)
    assert where(begins) == first and not begins[1].any()
    written = canvas.written.index_fill(1, torch.tensor(4), 2)
    later = at(canvas, step=1, stages={4: DECODED}, nfe=canvas.nfe + 1, written=written)
    goes_on = plan(later, here)
    assert where(goes_on) == then and not goes_on[1].any()


def test_the_block_plan_computes_the_prompt_once() -> None:
    canvas = blank([[1, 2, 3, 4, 5]], 4)
    assert where(BlockCache(size=2)(canvas, Blocks(size=2).here(canvas))) == [0, 1, 2, 3, 4, 5, 6]


def queue(*canvases: Canvas, batch: int = 2) -> dict[int, Canvas]:
    sampler = Sampler(unmask=Select(pick=Quota(steps=1)))
    return dict(decode_queue(sampler, toy(), canvases, batch=batch))


def test_a_queue_admits_only_as_many_rows_as_the_batch_and_refills_at_once() -> None:
    waiting = [blank([[1]], new) for new in (1, 3, 2, 1, 2)]
    sampler = Sampler(unmask=Select(pick=Quota(steps=9)))
    sizes, finished = [], []
    for step, rows in steps_queue(sampler, toy(), waiting, batch=2):
        sizes.append(len(step.before.done))
        finished.append({number for number, _ in rows})
    assert sizes == [2, 2, 2, 2, 1] and finished == [{0}, set(), {1, 2}, {3}, {4}]


def test_a_queue_of_nothing_is_nothing() -> None:
    assert queue() == {}


def test_a_row_leaves_the_queue_with_its_own_width() -> None:
    out = queue(blank([[1]], 2), blank([[1, 2, 3]], 9))
    assert out[0].tokens.shape == (1, 3) and out[1].tokens.shape == (1, 12)


def test_what_was_done_before_it_came_leaves_as_it_was() -> None:
    ready = replace(blank([[1]], 2), done=torch.tensor([True]))
    for waiting in ([ready], [ready, blank([[1]], 3)], [blank([[1]], 1), ready, ready]):
        out = queue(*waiting)
        assert sorted(out) == list(range(len(waiting)))
        for number, canvas in enumerate(waiting):
            assert not canvas.done.all() or (out[number].nfe == 0 and torch.equal(out[number].tokens, canvas.tokens))


ERRORS = [
    (lambda: Blocks(size=0), "block size 0 is not positive: give at least 1, or None for one block"),
    (lambda: Blocks(limit=0), "block limit 0 is not positive: give at least 1, or None for no limit"),
    (lambda: Propose(temperature=-1.0), "temperature -1.0 is negative: use 0 for greedy, or above 0 to draw"),
    (lambda: Propose(top_p=0.0), "top_p 0.0 is outside (0, 1]: use 1 to draw from everything"),
    (lambda: Propose(top_p=1.5), "top_p 1.5 is outside (0, 1]: use 1 to draw from everything"),
    (lambda: Propose(top_k=-2), "top_k -2 is negative: use 0 to draw from everything"),
    (lambda: SoftTokens(k=0), "k=0 is not positive: a soft token needs at least one candidate"),
    (lambda: Constant(share=1.5), "share=1.5 is outside [0, 1]: it is the weight of [MASK]"),
    (lambda: FollowsConfidence(least=-0.1), "least=-0.1 is outside [0, 1]: it is the weight of [MASK]"),
    (lambda: Drawn(least=0.8, most=0.2), "least=0.8 is above most=0.2: give a range within [0, 1]"),
    (lambda: Best(count=0), "count=0 is not positive: open at least one mask a forward"),
    (
        lambda: Finishing(pick=Coin(), bar=0.5),
        "Coin(salt=3) draws, but an early end would not: finish a rule without chance",
    ),
    (
        lambda: Sampler(evolve=SoftTokens(k=50)).decode(toy(), blank()),
        "50 candidates are asked for, the vocabulary has 49: ask for fewer",
    ),
    (lambda: DualCache(every=0), "every=0 is not positive: give at least 1, or None for once a block"),
    (
        lambda: Sampler(evolve=SoftTokens(k=3)).decode(toy(), blank(num_soft=2)),
        "the canvas has room for 2 soft tokens, asked for 4: build it with those",
    ),
    (lambda: queue(blank([[1]], 2), batch=0), "batch=0 is not positive: decode at least one row at a time"),
    (
        lambda: queue(blank()),
        "a waiting canvas has several rows: split it with canvas.rows(torch.tensor([i]))",
    ),
]


@pytest.mark.parametrize("wrong, message", ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_wrong_settings_are_explained(wrong: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        wrong()  # type: ignore[operator]
    assert str(caught.value) == message
