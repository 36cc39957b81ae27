"""The masked diffusion bound: its expectation by brute force, its times, its masks."""

from collections.abc import Callable
from functools import cache, partial
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.toy import MASK, logits, toy
from unveil.objectives.masked import Batch, MaskedDiffusion
from unveil.schedule import Cosine, Linear, Schedule

PROMPT, ANSWER = [1, 2], [3, 4, 5]
OBJECTIVES = [MaskedDiffusion(), MaskedDiffusion(schedule=Cosine(), min_time=0.02)]
denoiser = cache(partial(toy, gain=0.3))


def batch(rows: int, padding: int = 0) -> Batch:
    tokens = torch.tensor(PROMPT + ANSWER + [0] * padding).expand(rows, -1)
    return Batch(tokens, torch.full((rows,), 2), torch.full((rows,), 5))


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
    values = torch.tensor([float(objective(denoiser(), batch(500), seed).value) for seed in range(40)]).double()
    error = float(values.std()) / len(values) ** 0.5
    assert error < 0.02 * exact, "too few samples to tell"
    assert abs(float(values.mean()) - exact) < 4 * error


@pytest.mark.parametrize("padding", [0, 3])
def test_its_value_is_the_weighted_sum_over_the_masks_drawn(padding: int) -> None:
    objective, rows = MaskedDiffusion(), 8
    generator = torch.Generator().manual_seed(5)
    t = objective.times(rows, generator)
    canvas = objective.corrupt(batch(rows, padding), t, MASK, generator)
    value = 0.0
    for row in range(rows):
        masked = tuple(column - 2 for column in canvas.undecided[row].nonzero()[:, 0].tolist())
        value -= float(log_probs(masked)[list(masked)].sum() / t[row]) / 3 / rows
    loss = objective(denoiser(), batch(rows, padding), 5)
    assert abs(float(loss.value) - value) < 1e-6 * abs(value)
    assert loss.parts == {"masked": float(canvas.undecided.sum() / rows)}


def test_rows_of_unequal_length_weigh_the_same() -> None:
    """Every row counts per token of its own answer: ten equal rows, one cut short, change only by that row."""
    objective, whole = MaskedDiffusion(), batch(4)
    short = Batch(whole.tokens, whole.start, torch.tensor([5, 5, 5, 4]))
    generator = torch.Generator().manual_seed(1)
    t = objective.times(4, generator)
    hidden = objective.corrupt(short, t, MASK, generator).undecided
    assert not hidden[3, 4]
    per_row = []
    for row in range(4):
        masked = tuple(column - 2 for column in hidden[row].nonzero()[:, 0].tolist())
        end = int(short.end[row])
        ids = torch.tensor([*PROMPT, *(MASK if i in masked else token for i, token in enumerate(ANSWER))])[:end]
        p = logits(denoiser(), ids)[2:].log_softmax(-1)[torch.arange(end - 2), torch.tensor(ANSWER[: end - 2])]
        per_row.append(-float(p[list(masked)].sum() / t[row]) / (end - 2))
    value = float(objective(denoiser(), short, 1).value)
    assert abs(value - sum(per_row) / 4) < 1e-6 * abs(value)


@given(rows=st.integers(1, 50), seed=st.integers(0, 2**31), min_time=st.sampled_from([1e-3, 0.1]))
def test_times_are_stratified(rows: int, seed: int, min_time: float) -> None:
    """One time in each of B equal parts of [min_time, 1), all at the same place in theirs."""
    times = MaskedDiffusion(min_time=min_time).times(rows, torch.Generator().manual_seed(seed))
    assert times.shape == (rows,) and times.min() >= min_time and times.max() <= 1
    even = ((times.sort().values.double() - min_time) / (1 - min_time)) * rows
    place = even - torch.arange(rows)
    assert (place > -1e-4).all() and (place < 1 + 1e-4).all() and place.max() - place.min() < 1e-3


def test_the_mean_time_hardly_varies_between_batches_and_each_time_is_uniform() -> None:
    objective, rows = MaskedDiffusion(), 16
    times = torch.stack([objective.times(rows, torch.Generator().manual_seed(seed)) for seed in range(4000)]).double()
    want = (1 - 1e-3) / rows / 12**0.5  # independent times: (1 - 1e-3) / 12^0.5 / rows^0.5, four times as much
    assert abs(float(times.mean(1).std()) / want - 1) < 0.05
    first = ((times[:, 0] - 1e-3) / (1 - 1e-3)).sort().values
    assert (first - (torch.arange(4000) + 0.5) / 4000).abs().max() < 1.95 / 4000**0.5


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=repr)
def test_masks_hide_the_answer_alone_and_as_often_as_the_schedule_says(schedule: Schedule) -> None:
    objective, rows = MaskedDiffusion(schedule=schedule), 20_000
    for time in (0.2, 0.7):
        t = torch.full((rows,), time)
        canvas = objective.corrupt(batch(rows, 2), t, MASK, torch.Generator().manual_seed(0))
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
    values: Callable[[int], float] = lambda seed: float(objective(denoiser(), batch(6), seed).value)  # noqa: E731
    torch.manual_seed(0)
    one = values(3)
    torch.manual_seed(1)
    assert values(3) == one != values(4)


def test_a_batch_in_which_nothing_is_masked_has_no_loss() -> None:
    objective = MaskedDiffusion(schedule=Linear(), min_time=1e-3)
    seed = next(s for s in range(1000) if float(objective.times(1, torch.Generator().manual_seed(s))) < 0.01)
    model = toy().requires_grad_(True)
    loss = objective(model, batch(1), seed)
    assert float(loss.value.detach()) == 0.0 and loss.parts == {"masked": 0.0}
    loss.value.backward()
    assert model.head.weight.grad is None or model.head.weight.grad.abs().sum() == 0


@pytest.mark.parametrize("min_time", [0.0, 1.0, -0.5])
def test_a_time_without_a_weight_is_refused(min_time: float) -> None:
    with pytest.raises(ValueError) as caught:
        MaskedDiffusion(min_time=min_time)
    assert str(caught.value) == f"min_time={min_time} is outside (0, 1): the weight 1/t has no value at 0"
