"""Noise is a pure function of row seed, forward, salt and column, and looks like noise."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unveil import noise


def draws(num: int, *, vary: str, seed: int = 0, forward: int = 0, column: int = 0, salt: int = 1) -> Tensor:
    """`num` numbers along one of the arguments."""
    values = {"seed": seed, "forward": forward, "column": column}
    tensors = {name: torch.full((num,), value) for name, value in values.items()}
    tensors[vary] = tensors[vary] + torch.arange(num)
    return noise.uniform(tensors["seed"], tensors["forward"], salt, tensors["column"])


@given(st.integers(-(2**40), 2**40), st.integers(0, 10**6), st.integers(0, 9), st.integers(-1, 10**6))
def test_an_entry_depends_on_nothing_but_its_own_arguments(seed: int, forward: int, salt: int, column: int) -> None:
    alone = noise.uniform(torch.tensor([seed]), torch.tensor([forward]), salt, torch.tensor([column]))
    seeds, forwards, columns = ([[1, seed], [2, 3]], [[0, forward], [5, 6]], [[9, column], [8, 7]])
    among = noise.uniform(torch.tensor(seeds), torch.tensor(forwards), salt, torch.tensor(columns))
    assert among[0, 1] == alone[0] and 0 < alone[0] < 1


def test_numbers_are_uniform_along_every_argument() -> None:
    for vary in ("seed", "forward", "column"):
        u = draws(100_000, vary=vary).sort().values
        distance = (u - (torch.arange(len(u)) + 0.5) / len(u)).abs().max()
        assert distance < 1.95 / len(u) ** 0.5  # Kolmogorov-Smirnov, one in a thousand
        assert len(u.unique()) == len(u)


def test_neighbours_and_salts_are_independent() -> None:
    num = 100_000
    base = draws(num, vary="column")
    for change in ({"seed": 1}, {"forward": 1}, {"salt": 2}, {"column": 1}):
        other = draws(num, vary="column", **change)
        correlation = torch.corrcoef(torch.stack([base, other]))[0, 1]
        assert abs(correlation) < 4 / num**0.5


def test_known_values() -> None:
    """The same on every machine; a change here changes every sampled result."""
    values = noise.uniform(torch.tensor([0, 1, 7]), torch.tensor([0, 0, 3]), 2, torch.tensor([0, 5, 11]))
    assert [f"{value:.12f}" for value in values.tolist()] == ["0.323895924592", "0.029230195165", "0.997582325035"]


def test_the_largest_number_is_below_one() -> None:
    """All 64 bits set is the extreme of what the mixer can give."""
    bits = torch.tensor([-1, 0, (1 << 63) - 1])
    original = noise._mix
    try:
        noise._mix = lambda x: bits  # type: ignore[assignment]
        u = noise.uniform(bits, bits, 0, bits)
    finally:
        noise._mix = original
    assert (u > 0).all() and (u < 1).all() and torch.isfinite(noise.gumbel(u)).all()


def test_gumbel_noise_draws_from_the_softmax() -> None:
    logits = torch.tensor([0.3, -1.2, 1.0, -0.5], dtype=torch.float64)
    num = 40_000
    rows, columns = torch.arange(num)[:, None].expand(-1, 4), torch.arange(4).expand(num, -1)
    keys = logits + noise.gumbel(noise.uniform(rows, torch.zeros_like(rows), 1, columns))
    share = torch.bincount(keys.argmax(1), minlength=4) / num
    p = logits.softmax(0)
    assert ((share - p).abs() < 4.5 * (p * (1 - p) / num).sqrt()).all()
