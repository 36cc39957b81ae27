"""How fast a sampler decodes, and which share of the time is spent outside the model's forward."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unveil.canvas import Canvas
from unveil.decoding.model import Model
from unveil.models.denoiser import Cache, Prediction, Want, Wrapped
from unveil.sampling.queue import steps_queue
from unveil.terminal import busy, plain, rendered, spaced, table

if TYPE_CHECKING:
    from rich.table import Table

PROMPT_TOKENS = 32  # of the random prompts, or what the context leaves
DEFAULTS = (
    "llada",
    "fast_dllm:threshold=0.9",
    "fast_dllm:threshold=0.9,block=8,cache=prefix",
    "fast_dllm:threshold=0.9,block=8,cache=dual",
)


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


class Speeds(tuple[Speed, ...]):
    """The speeds of several samplers; printed they are a table."""

    def to_json(self) -> dict[str, Any]:
        """One speed as its fields, several as {"results": [...]}."""
        return self[0].to_json() if len(self) == 1 else {"results": [one.to_json() for one in self]}

    def __str__(self) -> str:
        return rendered(speeds_table(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class Timed(Wrapped):
    """A denoiser that notes how long each of its forwards takes."""

    device: torch.device
    seconds: list[float]  # filled as it is called

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
    room = model.denoiser.outline.context
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


def measure_each(
    model: Model, specs: Sequence[str], *, prompt_tokens: int | None = None, new_tokens: int | None = None, **more: int
) -> Speeds:
    """`measure` under several samplers; without numbers the model's new tokens, and prompts of 32 (or what fits)."""
    new = model.new_tokens if new_tokens is None else new_tokens
    given = max(1, min(PROMPT_TOKENS, model.denoiser.outline.context - new)) if prompt_tokens is None else prompt_tokens
    speeds = []
    for spec in specs:
        with busy(f"measuring {spec}"):
            speeds.append(measure(model, spec, prompt_tokens=given, new_tokens=new, **more))
    return Speeds(speeds)


def _random_rows(model: Model, prompt_tokens: int, new_tokens: int, batch: int, seed: int) -> Sequence[Canvas]:
    a = model.denoiser.outline
    generator = torch.Generator().manual_seed(seed)
    legal = torch.tensor([token for token in range(a.vocabulary) if token not in (a.mask_id, *a.end_ids)])
    prompts = legal[torch.randint(len(legal), (batch, prompt_tokens), generator=generator)].tolist()
    return [
        Canvas.blank([prompt], new_tokens, mask_id=a.blank_id, seed=seed + row, device=model.device)
        for row, prompt in enumerate(prompts)
    ]


def _clock(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def speeds_table(speeds: Sequence[Speed]) -> "Table":
    """A line per sampler."""
    first = speeds[0]
    kind = first.dtype if first.bits is None else f"{first.bits} bits and {first.dtype}"
    shown = table(
        "sampler", "tokens/\nsecond", "slowest\nto fastest", "forwards", "ms per\nforward", "outside\nthe model",
        title=plain(
            f"{first.model}: {first.batch} rows, {first.prompt_tokens} + {first.new_tokens} tokens, {kind} on "
            f"{first.device}, threads {first.threads}, median of {first.repeat}"
        ),
    )  # fmt: skip
    for speed in speeds:
        shown.add_row(
            spaced(speed.sampler),
            f"{speed.tokens_per_second:,.0f}",
            f"{speed.tokens_per_second_low:,.0f}-{speed.tokens_per_second_high:,.0f}",
            str(speed.forwards),
            f"{speed.ms_per_forward:.2f}",
            f"{speed.outside:.0%}",
        )
    return shown
