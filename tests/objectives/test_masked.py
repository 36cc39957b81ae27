"""The masked diffusion bound: its expectation by brute force, its times, its masks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.schedules import Cosine
from tests.toy import MASK, logits, toy
from unveil.objectives.loss import Batch, Example, loss, stratified
from unveil.objectives.masked import BlockDiffusion, MaskedDiffusion
from unveil.schedule import Linear, Schedule

PROMPT, ANSWER = [1, 2], [3, 4, 5]
OBJECTIVES = [MaskedDiffusion(), MaskedDiffusion(schedule=Cosine(), min_time=0.02)]
denoiser = cache(partial(toy, gain=0.3))


def batch(rows: int, padding: int = 0) -> Batch:
    tokens = torch.tensor(PROMPT + ANSWER + [0] * padding).expand(rows, -1)
    return Batch(tokens, torch.full((rows,), 2), torch.full((rows,), 5))


def value(objective: MaskedDiffusion, batch: Batch, seed: int) -> Tensor:
    return loss(denoiser(), objective.corrupt(batch, MASK, seed))


def times(example: Example) -> Tensor:
    """The times of an example of equal answers, from its weights (Linear: 1/t)."""
    return 1 / (example.weight * 3 * len(example.weight))


def log_probs(masked: tuple[int, ...]) -> Tensor:
    """log p of each answer token where the columns in `masked` are hidden."""
    ids = torch.tensor(PROMPT + [MASK if i in masked else token for i, token in enumerate(ANSWER)])
    return logits(denoiser(), ids)[2:].log_softmax(-1)[torch.arange(3), torch.tensor(ANSWER)]


@cache
def brute_force(schedule: Schedule, min_time: float) -> float:
    """The mean over t in [min_time, 1) and all eight masks, t on a fine grid (midpoints)."""
    n = 200_000
    t = min_time + (1 - min_time) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    hide = 1 - schedule.alpha(t)
    total = torch.zeros_like(t)
    for flags in product((False, True), repeat=3):
        masked = tuple(i for i in range(3) if flags[i])
        chance = hide ** len(masked) * (1 - hide) ** (3 - len(masked))
        total = total - chance * log_probs(masked)[list(masked)].sum()
    return float((schedule.weight(t) * total).mean() / 3)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_its_expectation_is_the_bound(objective: MaskedDiffusion) -> None:
    exact = brute_force(objective.schedule, objective.min_time)
    values = torch.tensor([float(value(objective, batch(500), seed)) for seed in range(40)]).double()
    error = float(values.std()) / len(values) ** 0.5
    assert error < 0.02 * exact, "too few samples to tell"
    assert abs(float(values.mean()) - exact) < 4 * error


@pytest.mark.parametrize("padding", [0, 3])
def test_its_value_is_the_weighted_sum_over_the_masks_drawn(padding: int) -> None:
    rows = 8
    example = MaskedDiffusion().corrupt(batch(rows, padding), MASK, 5)
    want = 0.0
    for row, t in enumerate(times(example)):
        masked = tuple(column - 2 for column in example.canvas.undecided[row].nonzero()[:, 0].tolist())
        want -= float(log_probs(masked)[list(masked)].sum() / t) / 3 / rows
    assert abs(float(loss(denoiser(), example)) - want) < 1e-6 * abs(want)
    (part,) = MaskedDiffusion().losses(denoiser(), example)
    assert float(part) == float(loss(denoiser(), example))


@pytest.mark.parametrize("per", ["row", "token"])
def test_what_is_averaged(per: str) -> None:
    """Rows, each per token of its own answer, or all tokens: the last of four equal rows is one shorter."""
    whole = batch(4)
    short = Batch(whole.tokens, whole.start, torch.tensor([5, 5, 5, 4]))
    example = MaskedDiffusion(per=per).corrupt(short, MASK, 1)
    hidden = example.canvas.undecided
    assert not hidden[3, 4]
    t = times(MaskedDiffusion().corrupt(whole, MASK, 1))
    want = 0.0
    for row in range(4):
        masked = tuple(column - 2 for column in hidden[row].nonzero()[:, 0].tolist())
        end = int(short.end[row])
        ids = torch.tensor([*PROMPT, *(MASK if i in masked else token for i, token in enumerate(ANSWER))])[:end]
        p = logits(denoiser(), ids)[2:].log_softmax(-1)[torch.arange(end - 2), torch.tensor(ANSWER[: end - 2])]
        want -= float(p[list(masked)].sum() / t[row]) / (4 * (end - 2) if per == "row" else 11)
    assert abs(float(loss(denoiser(), example)) - want) < 1e-6 * abs(want)


SOME = st.lists(st.booleans(), min_size=3, max_size=3).filter(lambda kept: not all(kept))
EACH = [MaskedDiffusion(), MaskedDiffusion(per="token"), BlockDiffusion(size=2)]


@pytest.mark.parametrize("objective", EACH, ids=repr)
@given(kept=st.lists(SOME, min_size=4, max_size=4), seed=st.integers(0, 99))
def test_kept_columns_are_never_masked_and_do_not_count(objective: Any, kept: list[list[bool]], seed: int) -> None:
    whole = batch(4)
    some = torch.tensor([[False, False, *flags] for flags in kept])
    example = objective.corrupt(whole._replace(kept=some), MASK, seed)
    every = objective.corrupt(whole, MASK, seed)
    assert torch.equal(example.canvas.undecided, every.canvas.undecided & ~some)
    learned = (3 - some.sum(1)).float() if objective != MaskedDiffusion(per="token") else (~some).sum() / 4 - 2
    assert torch.allclose(example.weight * learned, every.weight * 3)


@given(parts=st.lists(st.integers(0, 3), min_size=6, max_size=6), seed=st.integers(0, 99))
def test_the_losses_of_parts_add_up_to_the_loss(parts: list[int], seed: int) -> None:
    """However the rows of an example are dealt out, and cut to their longest."""
    whole = batch(6, 2)
    example = MaskedDiffusion().corrupt(Batch(whole.tokens, whole.start, torch.tensor([5, 4, 5, 3, 7, 6])), MASK, seed)
    total = torch.zeros(())
    for part in range(4):
        index = torch.tensor([row for row in range(6) if parts[row] == part], dtype=torch.int64)
        if len(index):
            some = example.rows(index)
            total = total + loss(denoiser(), some.narrow(int(some.canvas.end.max())))
    assert abs(float(total) - float(loss(denoiser(), example))) < 1e-5 * max(1.0, float(total))


@given(rows=st.integers(1, 50), seed=st.integers(0, 2**31))
def test_times_are_stratified(rows: int, seed: int) -> None:
    """One time in each of B equal parts of [0, 1), all at the same place in theirs."""
    drawn = stratified(rows, torch.Generator().manual_seed(seed))
    assert drawn.shape == (rows,) and drawn.min() >= 0 and drawn.max() < 1
    place = drawn.sort().values.double() * rows - torch.arange(rows)
    assert (place > -1e-4).all() and (place < 1 + 1e-4).all() and place.max() - place.min() < 1e-3


def test_the_mean_time_hardly_varies_between_batches_and_each_time_is_uniform() -> None:
    rows = 16
    drawn = torch.stack([stratified(rows, torch.Generator().manual_seed(seed)) for seed in range(4000)]).double()
    want = 1 / rows / 12**0.5  # independent times: 1 / 12^0.5 / rows^0.5, four times as much
    assert abs(float(drawn.mean(1).std()) / want - 1) < 0.05
    for row in (0, 7):
        even = drawn[:, row].sort().values
        assert (even - (torch.arange(4000) + 0.5) / 4000).abs().max() < 1.95 / 4000**0.5
    apart = drawn[:, :8].mean(1) - drawn[:, 8:].mean(1)  # halves of a batch sorted by task get like times:
    assert float(apart.std()) < 0.2  # 0.15 where times are dealt at random, 0.29 where they rise with the row


@given(rows=st.integers(1, 50), seed=st.integers(0, 2**31), min_time=st.sampled_from([1e-3, 0.1]))
def test_times_lie_between_the_least_and_one(rows: int, seed: int, min_time: float) -> None:
    example = MaskedDiffusion(min_time=min_time).corrupt(batch(rows), MASK, seed)
    assert times(example).min() >= min_time * (1 - 1e-5) and times(example).max() <= 1 + 1e-5


@dataclass(frozen=True, kw_only=True)
class Still:
    """Another schedule, stopped."""

    time: float
    schedule: Schedule

    def alpha(self, t: Tensor) -> Tensor:
        return self.schedule.alpha(torch.full_like(t, self.time))

    def weight(self, t: Tensor) -> Tensor:
        return self.schedule.weight(torch.full_like(t, self.time))

    def reveal(self, *args: object) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=repr)
def test_masks_hide_the_answer_alone_and_as_often_as_the_schedule_says(schedule: Schedule) -> None:
    objective, rows = MaskedDiffusion(schedule=schedule), 20_000
    for time in (0.2, 0.7):
        # a schedule that is at this time whatever the time
        still = Still(time=time, schedule=schedule)
        canvas = replace(objective, schedule=still).corrupt(batch(rows, 2), MASK, 0).canvas
        hidden, chance = canvas.undecided, 1 - float(schedule.alpha(torch.tensor(time)))
        assert not hidden[:, :2].any() and not hidden[:, 5:].any()
        error = 4.5 * (chance * (1 - chance) / rows) ** 0.5
        assert ((hidden[:, 2:5].double().mean(0) - chance).abs() < error).all()
        both = float((hidden[:, 2] & hidden[:, 3]).double().mean())
        assert abs(both - chance**2) < 4.5 * (chance**2 * (1 - chance**2) / rows) ** 0.5
        assert (canvas.tokens[hidden] == MASK).all() and (
            canvas.tokens[~hidden] == batch(rows, 2).tokens[~hidden]
        ).all()


def test_a_seed_decides_everything_and_nothing_else_does() -> None:
    objective = MaskedDiffusion()
    values: Callable[[int], float] = lambda seed: float(value(objective, batch(6), seed))  # noqa: E731
    torch.manual_seed(0)
    one = values(3)
    torch.manual_seed(1)
    assert values(3) == one != values(4)


def test_a_batch_in_which_nothing_is_masked_has_no_loss() -> None:
    examples = (MaskedDiffusion().corrupt(batch(1), MASK, seed) for seed in range(1000))
    example = next(x for x in examples if not x.canvas.undecided.any())
    model = toy().requires_grad_(True)
    none = loss(model, example)
    assert float(none.detach()) == 0.0
    none.backward()
    assert model.head.weight.grad is None or model.head.weight.grad.abs().sum() == 0


@pytest.mark.parametrize("min_time", [0.0, 1.0, -0.5])
def test_a_time_without_a_weight_is_refused(min_time: float) -> None:
    with pytest.raises(ValueError) as caught:
        MaskedDiffusion(min_time=min_time)
    assert str(caught.value) == f"min_time={min_time} is outside (0, 1): the weight 1/t has no value at 0"


def test_an_unknown_average_is_refused() -> None:
    with pytest.raises(ValueError, match="per='batch' is unknown: average per 'row' or per 'token'"):
        MaskedDiffusion(per="batch")
