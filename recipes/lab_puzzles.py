"""lab-puzzles: one model of 1.6 M parameters for Sudoku, countdown and sums, in LLaDA's layout.

    python -m recipes.lab_puzzles --out runs/lab-puzzles

A curriculum makes it learnable on a processor: sums grow from two steps to six (to ten on the long canvas), countdown
from small numbers to all. Answers are followed by EOS, as in LLaDA's fine-tuning: to the end of the task's canvas in a
growing share of rows, in all from LATE on; in the others to a multiple of eight columns, which is several times
cheaper, but tells the model how long its answer is: while most rows were so, it wrote one line too many. A number of up
to two digits is one token, so every equation is a fact to be learned, and a result is a small part of a row's loss:
without more weight on results, most steps were planned well and computed wrongly. So drills ask for the result of one
equation, and later (EARLY) after other equations, and some of the sums are shown up to one step, of which the rest is
asked for.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from recipes import lab
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.models.transformer import Architecture
from unveil.objectives.loss import Batch
from unveil.objectives.masked import MaskedDiffusion
from unveil.tasks.puzzles.countdown import Countdown
from unveil.tasks.puzzles.sudoku import Sudoku
from unveil.tasks.puzzles.sums import Sums
from unveil.tasks.task import Generated, Problem
from unveil.training.settings import Training

NUMBERS = [f"{blank}{number}" for blank in ("", " ") for number in range(10, 100)]
TOKENIZER = FileTokenizer.words([*Countdown().alphabet(), *Sums().alphabet(), *NUMBERS], lab.SPECIAL, digits=2)
EOS, MASK = (TOKENIZER.encode(name)[0] for name in lab.SPECIAL)
ARCHITECTURE = Architecture(
    vocabulary=-(-TOKENIZER.tokenizer.get_vocab_size() // 64) * 64, width=160, layers=5, heads=5, kv_heads=5,
    head_width=32, feed_width=432, max_columns=512, rope_base=10000.0, mask_id=MASK, end_ids=(EOS,),
)  # fmt: skip
TRAINING = Training(
    steps=6000, lr=5e-3, warmup=100, optimiser="muon", weight_decay=0.01, ema=0.995, precision="bf16", micro_rows=48,
    validate_every=1000, save_every=50,
)  # fmt: skip


EARLY = 0.3  # the share of the run before long sums, and before equations are asked for in their context
LATE = 0.5  # when equations are known: fewer of them, more whole answers, on whole canvases


class Part(NamedTuple):
    """Some rows of a batch; on canvas 0 nothing follows an answer."""

    problems: list[Problem]
    canvas: int


def drills(count: int, rng: Random, before: int = 0) -> list[Problem]:
    """Equations as sums (numbers to 20) and countdown (to 99) have them, half and half; the result is the answer.

    Up to `before` others of the same kind stand before it, a line each.
    """
    found = []
    for number in range(count):
        lines = [_equation(20 if number % 2 else 99, rng) for _ in range(1 + (rng.randint(0, before) if before else 0))]
        prompt, result = lines.pop()
        context = "".join(f"{left}{right}\n" for left, right in lines)
        found.append(Problem(prompt=context + prompt, answer=result, id=f"drill-{number}"))
    return found


def _equation(largest: int, rng: Random) -> tuple[str, str]:
    """An exact equation up to its "=", and its result, at most 100."""
    x = rng.randint(1, largest)
    y = rng.randint(1, largest) if rng.random() < 0.8 else rng.randint(1, 9)
    low, high = min(x, y), max(x, y)
    made = [(f"{high}-{low}=", high - low)]
    made += [(f"{x}+{y}=", x + y)] if x + y <= max(largest, 50) else []
    made += [(f"{x}*{y}=", x * y)] if x * y <= 100 else []
    made += [(f"{high}/{low}=", high // low)] if high % low == 0 else []
    left, result = rng.choice(made)
    return left, str(result)


def shown_to_a_step(problem: Problem, rng: Random) -> Problem:
    """A problem with the steps before one, and half of the times that step up to its "="; its rest is the answer."""
    lines = (problem.answer or "").split("\n")
    number = rng.randrange(len(lines))
    left, equals, right = lines[number].rpartition("=")
    given, asked = (left + equals, right) if equals and rng.random() < 0.5 else ("", lines[number])
    before = "".join(line + "\n" for line in lines[:number])
    return Problem(prompt=problem.prompt + before + given, answer=asked, id=problem.id)


@dataclass(frozen=True, kw_only=True)
class LabPuzzles:
    """`sums`, `long_sums` (on canvas 128), `countdown`, `sudoku` and `drills` are the rows a step of each.

    `shuffled` is the share of sums told in any order. `start`: a model to go on from (a shipped one, a folder or a hub
    repository), none for fresh weights. `begin`: where in the curriculum the run begins, from 0 to 1.
    """

    name: ClassVar[str] = "lab-puzzles"
    command: ClassVar[str] = "python -m recipes.lab_puzzles"
    objective: ClassVar[MaskedDiffusion] = MaskedDiffusion()

    sums: int = 64
    long_sums: int = 8
    countdown: int = 24
    sudoku: int = 20
    drills: int = 96
    shuffled: float = 0.3
    validation: int = 64  # problems of each task
    start: str | None = None
    begin: float = 0.0
    training: Training = field(default=TRAINING)

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= 1:
            raise ValueError(f"begin={self.begin} is outside [0, 1]: 0 is the whole curriculum, 1 none of it")

    def progress(self, step: int) -> float:
        """How far through the curriculum a step is."""
        return self.begin + (1 - self.begin) * step / self.training.steps

    def model(self) -> nn.Module:
        """Fresh weights, or those of `start`."""
        return lab.model(ARCHITECTURE, self.training.seed, self.start)

    def parts(self, step: int) -> list[Part]:
        """The problems of a step, as hard as they are by then."""
        progress = self.progress(step)
        most, longest = min(6, 2 + int(progress / 0.06)), min(10, 5 + int(progress / 0.08))
        small = min(99, 10 + int(progress / 0.5 * 90))
        seed = self.training.loss_seed(step)
        sums = Sums(split="train", steps=(1, most), distractors=min(0.2, progress), shuffled=self.shuffled)
        long = replace(sums, canvas=128, steps=(4, longest))
        countdown = Countdown(split="train", largest=small, targets=(min(10, small), min(100, small + 10)))
        fixed = [
            Part(countdown.generate(self.countdown, seed), countdown.num_masks),
            Part(Sudoku(split="train").generate(self.sudoku, seed), Sudoku.num_masks),
        ]
        rng = Random(seed)
        if progress < EARLY:
            return [Part(sums.generate(self.sums, seed), sums.canvas), *fixed, Part(drills(self.drills, rng), 0)]
        count, every = (self.drills, 2) if progress < LATE else (self.drills // 3, 4)
        parts = [*fixed, Part(drills(count, rng, before=3), 0)]
        for task, count in ((sums, self.sums), (long, self.long_sums)):
            problems = task.generate(count, seed)
            cut = [shown_to_a_step(problem, rng) for problem in problems[1::every]]
            parts.append(Part([x for number, x in enumerate(problems) if number % every != 1], task.canvas))
            parts.append(Part(cut, 0))
        return parts

    def batch(self, step: int) -> Batch:
        """The rows of a step, from the seed and the step."""
        rng = np.random.default_rng([self.training.seed, step])
        share = min(1.0, self.progress(step) / LATE)
        rows, starts = [], []
        for problems, canvas in self.parts(step):
            for problem, whole in zip(problems, rng.random(len(problems)) < share, strict=True):
                prompt, answer = TOKENIZER.encode(problem.prompt), TOKENIZER.encode(problem.answer or "")
                columns = canvas if whole else min(canvas, (len(answer) // 8 + 1) * 8)
                columns = max(columns, len(answer))
                rows.append(prompt + answer + [EOS] * (columns - len(answer)))
                starts.append(len(prompt))
        end = torch.tensor([len(row) for row in rows])
        return Batch(lab.padded(rows, EOS), torch.tensor(starts), end)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy on validation problems of each task, one token a forward by confidence in blocks of 32."""
        tasks: dict[str, Generated] = {
            "sudoku": Sudoku(),
            "countdown": Countdown(),
            "sums": Sums(),
            "long_sums": Sums(canvas=128),
        }
        found = {
            name: lab.accuracy(model, TOKENIZER, task, count=self.validation, seed=1) for name, task in tasks.items()
        }
        return {"score": sum(found.values()) / len(found)} | found

    def save(self, model: nn.Module, folder: Path) -> None:
        """Weights and tokenizer."""
        lab.save(model, folder, TOKENIZER, new_tokens=64)

    def describe(self, folder: Path) -> None:
        """The card."""
        measured = f"{self.validation} validation problems of each task, llada, one token a forward, blocks of 32"
        lab.describe(folder, self, task="sudoku, countdown, sums", measured=measured)


if __name__ == "__main__":
    lab.main(LabPuzzles)
