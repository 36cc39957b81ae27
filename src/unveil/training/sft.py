"""Supervised fine-tuning: a masked diffusion model learns answers from prompts, all its weights or adapters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from unveil.files import read_settings, write_json
from unveil.objectives.loss import Objective
from unveil.objectives.masked import MaskedDiffusion
from unveil.training.data import Pair, Reading, Rows, read_pairs
from unveil.training.settings import Training
from unveil.training.tuning import GENERATION, Tuning

PADDING = ("canvas", "first")


@dataclass(frozen=True, kw_only=True)
class SFT(Tuning):
    """Each answer's loss is the masked diffusion bound over its own columns (LLaDA, Nie et al. 2025, eq. 5).

    Prompts are never masked.
    """

    name: ClassVar[str] = "sft"

    canvas: int = 128  # columns after a prompt: the longest answer and its EOS fit
    padding: str = "canvas"  # learn EOS up to the canvas's end (LLaDA's recipe), or answers up to the first EOS
    training: Training = field(
        default_factory=lambda: Training(steps=1000, lr=2e-5, warmup=50, validate_every=100, save_every=100)
    )

    def __post_init__(self) -> None:
        if self.canvas < 2 or self.rows < 1:
            raise ValueError(f"canvas={self.canvas}, rows={self.rows}: give a canvas of at least 2 and 1 row or more")
        if self.padding not in PADDING:
            raise ValueError(f"padding={self.padding!r} is unknown: use {' or '.join(PADDING)}")
        super().__post_init__()

    @property
    def objective(self) -> Objective[Any]:
        """Per row, each over its own answer."""
        return MaskedDiffusion()

    @cached_property
    def reading(self) -> Reading:
        """All lines that are taken. ValueError for one that is not to be left out, and cannot be read."""
        return read_pairs(self.data, self.form(self.canvas))

    @property
    def num_cut(self) -> int:
        """How many answers were cut: they fill the canvas, all others end with an EOS."""
        return sum(len(answer) >= self.canvas for _, answer in self.reading.pairs)

    def laid(self, pairs: Sequence[Pair]) -> Rows:
        """See Rows."""
        return Rows.of(pairs, canvas=self.canvas, eos=self.eos, padding=self.padding)

    def save(self, model: nn.Module, folder: Path) -> None:
        """As in Tuning; the canvas is what is decoded by default."""
        super().save(model, folder)
        settings = folder / GENERATION
        write_json(settings, read_settings(settings) | {"max_new_tokens": self.canvas})
