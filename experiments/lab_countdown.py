"""Countdown alone, which lab-puzzles has not learned: a model on which `lab_evotoken.py` compares trainings.

    python -m experiments.lab_countdown --out runs/countdown

Run it from the repository's root. From lab-puzzles in two runs, which go on where they were stopped. In the first
(`grown`) numbers grow from 10 to 30 in the first 40 %, answers fill 16 tokens, in the last 15 % the task's 32, and the
best weights on 128 validation problems are kept. The second (`tuned`) fine-tunes these on 320,000 pairs. `tuned/model`
is the result.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import ClassVar

import torch
from torch import nn

from recipes import lab
from recipes.lab_puzzles import TOKENIZER, TRAINING, LabPuzzles, Part, drills
from unveil.files import write_text
from unveil.settings import with_settings
from unveil.tasks.puzzles.countdown import Countdown
from unveil.training.settings import Falling
from unveil.training.sft import SFT
from unveil.training.trainer import run

GROWN, WIDE = 0.4, 0.85  # shares of the first run
LARGEST, HIGHEST = 30, 60  # number and target
PAIRS, SEED = 320_000, 80
TUNING = (
    "canvas=32 rows=32 lr=1e-3 steps=9000 warmup=200 weight_decay=0.01 precision=bf16 validation=0.001 "
    "validate_every=1000 save_every=500 seed=0"
)


@dataclass(frozen=True, kw_only=True)
class LabCountdown(LabPuzzles):
    """The first run."""

    name: ClassVar[str] = "lab-countdown"
    command: ClassVar[str] = "python -m experiments.lab_countdown"

    def parts(self, step: int) -> list[Part]:
        """The problems of a step, and a few lone equations."""
        progress = self.progress(step)
        small = min(LARGEST, 10 + int(progress / GROWN * (LARGEST - 10)))
        task = Countdown(split="train", largest=small, targets=(min(10, small), min(HIGHEST, small + 10)))
        seed = self.training.loss_seed(step)
        canvas = 16 if progress < WIDE else task.num_masks
        return [Part(task.generate(self.countdown, seed), canvas), Part(drills(self.drills, Random(seed)), 0)]

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy, one token a forward by confidence."""
        task = Countdown(largest=LARGEST, targets=(10, HIGHEST))
        return {"score": lab.accuracy(model, TOKENIZER, task, count=self.validation, seed=1)}

    def describe(self, folder: Path) -> None:
        """The card."""
        measured = f"{self.validation} validation problems, llada, one token a forward"
        lab.describe(folder, self, task="countdown", measured=measured)


def main() -> None:
    """Both runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    training = replace(TRAINING, steps=5000, lr=4e-3, validate_every=250, save_every=100)
    recipe = LabCountdown(start="lab-puzzles", countdown=192, drills=16, validation=128, training=training)
    grown = run(recipe, out=out / "grown", resume=(out / "grown" / "metrics.jsonl").exists())
    data = out / "pairs.jsonl"
    if not data.exists():
        found = Countdown(split="train", largest=LARGEST, targets=(10, HIGHEST)).generate(PAIRS, SEED)
        write_text(data, "".join(f"{json.dumps({'prompt': x.prompt, 'answer': x.answer})}\n" for x in found))
    tuned = with_settings(SFT(base=str(grown), data=str(data), training=Falling(steps=1)), TUNING.split())
    run(tuned, out=out / "tuned", resume=(out / "tuned" / "metrics.jsonl").exists())


if __name__ == "__main__":
    main()
