"""Mask-agnostic fine-tuning: a model learns to answer whatever the number of [MASK]s after the answer.

Piskorz et al. 2025 (arXiv 2511.21338), section 6 and tables 2 and 3. Defaults are the paper's, for any model; PRESETS
add what differs between its runs. What v1 leaves open is marked [D]: our choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from torch import nn

from unveil.models.transformer import Transformer
from unveil.objectives.loss import Batch
from unveil.objectives.mask_agnostic import MaskAgnostic
from unveil.training.data import Pair, Reading, Rows, read_pairs
from unveil.training.settings import Training
from unveil.training.tuning import Tuning

ON_ONE_GPU = (
    "lora=r=64,alpha=128,targets=query|key|value|output",  # the layers are [D]
    "dtype=bfloat16",
    "precision=bf16",
    "checkpointing=true",
)
# Settings by name, as --set takes them. The paper's "CE" runs have another rate than those with TV; those that end in
# "-same-lr" do not.
PRESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "llada-8b-base": (*ON_ONE_GPU, "beta=1", "lr=1e-5"),
        "llada-8b-base-ce": (*ON_ONE_GPU, "beta=0", "lr=1e-6"),
        "llada-8b-base-ce-same-lr": (*ON_ONE_GPU, "beta=0", "lr=1e-5"),
        "llada-8b-instruct": (*ON_ONE_GPU, "beta=10", "lr=1e-6"),
        "llada-8b-instruct-ce": (*ON_ONE_GPU, "beta=0", "lr=1e-5"),
        "llada-8b-instruct-ce-same-lr": (*ON_ONE_GPU, "beta=0", "lr=1e-6"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Constant(Training):
    """Linear warm-up, if any, then one rate [D]."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.lr * min(1.0, (step + 1) / max(1, self.warmup))


@dataclass(frozen=True, kw_only=True)
class MaskAgnosticTuning(Tuning):
    """Answers and the EOS after them are learned in two inputs with different numbers of [MASK]s; see MaskAgnostic.

    A pair beyond the context is left out. The most masks grow from 1 to `max_masks` in a straight line [D] while
    `curriculum` gradient steps are taken. v1 has 5000 of them and 930 updates of 43 micro-batches, and does not say
    which it counts: with `micro_steps` 43 the curriculum ends after 116 updates, with 1 the last update has 112 masks.
    """

    name: ClassVar[str] = "mask-agnostic"

    alpha: float = 0.1  # weight of CE
    beta: float = 1.0  # weight of TV
    masked: tuple[float, float] = (0.2, 0.8)  # the share of an answer that is masked is drawn from here
    max_masks: int = 600  # after an answer
    context: int = 1024  # columns of an input; or the model's own limit, if that is less
    curriculum: int = 5000  # gradient steps until max_masks is reached; 0: from the start
    micro_steps: int = 43  # gradient steps that an update counts for
    lengths: str = "uniform"  # how numbers of masks are drawn; log: few masks more often (not the paper's)
    anchor: str = "none"  # fewer, more: the input that gets no gradient from TV (not the paper's)
    rows: int = 129
    training: Training = field(
        default_factory=lambda: Constant(
            steps=930, lr=1e-5, warmup=0, weight_decay=0.0, clip=1.0, micro_rows=3, validate_every=93, save_every=31
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.long == "cut":
            raise ValueError("long=cut: the end of every answer is learned here: use long=skip or long=refuse")
        self._objective(0)  # its settings are checked before anything is read

    @property
    def objective(self) -> MaskAgnostic:
        """The paper's loss, or a variant of it."""
        return self._objective(self.eos)

    def _objective(self, eos: int) -> MaskAgnostic:
        return MaskAgnostic(
            eos=eos, alpha=self.alpha, beta=self.beta, masked=self.masked, lengths=self.lengths, anchor=self.anchor
        )

    @property
    def columns(self) -> int:
        """The most columns of an input."""
        return min(self.context, self.outline.context)

    @cached_property
    def reading(self) -> Reading:
        """The pairs that fit. ValueError for a broken line, or if no mask fits after any pair."""
        pairs, left_out = read_pairs(self.data, self._refusing if self.long == "refuse" else self.form(None))
        lengths = [len(prompt) + len(answer) + 1 for prompt, answer in pairs]
        if min(lengths) >= self.columns:
            raise ValueError(
                f"{self.data}: with {self.columns} columns no mask fits after any pair, the shortest has "
                f"{min(lengths)} tokens with its EOS: give shorter texts, or a larger context"
            )
        fit = [pair for pair, length in zip(pairs, lengths, strict=True) if length <= self.columns]
        return Reading(fit, left_out | {"longer than the context": len(pairs) - len(fit)})

    def _refusing(self, item: Mapping[str, Any]) -> Pair:
        """A line that fits. ValueError for any other."""
        pair = self.form(None)(item)
        if (length := len(pair.prompt) + len(pair.answer) + 1) > self.columns:
            raise ValueError(
                f"it has {length} tokens with its EOS, the context holds {self.columns}: give a larger context, "
                "set long=skip, or remove the line"
            )
        return pair

    def laid(self, pairs: Sequence[Pair]) -> Rows:
        """Rows that end with the answer's EOS."""
        return Rows.of(pairs, canvas=self.columns, eos=self.eos, padding="first")

    def most(self, step: int) -> int:
        """The most masks after an answer in a step, counted from 0."""
        progress = min(1.0, (step + 1) * self.micro_steps / max(1, self.curriculum))
        return max(1, round(self.max_masks * progress))

    def batch(self, step: int) -> Batch:
        """Rows of like length, every pair once an epoch, with the step's room for masks."""
        return self._with_room(super().batch(step), self.most(step))

    def held_out(self) -> Batch:
        """All held-out pairs, with room for as many masks as there can be."""
        return self._with_room(super().held_out(), self.max_masks)

    def _with_room(self, batch: Batch, most: int) -> Batch:
        return batch._replace(room=(self.columns - batch.end).clamp(max=most))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss of the held-out pairs, by which the paper selects, and its two terms; "score" is minus the loss."""
        terms = [self.objective.terms(cast(Transformer, model), share) for share in self.shares(model)]
        ce, tv = (float(torch.stack(values).sum()) for values in zip(*terms, strict=True))
        return {"validation": ce + tv, "score": -(ce + tv), "ce": ce, "tv": tv}
