"""A policy's training of seconds on a tiny model, for one process or several: python -m tests.training.rounds OUT."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.training.folder import model_folder
from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings
from unveil.settings import with_settings
from unveil.tasks.task import Problem
from unveil.training.policy import PolicyTraining, run
from unveil.training.settings import WarmStarted

HERE = "tests.training.rounds"


def variety(problem: Problem, text: str) -> float:
    """A reward that a random model's answers differ in; puzzles whose first cell is given earn nothing."""
    return 0.0 if problem.prompt[0] != "0" else len({*text}) / 32


def nothing(problem: Problem, text: str) -> float:
    """No group has signal."""
    return 0.0


def fails_later(problem: Problem, text: str) -> float:
    """A user's function that raises once `text` has been decoded."""
    if text not in ("", problem.answer):
        raise KeyError("no such thing")
    return 1.0


@dataclass(frozen=True, kw_only=True)
class Exact(PolicyTraining):
    """In float64, so that the order of sums does not matter."""

    prompts: int = 4
    copies: int = 3
    batch: int = 5
    validation: int = 3
    chunk: int = 7
    network: ConfidenceSettings = field(
        default_factory=lambda: ConfidenceSettings(width=8, feed_width=8, heads=1, rate=0.4)
    )
    training: WarmStarted = field(
        default_factory=lambda: WarmStarted(steps=3, lr=0.05, warmup=1, validate_every=2, save_every=1)
    )

    def net(self) -> ConfidencePolicy:
        """The same, in float64."""
        return super().net().double()


def recipe(base: Path, *settings: str, **parts: Any) -> Exact:
    """The training on the model of that folder."""
    own = {"task": "sudoku", "dtype": "float64", "reward": f"{HERE}:variety"} | parts
    return with_settings(Exact(base=str(base), **own), settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    run(recipe(out.parent / "model", *json.loads(sys.argv[2])), out=out)


def model(folder: Path) -> Path:
    """A tiny model of characters."""
    return model_folder(folder / "model", layers=1, width=16, head_width=8, feed_width=32)
