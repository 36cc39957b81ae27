"""Block diffusion: its expectation by brute force, what each row shows, what it refuses."""

from functools import cache
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toy import MASK, logits, toy
from unveil.canvas import MASK as MASKED
from unveil.models.attention import BlockCausal
from unveil.objectives.loss import Batch, loss
from unveil.objectives.masked import BlockDiffusion

PROMPT, ANSWER, SIZE = [1, 2], [3, 4, 5], 2  # blocks of two columns and of one


@cache
def denoiser() -> torch.nn.Module:
    return toy(gain=0.3, rule=BlockCausal(size=SIZE))


def batch(rows: int) -> Batch:
    tokens = torch.tensor(PROMPT + ANSWER).expand(rows, -1)
    return Batch(tokens, torch.full((rows,), 2), torch.full((rows,), 5))


def brute_force(min_time: float) -> float:
    """Sum over blocks of the mean over t and all masks of the block, the blocks before it clean, none after it."""
    n = 100_000
    t = min_time + (1 - min_time) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    total = torch.zeros_like(t)
    for first, last in ((0, 2), (2, 3)):
        for flags in product((False, True), repeat=last - first):
            masked = [first + i for i, flag in enumerate(flags) if flag]
            ids = torch.tensor(PROMPT + [MASK if i in masked else token for i, token in enumerate(ANSWER[:last])])
            p = logits(denoiser(), ids)[2:].log_softmax(-1)[torch.arange(last), torch.tensor(ANSWER[:last])]
            total -= t ** len(masked) * (1 - t) ** (last - first - len(masked)) * p[masked].sum()
    return float((total / t).mean() / 3)


def test_its_expectation_is_the_bound() -> None:
    objective = BlockDiffusion(size=SIZE, min_time=0.01)
    exact = brute_force(0.01)
    seeds = range(40)
    values = torch.tensor([float(loss(denoiser(), objective.corrupt(batch(500), MASK, seed))) for seed in seeds])
    error = float(values.double().std()) / len(values) ** 0.5
    assert error < 0.02 * exact, "too few samples to tell"
    assert abs(float(values.double().mean()) - exact) < 4 * error


@given(size=st.integers(1, 6), seed=st.integers(0, 10**6), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_row_shows_clean_blocks_then_one_noisy_block_then_nothing(size: int, seed: int, lengths: list[int]) -> None:
    rows = len(lengths)
    tokens = torch.arange(12).expand(rows, -1)
    whole = Batch(tokens, torch.full((rows,), 3), 3 + torch.tensor(lengths))
    example = BlockDiffusion(size=size).corrupt(whole, MASK, seed)
    canvas = example.canvas
    for row, length in enumerate(lengths):
        shown = int(canvas.end[row]) - 3
        assert shown == length or (shown < length and shown % size == 0)
        hidden = (canvas.stage[row] == MASKED).nonzero()[:, 0]
        first = 3 + (shown - 1) // size * size
        assert ((hidden >= first) & (hidden < 3 + shown)).all()
        clean = [column for column in range(3 + shown) if column not in hidden.tolist()]
        assert canvas.tokens[row, clean].tolist() == clean
        num_blocks = -(-length // size)
        assert float(example.weight[row]) * length * rows >= num_blocks * 0.999  # 1/t is at least 1


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"size": 0}, "block size 0 is not positive: give the block size of the model"),
        ({"size": 4, "min_time": 0.0}, "min_time=0.0 is outside (0, 1): the weight 1/t has no value at 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        BlockDiffusion(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == message
