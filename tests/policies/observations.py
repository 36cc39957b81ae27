"""What policies are tried on: networks whose output is not zero, made-up observations, decodes of the toy model."""

from collections.abc import Sequence

import torch

from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings, Observation

SMALL = {"width": 16, "feed_width": 24, "heads": 2}


def awake(
    seed: int = 0, *, dtype: torch.dtype = torch.float64, std: float = 0.3, **settings: object
) -> ConfidencePolicy:
    """A small policy all of whose weights matter, as after some training."""
    net = ConfidencePolicy(ConfidenceSettings(**{**SMALL, **settings}), seed=0)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(std * torch.randn(weight.shape, generator=generator))
    return net.to(dtype)


def made_up(
    lengths: Sequence[int],
    starts: Sequence[int],
    columns: int,
    *,
    features: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Observation:
    """Rows that see `lengths` columns from `starts` on; every row's numbers depend on its place in the list alone."""
    rows = []
    for row, (length, start) in enumerate(zip(lengths, starts, strict=True)):
        generator = torch.Generator().manual_seed(row)
        values = torch.zeros(columns, features + 1, dtype=dtype)
        values[start : start + length] = torch.rand(length, features + 1, generator=generator, dtype=dtype)
        seen = torch.zeros(columns, dtype=torch.bool)
        seen[start : start + length] = True
        numbers = torch.rand(3, generator=generator, dtype=dtype)
        rows.append((values[:, :features], values[:, features] > 0.4, seen, *numbers))
    return Observation(*(torch.stack(field) for field in zip(*rows, strict=True)))


def rows_of(observation: Observation, index: Sequence[int]) -> Observation:
    """Some rows of it."""
    return Observation(*(field[list(index)] for field in observation))
