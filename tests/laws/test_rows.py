"""Rows end, are given, and are infilled one by one: end ids, limits, templates."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.parts import PLANS, SIZE, changing, model, samplers, seeded
from tests.toy import MASK, PROMPTS, blank, columns_computed, logits, toy
from unveil.canvas import DECODED, GIVEN, PAD, Canvas
from unveil.canvas import MASK as MASKED
from unveil.models.denoiser import Guided
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Above, Quota, Threshold
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import DualCache, PrefixCache
from unveil.sampling.sampler import Sampler, Select

LLADA = Sampler(blocks=Blocks(size=4), unmask=Select(pick=Quota(steps=2)))


def test_any_end_id_ends_a_row_when_its_block_settles_and_others_go_on() -> None:
    denoiser = toy(gain=0.5)
    full = LLADA.decode(denoiser, blank(PROMPTS, 12))
    first, second = int(full.tokens[0, 5 + 1]), int(full.tokens[2, 7 + 5])
    ends = (first, second)
    expected = []
    for row, prompt in enumerate(PROMPTS):  # the first block with an end id is the last
        new = full.tokens[row, len(prompt) : len(prompt) + 12].reshape(3, 4)
        has = [bool(torch.isin(block, torch.tensor(ends)).any()) for block in new]
        expected.append(has.index(True) + 1 if True in has else 3)
    assert expected[0] == 1 and expected[2] == 2
    out = LLADA.decode(denoiser, blank(PROMPTS, 12, end_ids=ends))
    assert out.nfe.tolist() == [2 * blocks for blocks in expected] and out.done.all()
    for row, (prompt, blocks) in enumerate(zip(PROMPTS, expected, strict=True)):
        reached, last = len(prompt) + 4 * blocks, len(prompt) + 12
        assert torch.equal(out.tokens[row, :reached], full.tokens[row, :reached])
        assert (out.stage[row, reached:last] == MASKED).all() and (out.tokens[row, reached:last] == MASK).all()
        answer = out.answer(row)
        assert not set(answer) & {*ends, MASK} and len(answer) < 4 * blocks + (blocks == 3)


def test_an_end_id_in_the_prompt_ends_nothing() -> None:
    denoiser = toy(gain=0.5)
    full = LLADA.decode(denoiser, blank(PROMPTS, 8))
    free = next(token for token in PROMPTS[2] if token not in full.tokens[2, 7:])
    out = LLADA.decode(denoiser, blank([PROMPTS[2]], 8, end_ids=(free,)))
    assert torch.equal(out.tokens[0], full.tokens[2, :15])


def test_a_finished_row_stays_as_it_is_and_costs_nothing() -> None:
    denoiser, canvas = toy(gain=0.5), blank(PROMPTS, [4, 12, 4])
    counts = columns_computed(denoiser)
    steps = list(LLADA.stream(denoiser, canvas))
    assert [step.after.nfe.tolist() for step in steps][-1] == [2, 6, 2]
    assert counts[2:] == [15] * 4  # the middle row alone, whole, without a cache
    for step in steps[2:]:
        for name, value in steps[1].after.tensors().items():
            assert torch.equal(step.after.tensors()[name][[0, 2]], value[[0, 2]]), name


def test_the_forbidden_end_never_comes_and_the_discounted_one_comes_last() -> None:
    denoiser = toy(gain=0.5)
    full = LLADA.decode(denoiser, blank(PROMPTS, 8))
    ends = (int(full.tokens[0, 5]), int(full.tokens[0, 6]))
    canvas = blank(PROMPTS, 8, end_ids=ends)
    out = recipes.llada(8, steps=4, block=4, forbid_eos=True).decode(denoiser, canvas)
    assert not (out.tokens[out.chosen] == ends[0]).any()
    for step in recipes.llada(8, block=8, ends_last=True).stream(denoiser, canvas):
        is_end = torch.isin(step.proposal.tokens, torch.tensor(ends))
        for row in range(3):
            masked, chosen = step.unmask.eligible[row], step.unmask.chosen[row]
            if (chosen & is_end[row]).any():
                assert is_end[row][masked].all(), "an end id was opened while another token could have been"


def test_a_limit_leaves_masks_and_says_so() -> None:
    sampler = replace(LLADA, unmask=Select(pick=Quota(steps=4)), max_steps=3)
    out = sampler.decode(toy(), blank(PROMPTS, [8, 3, 4]))
    assert out.done.all() and out.nfe.tolist() == [3, 3, 3] and out.num_undecided.tolist() == [5, 0, 1]
    left = replace(LLADA, blocks=Blocks(size=4, limit=1)).decode(toy(), blank(PROMPTS, 8))
    assert left.nfe.tolist() == [2, 2, 2] and left.num_undecided.tolist() == [4, 4, 4]
    assert (left.stage[0, 5:13] == MASKED).sum() == 4 and left.done.all()


def test_a_rule_that_never_opens_ends_at_the_step_limit() -> None:
    sampler = Sampler(unmask=Select(pick=Above(bar=2.0)), max_steps=7)
    out = sampler.decode(toy(), blank(PROMPTS, 4))
    assert out.nfe.tolist() == [7, 7, 7] and out.num_undecided.tolist() == [4, 4, 4]


SHIFT = st.integers(0, 1)
ROW = st.lists(st.one_of(st.just(MASK), st.integers(0, 48)), min_size=1, max_size=12).filter(lambda row: MASK in row)


@settings(max_examples=40)
@given(rows=st.lists(ROW, min_size=1, max_size=3), plan=st.sampled_from([*PLANS]), shift=SHIFT, guided=st.booleans())
def test_infilling_keeps_every_given_token_and_fills_every_hole(
    rows: list[list[int]], plan: str, shift: int, guided: bool
) -> None:
    denoiser = Guided(inner=model(plan, shift=shift), scale=1.0) if guided else model(plan, shift=shift)
    sampler = next(samplers(plan, 0))
    out = sampler.decode(denoiser, Canvas.template(rows, mask_id=MASK))
    assert out.done.all() and not out.undecided.any()
    for index, row in enumerate(rows):
        for column, token in enumerate(row):
            assert out.stage[index, column] == (DECODED if token == MASK else GIVEN)
            assert token == MASK or out.tokens[index, column] == token
        assert (out.stage[index, len(row) :] == PAD).all()
        alone = sampler.decode(denoiser, Canvas.template([row], mask_id=MASK))
        assert torch.equal(alone.tokens[0], out.tokens[index, : len(row)]) and alone.nfe[0] == out.nfe[index]


@pytest.mark.parametrize("plan", ["none", "dual"])
def test_what_is_given_is_never_revised_or_masked_again(plan: str) -> None:
    rows = [[3, MASK, 5, MASK, 7, 8, MASK, MASK, 9], [MASK, 4, MASK]]
    changed = 0
    for sampler in changing(plan):
        canvas = Canvas.template(rows, mask_id=MASK, num_soft=getattr(sampler.evolve, "k", -1) + 1, seed=[1, 2])
        given = canvas.stage == GIVEN
        for step in sampler.stream(model(plan, gain=0.6), canvas):
            changed += int(step.revise.chosen.sum() + step.remask.chosen.sum())
            assert not ((step.unmask.chosen | step.revise.chosen | step.remask.chosen) & given).any()
            assert torch.equal(step.after.tokens[given], canvas.tokens[given])
            assert (step.after.stage[given] == GIVEN).all()
    assert changed > 0


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("refresh", [DualCache(), PrefixCache()])
def test_a_hole_is_filled_by_what_the_model_says_there(refresh: DualCache, shift: int) -> None:
    """One forward for everything: each hole gets the argmax of a plain forward, also the one in column 0."""
    row = [MASK, 3, MASK, MASK, 5, 6, MASK, 7]
    denoiser = toy(shift=shift)
    sampler = Sampler(refresh=refresh, unmask=Select(pick=Threshold(bar=0.0)))
    out = sampler.decode(denoiser, Canvas.template([row], mask_id=MASK))
    scores = logits(denoiser, torch.tensor(row))
    scores[:, MASK] = float("-inf")
    want = torch.where(torch.tensor(row) == MASK, scores.argmax(-1), torch.tensor(row))
    assert out.tokens[0].tolist() == want.tolist() and out.nfe.tolist() == [1]


def test_what_is_given_after_the_last_hole_costs_no_forward() -> None:
    canvas = Canvas.template([[1, MASK, MASK, *range(2, 20)], [1, 2, 3, MASK]], mask_id=MASK)
    assert LLADA.decode(toy(), canvas).nfe.tolist() == [2, 1]


def test_a_block_without_holes_is_passed() -> None:
    canvas = Canvas.template([[1, MASK, *range(2, 12), MASK]], mask_id=MASK)
    for plan in PLANS:
        sampler = Sampler(blocks=Blocks(size=SIZE), refresh=PLANS[plan], unmask=Select(pick=Quota(steps=2)))
        out = sampler.decode(model(plan), canvas)
        assert out.done.all() and not out.undecided.any()


def test_streaming_ends_where_decoding_ends_and_touches_nothing() -> None:
    canvas, _ = seeded(PROMPTS, [5, 8, 3])
    before = {name: value.clone() for name, value in canvas.tensors().items()}
    for sampler in samplers("prefix", 0):
        steps = list(sampler.stream(model(), canvas))
        assert torch.equal(steps[-1].after.tokens, sampler.decode(model(), canvas).tokens)
        for one, other in zip(steps, steps[1:], strict=False):
            assert other.before is one.after
    for name, value in canvas.tensors().items():
        assert torch.equal(value, before[name]), name


def test_a_seed_draws_again_what_it_drew_and_another_seed_something_else() -> None:
    sampler = Sampler(propose=Propose(temperature=1.0), unmask=Select(pick=Quota(steps=4)))
    one, same, other = (sampler.decode(toy(gain=0.3), blank([[1, 2]] * 2, 12, seed=seeds)) for seeds in (3, 3, [3, 4]))
    assert torch.equal(one.tokens, same.tokens) and torch.equal(one.tokens[0], one.tokens[1])
    assert torch.equal(other.tokens[0], one.tokens[0]) and not torch.equal(other.tokens[1], one.tokens[1])
