"""A training run of seconds, the same in this process and in one that is killed."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tests.toy import toy
from unveil.files import write_text
from unveil.models.transformer import Transformer
from unveil.objectives.loss import Batch, loss
from unveil.objectives.masked import MaskedDiffusion
from unveil.training.settings import Training
from unveil.training.trainer import train

TRAINING = Training(steps=40, lr=3e-3, warmup=5, seed=3, ema=0.9, micro_rows=2, validate_every=8, save_every=6)


def batch(step: int) -> Batch:
    """Counting modulo 40 from anywhere; everything follows from the step."""
    first = torch.randint(0, 40, (4, 1), generator=torch.Generator().manual_seed(step))
    return Batch((first + torch.arange(9)) % 40, torch.full((4,), 2), torch.full((4,), 9))


def validate(model: nn.Module) -> dict[str, float]:
    """A score that goes up and down, as scores do."""
    with torch.no_grad():
        value = loss(model, MaskedDiffusion().corrupt(batch(10**6), model.outline.blank_id, 0))  # type: ignore[arg-type]
    return {"validation": float(value), "score": float((value * 1000).long() % 97)}


def run(
    out: Path, *, resume: bool = False, on_step: Callable[[int], object] = lambda step: None, pause: float = 0.0
) -> nn.Module:
    """Train the toy in `out`; the step of the best score is written beside its run."""

    def batches(step: int) -> Batch:
        on_step(step)
        time.sleep(pause)
        return batch(step)

    def keep(model: nn.Module) -> None:
        assert isinstance(model, Transformer)
        write_text(out / "best.txt", repr(model.norm.weight.tolist()))

    model = toy(layers=1, width=16, dtype=torch.float32)
    return train(model, MaskedDiffusion(), batches, TRAINING, out=out, validate=validate, keep=keep, resume=resume)
