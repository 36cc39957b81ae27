"""How fast a sampler decodes, and which share of the time is spent outside the model's forward."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from unveil.canvas import Canvas
from unveil.decoding.model import Model
from unveil.models.denoiser import Cache, Denoiser, Prediction, Want
from unveil.sampling.queue import steps_queue


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The median of several decodes of one batch of random prompts."""

    model: str
    sampler: str
    tokens_per_second: float
    tokens_per_second_low: float  # the slowest decode
    tokens_per_second_high: float  # the fastest decode
    forwards: int  # calls of the model for the whole batch
    ms_per_forward: float  # in the model alone, milliseconds
    outside: float  # share of the time that is not the model's, 0 to 1
    prompt_tokens: int
    new_tokens: int
    batch: int
    repeat: int
    threads: int
    dtype: str
    device: str
    revision: str
    adapter: str | None
    bits: int | None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A denoiser that notes how long each of its forwards takes."""

    inner: Denoiser
    device: torch.device
    seconds: list[float]  # filled as it is called

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self.inner.mask_id

    def new_cache(self, canvas: Canvas) -> Cache:
        """See Denoiser."""
        return self.inner.new_cache(canvas)

    def __call__(self, canvas: Canvas, fresh: Tensor, read: Tensor, cache: Cache | None, want: Want) -> Prediction:
        """See Denoiser."""
        began = _clock(self.device)
        prediction = self.inner(canvas, fresh, read, cache, want)
        self.seconds.append(_clock(self.device) - began)
        return prediction


def measure(
    model: Model, spec: str, *, prompt_tokens: int, new_tokens: int, batch: int = 8, repeat: int = 5, seed: int = 0
) -> Speed:
    """Decode one batch of random prompts `repeat` times, after one decode that does not count.

    No row ends at an end id: every decode writes batch * new_tokens tokens. Raises ValueError for numbers below 1,
    for what exceeds the context, and for a sampler that does not fit.
    """
    numbers = {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens, "batch": batch, "repeat": repeat}
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}={number} is not positive: it must be at least 1")
    room = model.denoiser.architecture.max_columns
    if prompt_tokens + new_tokens > room:
        raise ValueError(f"{prompt_tokens} + {new_tokens} tokens exceed the model's context of {room}: ask for fewer")
    rows = _random_rows(model, prompt_tokens, new_tokens, batch, seed)
    sampler = model.sampler(spec, rows[0])
    walls, shares, forwards = [], [], []
    for turn in range(repeat + 1):
        timed = Timed(inner=model.denoiser, device=model.device, seconds=[])
        began = _clock(model.device)
        for _ in steps_queue(sampler, timed, rows, batch=batch):
            pass
        wall = _clock(model.device) - began
        if turn:
            walls.append(wall)
            shares.append(1 - sum(timed.seconds) / wall)
            forwards.append(sum(timed.seconds) / len(timed.seconds))
    return Speed(
        model=model.name, revision=model.revision, adapter=model.adapter, bits=model.bits,
        sampler=spec,
        tokens_per_second=batch * new_tokens / median(walls),
        tokens_per_second_low=batch * new_tokens / max(walls),
        tokens_per_second_high=batch * new_tokens / min(walls),
        forwards=len(timed.seconds),
        ms_per_forward=1000 * median(forwards),
        outside=median(shares),
        threads=torch.get_num_threads(),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        **numbers,
    )  # fmt: skip


def _random_rows(model: Model, prompt_tokens: int, new_tokens: int, batch: int, seed: int) -> Sequence[Canvas]:
    a = model.denoiser.architecture
    generator = torch.Generator().manual_seed(seed)
    legal = torch.tensor([token for token in range(a.vocabulary) if token not in (a.mask_id, *a.end_ids)])
    prompts = legal[torch.randint(len(legal), (batch, prompt_tokens), generator=generator)].tolist()
    return [
        Canvas.blank([prompt], new_tokens, mask_id=a.mask_id, seed=seed + row, device=model.device)
        for row, prompt in enumerate(prompts)
    ]


def _clock(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
