"""lab-sudoku: a model of 0.8 M parameters for 4x4 Sudoku, in LLaDA's layout.

    python -m recipes.lab_sudoku --out runs/lab-sudoku

Under an hour on one thread of a laptop. A row is a puzzle and its solution, a character a token; what is learned is the
solution.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from recipes import lab
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.models.transformer import Architecture
from unveil.objectives.loss import Batch
from unveil.objectives.masked import MaskedDiffusion
from unveil.tasks.puzzles.sudoku import Sudoku
from unveil.training.settings import Training

TOKENIZER = FileTokenizer.characters("\n=01234", lab.SPECIAL)
EOS, MASK = (TOKENIZER.encode(name)[0] for name in lab.SPECIAL)
ARCHITECTURE = Architecture(
    vocabulary=16, width=128, layers=4, heads=4, kv_heads=4, head_width=32, feed_width=352, max_columns=64,
    rope_base=10000.0, mask_id=MASK, end_ids=(EOS,),
)  # fmt: skip
TRAINING = Training(steps=6000, lr=2e-3, warmup=200, weight_decay=0.01, validate_every=250)
CHARACTERS = np.array(TOKENIZER.encode("01234"))
NEWLINE, EQUALS = TOKENIZER.encode("\n=")


@dataclass(frozen=True, kw_only=True)
class LabSudoku:
    """A step learns `rows` fresh puzzles of the training split; `validation` others are solved to score the model."""

    name: ClassVar[str] = "lab-sudoku"
    command: ClassVar[str] = "python -m recipes.lab_sudoku"
    objective: ClassVar[MaskedDiffusion] = MaskedDiffusion()

    rows: int = 128
    validation: int = 512
    training: Training = field(default=TRAINING)

    def model(self) -> nn.Module:
        """Fresh weights."""
        return lab.model(ARCHITECTURE, self.training.seed)

    def batch(self, step: int) -> Batch:
        """Puzzle and solution, 41 columns, from the seed and the step."""
        puzzles, solutions = Sudoku(split="train").arrays(self.rows, np.random.default_rng([self.training.seed, step]))
        return Batch(_sequences(puzzles, solutions), torch.full((self.rows,), 22), torch.full((self.rows,), 41))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Share of validation puzzles with 4 to 6 givens solved, one token a forward, by confidence."""
        task = Sudoku(givens=(4, 6))
        return {"score": lab.accuracy(model, TOKENIZER, task, count=self.validation, seed=1, batch=512)}

    def save(self, model: nn.Module, folder: Path) -> None:
        """Weights and tokenizer."""
        lab.save(model, folder, TOKENIZER, new_tokens=Sudoku.num_masks)

    def describe(self, folder: Path) -> None:
        """The card."""
        measured = f"{self.validation} validation puzzles with 4 to 6 givens, llada, 19 masks, 19 forwards, one block"
        lab.describe(folder, self, task="sudoku", measured=measured)


def _sequences(puzzles: np.ndarray, solutions: np.ndarray) -> torch.Tensor:
    """(n, 16) puzzles and solutions as (n, 41) ids: the text form of the task."""
    rows = len(puzzles)
    line = np.full((rows, 4, 1), NEWLINE)
    above = np.concatenate([CHARACTERS[puzzles].reshape(rows, 4, 4), line], 2).reshape(rows, 20)
    below = np.concatenate([CHARACTERS[solutions].reshape(rows, 4, 4), line], 2).reshape(rows, 20)[:, :19]
    middle = np.tile([EQUALS, NEWLINE], (rows, 1))
    return torch.from_numpy(np.concatenate([above, middle, below], 1))


if __name__ == "__main__":
    lab.main(LabSudoku)
