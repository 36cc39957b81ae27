"""A small random model with a tokenizer, and a task with two graders: what evaluations are tried on."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from tests.toy import MASK, toy
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.decoding.model import Model
from unveil.models.attention import Rule
from unveil.tasks.task import Problem, Verdict

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"  # 48 characters, then [EOS] 48 and [MASK] 49
MASKS = 12
PROBLEMS = [
    Problem(prompt=text, answer=None, id=f"p-{text}", data={"number": number})
    for number, text in enumerate(("abc", "hello", "M", "xyzzy", "fo", "unveil", "canvas"))
]


def small(rule: Rule | None = None, **more: object) -> Model:
    """It ends some answers early."""
    denoiser = toy(gain=0.5, end_ids=(48,), dtype=torch.float64, rule=rule)
    denoiser.head.weight.data[48] *= 2
    tokenizer = FileTokenizer.characters(ALPHABET, ["[EOS]", "[MASK]"])
    assert tokenizer.encode("[MASK]") == [MASK]
    settings: dict = {"name": "small", "new_tokens": MASKS, "revision": "0", "end_ids": (48,), **more}
    return Model(denoiser=denoiser, tokenizer=tokenizer, **settings)


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Right where the answer has an even sum."""

    name: str = "plain"
    describe: str = "Even sums."
    num_masks: int = MASKS

    def read(self, path: object) -> list[Problem]:
        return list(PROBLEMS)

    def correct(self, problem: Problem, text: str) -> bool:
        return sum(map(ord, text)) % 2 == 0


@dataclass(frozen=True, kw_only=True)
class Ending(Plain):
    """It has stop texts of its own for raw prompts."""

    stops: ClassVar[tuple[str, ...]] = ("a", "Q", "z")


@dataclass(frozen=True, kw_only=True)
class Both(Plain):
    """The published rule takes every answer that ends early, and remarks on some."""

    def compat(self, problem: Problem, text: str) -> Verdict:
        odd = problem.data["number"] % 2 == 1
        return Verdict(len(text) < MASKS, "odd one" if odd else "")


def file_in(folder: Path) -> Path:
    """Where items are kept."""
    return folder / "items.jsonl"
