"""What holds for soft tokens whatever the settings: stages, forwards, commits, early ends."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.laws.parts import SIZE, assert_same_row, seeded
from tests.laws.parts import model as any_model
from tests.toy import MASK, PROMPTS, blank, toy
from tests.toy import NEW as RAGGED
from unveil.canvas import DECODED, GIVEN, SOFT, SOFT_MASK, Canvas
from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings
from unveil.policies.learned import Learned
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.mixing import Constant
from unveil.sampling.picks import Finishing, Quota
from unveil.sampling.queue import decode_queue
from unveil.sampling.random_picks import CoinsOrBest
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Select, Step
from unveil.sampling.scores import Confidence

NEW = 12
VALUES = [
    {"steps": 6}, {"steps": 3, "temperature": 0.8}, {"threshold": 0.3, "lookahead": False}, {"commit": "consistent"},
    {"commit": "current", "temperature": 1.0}, {"commit": "first", "mix": "spherical"}, {"least_share": 0.2, "k": 5},
    {"steps": 3, "settle": 1}, {"steps": 6, "cache": "prefix"}, {"steps": 6, "cache": "dual"},
]  # fmt: skip


def walked(steps: int = 0, **values: object) -> list[Step]:
    """A ragged batch in blocks of 4."""
    sampler = recipes.evotoken(NEW, block=4, **({"steps": steps} if steps else {}), **values)  # type: ignore[arg-type]
    with torch.no_grad():
        return list(sampler.stream(toy(gain=0.4), blank(PROMPTS, NEW)))


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_whatever_the_settings(values: dict[str, object]) -> None:
    steps = walked(**values)  # type: ignore[arg-type]
    first, last = steps[0].before, steps[-1].after
    assert not ((first.stage == SOFT_MASK) | (first.stage == SOFT)).any()
    assert last.done.all() and not last.undecided.any() and (last.tokens[last.chosen] != MASK).all()
    for step in steps:
        soft = (step.before.stage == SOFT_MASK) | (step.before.stage == SOFT)
        assert (step.before.soft_ids[soft][:, 1:] != MASK).all()
        settled = step.before.stage == DECODED
        assert torch.equal(step.after.tokens[settled], step.before.tokens[settled])
        assert (step.after.stage[settled] == DECODED).all()
        given = step.before.stage == GIVEN
        assert torch.equal(step.after.tokens[given], first.tokens[given])
        before = step.before.column < Blocks(size=4).bounds(step.before)[0]
        assert (step.before.stage[before & (step.before.stage < GIVEN)] == DECODED).all()  # hard before it is cached
        if values.get("commit") in (None, "best", "consistent"):
            assert (step.after.confidence >= step.before.confidence)[step.before.chosen].all()


@pytest.mark.parametrize("steps", [3, 6, 12])
def test_forwards_equal_the_schedule(steps: int) -> None:
    assert walked(steps)[-1].after.nfe.tolist() == [steps] * 3
    assert walked(steps, settle=1)[-1].after.nfe.tolist() == [steps + 3] * 3  # one more for each of three blocks
    assert walked(steps, settle=4)[-1].after.nfe.tolist() == [steps + 12] * 3


def test_a_settling_forward_can_still_revise_what_was_opened_last() -> None:
    steps = walked(3, settle=1)  # all of a block in one forward, and one more
    assert all(step.unmask.chosen.any() != step.revise.eligible.any() for step in steps)
    assert any(step.revise.chosen.any() for step in steps)


def test_weights_of_each_stage() -> None:
    for step in walked(6, k=3)[1:]:
        canvas, weights = step.before, step.before.soft_weights.double()
        soft, chosen = canvas.stage == SOFT_MASK, canvas.stage == SOFT
        assert soft.any() and torch.allclose(weights[soft].sum(-1), torch.ones(()).double(), atol=1e-6)
        assert torch.allclose(weights[soft][:, 0], torch.tensor(0.7).double())
        assert (weights[chosen][:, 0] == 0).all() and torch.allclose(weights[chosen].sum(-1), torch.ones(()).double())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("plan", ["none", "prefix", "dual"])
def test_one_candidate_all_mask_no_revision_and_a_consistent_commit_is_hard_decoding(
    temperature: float, plan: str
) -> None:
    """Also where the drawn token is not the best one."""
    hard = recipes.llada(NEW, steps=6, block=4, temperature=temperature)
    hard = replace(hard, refresh=cache_plan(plan, 4))
    evolve = SoftTokens(k=1, share=Constant(share=1.0), consistent=True, lookahead=plan == "none")
    walks = (sampler.stream(any_model(), blank(PROMPTS, NEW)) for sampler in (hard, replace(hard, evolve=evolve)))
    for decoded in zip(*walks, strict=True):
        mine, theirs = (step.after for step in decoded)
        assert torch.equal(mine.tokens, theirs.tokens) and torch.equal(mine.nfe, theirs.nfe)


def test_commits_differ_in_what_is_written_and_shown() -> None:
    def written(commit: str) -> Tensor:
        return walked(12, commit=commit, temperature=0.7)[-1].after.tokens

    tokens = {commit: written(commit) for commit in ("best", "current", "consistent", "first")}
    assert not torch.equal(tokens["best"], tokens["current"]) and not torch.equal(tokens["best"], tokens["first"])
    assert not torch.equal(tokens["best"], tokens["consistent"])
    for step in walked(12, commit="current"):
        chosen = step.revise.eligible
        assert torch.equal(step.after.tokens[chosen], step.proposal.tokens[chosen])
    for step in walked(12, commit="first"):
        assert not step.revise.chosen.any()
    num_drawn = 0
    for step in walked(12, commit="consistent", temperature=0.7):
        canvas = step.after
        there = (canvas.soft_ids[..., 1:] == canvas.tokens[..., None]).any(-1)
        assert there[canvas.stage == SOFT].all()
        assert step.proposal.top_ids is not None and step.proposal.top_probs is not None
        absent = (step.proposal.top_ids != step.proposal.tokens[..., None]).all(-1)
        drawn = step.unmask.chosen & absent & (canvas.stage == SOFT)
        weights, p = canvas.soft_weights[drawn], step.proposal.confidence[drawn]
        assert torch.allclose(weights[:, -1] / weights[:, 1], (p / step.proposal.top_probs[drawn][:, 0]).float())
        num_drawn += int(drawn.sum())
    assert num_drawn > 0


def test_a_block_that_is_sure_ends_early() -> None:
    at_once, never = walked(12, converged=0.0), walked(12, converged=1.0)
    assert at_once[-1].after.nfe.tolist() == [3] * 3 and never[-1].after.nfe.tolist() == [12] * 3
    pick = Finishing(pick=Quota(steps=4), bar=0.5)
    canvas = blank([[1], [1]], 3)
    scores = torch.tensor([[0.0, 0.5, 0.9, 0.6], [0.0, 0.4, 0.9, 0.6]])
    found = Select(score=Confidence(), pick=pick).pick(scores, canvas.undecided, canvas).chosen
    assert found.tolist() == [[False, True, True, True], [False, False, True, False]]


@torch.no_grad()
@pytest.mark.parametrize("plan", ["none", "prefix", "dual"])
def test_a_learned_policy_may_decide_who_is_opened(plan: str) -> None:
    net = ConfidencePolicy(ConfidenceSettings(width=16, feed_width=16), seed=1).double()
    net.output.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    learned = Select(score=Learned(net=net), pick=CoinsOrBest())
    sampler = replace(recipes.evotoken(SIZE, block=SIZE, cache=plan, lookahead=plan != "dual"), unmask=learned)
    together, alone = seeded(PROMPTS, RAGGED)
    steps = list(sampler.stream(any_model(plan), together))
    assert any(step.revise.chosen.any() for step in steps)
    for row, canvas in enumerate(alone):
        assert_same_row(steps, row, list(sampler.stream(any_model(plan), canvas)))


def test_a_queue_makes_room_for_rows_that_come_later() -> None:
    waiting = [blank([prompt], new, seed=row) for row, (prompt, new) in enumerate(zip(PROMPTS, RAGGED, strict=True))]
    sampler = recipes.evotoken(SIZE, block=SIZE)
    for number, row in decode_queue(sampler, toy(gain=0.4), waiting, batch=1):
        alone = sampler.decode(toy(gain=0.4), waiting[number])
        assert torch.equal(row.tokens, alone.tokens) and torch.equal(row.nfe, alone.nfe)


def test_canvases_are_given_room_and_keep_their_contents() -> None:
    canvas = blank(PROMPTS, 3)
    room = canvas.soften(4)
    assert room.soft_ids.shape[2] == 4 and (room.soft_weights == 0).all() and torch.equal(room.tokens, canvas.tokens)
    assert room.soften(4) is room and isinstance(canvas.soften(0), Canvas)
    with pytest.raises(ValueError, match="the canvas has room for 4 soft tokens, asked for 2: build it with those"):
        room.soften(2)


def test_later_blocks_soften_unless_a_dual_cache_keeps_them_or_it_is_turned_off() -> None:
    told = ({}, {"cache": "prefix"}, {"cache": "dual"}, {"lookahead": False}, {"lookahead": False, "cache": "prefix"})
    assert [recipes.evotoken(8, **one).evolve.lookahead for one in told] == [True, True, False, False, False]  # type: ignore


@pytest.mark.parametrize(
    "values, fault",
    [
        ({"steps": 4, "threshold": 0.9}, "steps and threshold exclude each other: give one"),
        ({"settle": 1, "threshold": 0.9}, "settle needs to know when a block is full"),
        ({"settle": 1, "block": 5}, "settle needs to know when a block is full"),
        ({"settle": 1, "converged": 0.9}, "settle needs to know when a block is full: give steps, not threshold or"),
        ({"cache": "dual", "lookahead": True}, "cache=dual keeps what comes after the block, lookahead reads it anew"),
        ({"mix": "spherical", "commit": "first", "temperature": 1.0}, "mix=spherical with commit=first knows no drawn"),
        ({"least_share": 0.9, "mask_share": 0.3}, "least=0.9 is above most=0.3: give a range"),
        ({"least_share": -0.1}, r"least_share=-0.1 is outside its range, from 0 to 1: the weight of \[MASK\]"),
        ({"settle": -1}, "settle=-1 is outside its range, from 0 to 65,536: forwards after a block is full"),
        ({"mask_share": 1.5}, "mask_share=1.5 is outside its range, from 0 to 1"),
        ({"mix": "round"}, "mix='round' is unknown: choose one of linear, spherical"),
        ({"commit": "last"}, "commit='last' is unknown: choose one of best, consistent, current, first"),
        ({"k": 0}, "k=0 is outside its range, from 1 to 64"),
    ],
)
def test_bad_settings(values: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        recipes.evotoken(8, **values)  # type: ignore[arg-type]
