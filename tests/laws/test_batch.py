"""A row never depends on its batch: not on its neighbours, its place, the padding, or who left and came meanwhile."""

from itertools import count, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.parts import DRAWN, MORE_RULES, PLANS, SIZE, assert_same_row, changing, model, samplers, seeded
from tests.toy import PROMPTS, blank
from unveil.models.denoiser import Guided, Want
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Quota, Threshold
from unveil.sampling.queue import decode_queue
from unveil.sampling.sampler import Sampler, Select

NEW = [5, 8, 3]
TURNS = count()  # which row is also decoded alone: each in its turn


@pytest.mark.parametrize("k", [0, 2], ids=["hard", "soft"])
@pytest.mark.parametrize("plan", PLANS)
def test_a_row_never_depends_on_its_batch(plan: str, k: int) -> None:
    """Rules x ways to draw x shift x grouped heads; of the last two every sampler sees two of four pairs in turn."""
    together, alone = seeded(PROMPTS, NEW, k)
    for (number, sampler), shift in product(enumerate(samplers(plan, k)), (0, 1)):
        kv_heads = 1 + (number + shift) % 2
        denoiser = model(plan, shift=shift, kv_heads=kv_heads)
        steps = list(sampler.stream(denoiser, together))
        row = next(TURNS) % len(PROMPTS)
        assert_same_row(steps, row, list(sampler.stream(denoiser, alone[row])))


@pytest.mark.parametrize("rule", MORE_RULES)
def test_nor_under_any_other_rule(rule: str) -> None:
    together, alone = seeded(PROMPTS, NEW, end_ids=(3, 20))
    sampler = Sampler(
        blocks=Blocks(size=SIZE), refresh=PLANS["dual"], propose=DRAWN, unmask=MORE_RULES[rule], max_steps=60
    )
    steps = list(sampler.stream(model(shift=1), together))
    for row, canvas in enumerate(alone):
        assert_same_row(steps, row, list(sampler.stream(model(shift=1), canvas)))


@pytest.mark.parametrize("plan", ["none", "prefix", "block"])
def test_nor_when_tokens_change_again(plan: str) -> None:
    changed = 0
    for sampler in changing(plan):
        k = getattr(sampler.evolve, "k", 0)
        together, alone = seeded(PROMPTS, NEW, k)
        steps = list(sampler.stream(model(plan, gain=0.3), together))
        changed += sum(int(step.revise.chosen.sum() + step.remask.chosen.sum()) for step in steps)
        for row, canvas in enumerate(alone):
            assert_same_row(steps, row, list(sampler.stream(model(plan, gain=0.3), canvas)))
    assert changed > 0


@pytest.mark.parametrize("plan", ["none", "dual"])
def test_nor_under_guidance(plan: str) -> None:
    together, alone = seeded(PROMPTS, NEW)
    denoiser = Guided(inner=model(plan), scale=1.5)
    unmask = Select(pick=Threshold(bar=0.3))
    sampler = Sampler(blocks=Blocks(size=SIZE), refresh=PLANS[plan], propose=DRAWN, unmask=unmask)
    steps = list(sampler.stream(denoiser, together))
    for row, canvas in enumerate(alone):
        assert_same_row(steps, row, list(sampler.stream(denoiser, canvas)))


@pytest.mark.parametrize("plan", PLANS)
def test_in_float32_tokens_and_forwards_agree(plan: str) -> None:
    together, alone = seeded(PROMPTS, NEW)
    for shift, pick in product((0, 1), (Quota(steps=3), Threshold(bar=0.3))):
        denoiser = model(plan, shift=shift, kv_heads=1, dtype=torch.float32)
        sampler = Sampler(blocks=Blocks(size=SIZE), refresh=PLANS[plan], unmask=Select(pick=pick))
        steps = list(sampler.stream(denoiser, together))
        for row, canvas in enumerate(alone):
            assert_same_row(steps, row, list(sampler.stream(denoiser, canvas)), within=1e-4)


@pytest.mark.parametrize("dtype, within", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_logits_in_a_ragged_batch_are_those_of_the_row_alone(dtype: torch.dtype, within: float) -> None:
    together, alone = seeded(PROMPTS, NEW)
    for plan, shift in product(("none", "block"), (0, 1)):
        denoiser = model(plan, shift=shift, dtype=dtype)
        want = Want(proposals=False, logits=True)
        whole = denoiser(together, together.inside, together.inside, None, want).logits
        assert whole is not None
        parts = [denoiser(canvas, canvas.inside, canvas.inside, None, want).logits for canvas in alone]
        assert torch.allclose(whole, torch.cat(parts), rtol=0, atol=within)


ROWS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 48), min_size=1, max_size=6),  # prompt
        st.integers(1, 7),  # new tokens
        st.integers(0, 99),  # seed
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25)
@given(rows=ROWS, batch=st.integers(1, 4), plan=st.sampled_from([*PLANS]), guided=st.booleans(), k=st.integers(0, 2))
def test_a_queue_gives_every_row_what_it_gets_alone(
    rows: list[tuple[list[int], int, int]], batch: int, plan: str, guided: bool, k: int
) -> None:
    denoiser = Guided(inner=model(plan), scale=1.0) if guided else model(plan)
    sampler = list(samplers(plan, k))[1]
    num_soft = k + 1 if k else 0
    waiting = [blank([prompt], new, seed=seed, num_soft=num_soft, end_ids=(3, 20)) for prompt, new, seed in rows]
    results = dict(decode_queue(sampler, denoiser, waiting, batch=batch))
    assert sorted(results) == list(range(len(rows)))
    for number, canvas in enumerate(waiting):
        alone = sampler.decode(denoiser, canvas)
        for name, value in alone.tensors().items():
            if value.is_floating_point():
                assert torch.allclose(results[number].tensors()[name], value, atol=1e-6), name
            else:
                assert torch.equal(results[number].tensors()[name], value), name


def test_rows_dropped_and_forked_midway_finish_as_before() -> None:
    for plan, shift in product(PLANS, (0, 1)):
        denoiser, sampler = model(plan, shift=shift), next(samplers(plan, 0))
        canvas, _ = seeded(PROMPTS, NEW)
        truth = sampler.decode(denoiser, canvas)
        cache = sampler.refresh.cache(denoiser, canvas)
        for _ in range(2):
            canvas = sampler.step(denoiser, canvas, cache).after
        index = torch.tensor([1, 2, 1, 1])
        canvas, cache = canvas.rows(index), None if cache is None else cache.rows(index)
        while not canvas.done.all():
            canvas = sampler.step(denoiser, canvas, cache).after
        assert torch.equal(canvas.tokens, truth.tokens[index]) and torch.equal(canvas.nfe, truth.nfe[index])
