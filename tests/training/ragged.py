"""A training of seconds on rows of unequal length, for one process or several: python -m tests.training.ragged OUT."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.toy import MASK, toy
from unveil.files import write_text
from unveil.objectives.loss import Batch, Example, Objective
from unveil.objectives.masked import MaskedDiffusion
from unveil.objectives.trajectory import TrajectorySupervision
from unveil.training.settings import Training
from unveil.training.trainer import train

TRAINING = Training(steps=20, warmup=5, ema=0.8, validate_every=20, save_every=4)
OBJECTIVES: dict[str, Objective[Any]] = {
    "masked": MaskedDiffusion(),
    "trajectory": TrajectorySupervision(sizes=(4, 8), opens=(1, 2, 4), depth=3, hold=False),  # some rows end
}
ENDS = (9, 5, 12, 7, 7, 11, 6)


class Stopped(Exception):
    """Where a run is to be cut off."""


def batch(step: int) -> Batch:
    """Seven rows that count from anywhere, none as long as another but two."""
    first = torch.randint(0, 40, (len(ENDS), 1), generator=torch.Generator().manual_seed(step))
    return Batch((first + torch.arange(12)) % 40, torch.full((len(ENDS),), 2), torch.tensor(ENDS))


def example() -> Example:
    """The example of the first step."""
    return MaskedDiffusion().corrupt(batch(0), MASK, 0)


def run(out: Path, *, resume: bool = False, stop: int = 20, objective: str = "masked", **settings: Any) -> None:
    """Train in `out`, up to `stop`; the best weights' sum is written beside the run."""

    def batches(step: int) -> Batch:
        if step == stop:
            raise Stopped
        return batch(step)

    train(
        toy(layers=2, width=32, dtype=torch.float32 if objective == "masked" else torch.float64),  # choices are exact
        OBJECTIVES[objective],
        batches,
        replace(TRAINING, **settings),
        out=out,
        validate=lambda model: {"score": 1.0},
        keep=lambda model: write_text(out / "best.txt", "kept"),
        resume=resume,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        run(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    except Stopped:
        pass
