"""ReMDM: tokens go back to [MASK], every decode takes exactly its steps, and chances are those of the paper."""

from dataclasses import replace

import pytest
import torch

from tests.laws.parts import model, seeded
from tests.schedules import Cosine
from tests.toy import MASK, PROMPTS, blank, toy
from unveil.canvas import DECODED, Canvas
from unveil.canvas import MASK as MASKED
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Below, Closing, Opening, Quota
from unveil.sampling.propose import Proposal
from unveil.sampling.refresh import BlockCache, DelayedCache, DualCache, NearCache, PrefixCache, Refresh
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Chance
from unveil.schedule import Linear, Schedule


@pytest.mark.parametrize("steps", [1, 2, 7, 16, 24])
@pytest.mark.parametrize("eta", [0.0, 0.02, 0.4, 1.0])
def test_remdm_takes_exactly_its_steps_and_opens_everything(steps: int, eta: float) -> None:
    out = recipes.remdm(16, steps=steps, eta=eta).decode(toy(gain=0.5), blank(PROMPTS, 16, seed=[1, 2, 3]))
    assert out.nfe.tolist() == [steps] * 3 and out.done.all() and not out.undecided.any()
    assert not (out.tokens[out.chosen] == MASK).any()


def test_remdm_returns_tokens_to_masks_but_not_with_eta_0() -> None:
    closed = {0.0: 0, 0.4: 0}
    for eta in closed:
        for step in recipes.remdm(16, steps=16, eta=eta).stream(toy(gain=0.5), blank(PROMPTS, 16, seed=[1, 2, 3])):
            again = step.remask.chosen
            closed[eta] += int(again.sum())
            assert (step.before.stage[again] == DECODED).all() and (step.after.stage[again] == MASKED).all()
            assert (step.after.tokens[again] == MASK).all()
            assert not (again & step.unmask.chosen).any()
            assert not again[:, :3].any()  # a prompt never
    assert closed[0.0] == 0 and closed[0.4] > 10


def test_remasking_with_another_rule_ends_too() -> None:
    sampler = Sampler(
        blocks=Blocks(size=8, min_steps=8), unmask=Select(pick=Quota(steps=8)),
        remask=Select(score=Chance(), pick=Below(bar=0.2)), max_steps=100,
    )  # fmt: skip
    steps = list(sampler.stream(toy(), blank(PROMPTS, 16)))
    assert any(step.remask.chosen.any() for step in steps)
    assert steps[-1].after.done.all() and 16 < len(steps) <= 100


REFRESHED = [DualCache(every=1), PrefixCache(every=1), NearCache(every=1), DelayedCache(every=1), BlockCache(size=4)]


@pytest.mark.parametrize("plan", REFRESHED, ids=lambda plan: type(plan).__name__)
def test_exact_caches_stay_exact_when_tokens_are_masked_again(plan: Refresh) -> None:
    denoiser = model("block" if isinstance(plan, BlockCache) else "none", shift=1)
    sampler = Sampler(
        blocks=Blocks(size=4, min_steps=4), unmask=Select(pick=Quota(steps=4)),
        remask=Select(score=Chance(), pick=Below(bar=0.3)), max_steps=60,
    )  # fmt: skip
    canvas, _ = seeded(PROMPTS, [4, 8, 4])
    truth = list(sampler.stream(denoiser, canvas))
    steps = list(replace(sampler, refresh=plan).stream(denoiser, canvas))
    assert sum(int(step.remask.chosen.sum()) for step in truth) > 5
    for a, b in zip(steps, truth, strict=True):
        assert torch.equal(a.after.tokens, b.after.tokens)
        assert torch.allclose(a.proposal.confidence, b.proposal.confidence, rtol=0, atol=1e-12)


def table(steps: int, eta: float, schedule: Schedule) -> list[tuple[float, float]]:
    """(opening, closing) chances of every step, straight from the paper's formulas."""
    chances = []
    for number in range(steps):
        before, after = (float(schedule.alpha(torch.tensor(1 - n / steps).double())) for n in (number, number + 1))
        sigma = min(eta, (1 - after) / before) if before > 0 else eta
        chances.append(((after - (1 - sigma) * before) / (1 - before), sigma))
    return chances


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=repr)
@pytest.mark.parametrize("eta", [0.0, 0.05, 0.5, 1.0])
def test_chances_are_those_of_the_paper(schedule: Schedule, eta: float) -> None:
    opens, closes = Opening(steps=10, eta=eta, schedule=schedule).chances()
    for number, (opening, sigma) in enumerate(table(10, eta, schedule)):
        assert abs(float(opens[number]) - opening) < 1e-6
        assert number == 0 or abs(float(closes[number]) - sigma) < 1e-6  # before the first there is nothing to close
    assert opens[-1] == 1 and closes[-1] == 0 and (opens >= 0).all() and (opens <= 1 + 1e-12).all()


@pytest.mark.parametrize("eta", [0.0, 0.05, 0.5])
def test_frequencies_match_the_chances_and_keep_the_marginal(eta: float) -> None:
    """Picks alone on a large batch: opened and closed shares, and the share that is open after every step: alpha_s."""
    steps, rows, columns = 8, 200, 100
    canvas = Canvas.blank([[1]] * rows, columns, mask_id=MASK, seed=list(range(rows)))
    opening, closing = Opening(steps=steps, eta=eta), Closing(steps=steps, eta=eta)
    is_open = torch.zeros(rows, columns + 1, dtype=torch.bool)
    inside = torch.ones_like(is_open)
    inside[:, 0] = False
    for number, (open_chance, close_chance) in enumerate(table(steps, eta, Linear())):
        scores = Chance()(Proposal(canvas.tokens, canvas.confidence), canvas)
        opened = opening(scores, inside & ~is_open, canvas).chosen
        closed = closing(scores, inside & is_open, canvas).chosen
        for chosen, eligible, chance in ((opened, inside & ~is_open, open_chance), (closed, is_open, close_chance)):
            total = int(eligible.sum())
            error = 4.5 * (chance * (1 - chance) / max(total, 1)) ** 0.5 + 1e-9
            assert abs(int(chosen.sum()) / max(total, 1) - (chance if total else 0)) <= error
        is_open = (is_open | opened) & ~closed
        assert abs(float(is_open[:, 1:].double().mean()) - (number + 1) / steps) < 4.5 * 0.5 / (rows * columns) ** 0.5
        canvas = canvas.tick(1000)
    assert is_open[:, 1:].all()
