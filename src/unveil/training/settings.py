"""How long and how fast to train: the settings of a run."""

import math
from dataclasses import dataclass, replace

from unveil.legal import TRAININGS, check_fields

LEGAL = {"precision": ("no", "bf16", "fp16"), "optimiser": ("adamw", "muon")}


@dataclass(frozen=True, kw_only=True)
class Training:
    """Linear warm-up, then a cosine to zero."""

    steps: int
    lr: float = 1e-3
    warmup: int = 200
    optimiser: str = "adamw"  # muon (Jordan et al. 2024): for the layers' matrices, AdamW for all else
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)  # AdamW's
    clip: float = 1.0
    ema: float = 0.0  # decay of the moving average that is validated and kept; 0: the weights themselves
    micro_rows: int = 0  # rows in memory at a time and process (gradient accumulation); 0: all
    precision: str = "no"  # bf16, fp16: autocast; weights and optimiser stay as they are
    checkpointing: bool = False  # recompute activations in the backward pass
    patience: int = 200  # steps of a loss three times its lowest running mean before the run counts as diverged
    seed: int = 0
    validate_every: int = 500
    save_every: int = 100

    def __post_init__(self) -> None:
        check_fields(self, TRAININGS)
        for name, legal in LEGAL.items():
            if getattr(self, name) not in legal:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown: use {', '.join(legal)}")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * progress))

    def due(self, step: int, every: int) -> bool:
        """Whether something done every so many steps, and at the end, is due after this step."""
        return (step + 1) % every == 0 or step + 1 == self.steps

    def loss_seed(self, step: int) -> int:
        """The seed of a step's masks and times."""
        return self.seed * 1_000_003 + step


@dataclass(frozen=True, kw_only=True)
class Falling(Training):
    """Linear warm-up, if any, then a straight line to zero."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return super().rate(step)
        return self.lr * (self.steps - step) / max(1, self.steps - self.warmup)


@dataclass(frozen=True, kw_only=True)
class WarmStarted(Training):
    """Rounds of imitation, whose rate falls in a straight line, then warm-up and cosine."""

    warm_rounds: int = 0
    warm_lr: float = 3e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.warm_rounds <= self.steps:
            raise ValueError(f"warm_rounds={self.warm_rounds} is outside 0..{self.steps}, the rounds there are")

    def rate(self, step: int) -> float:
        """The learning rate of a round, counted from 0."""
        if step < self.warm_rounds:
            return self.warm_lr * (1 - step / self.warm_rounds)
        rest = replace(self, steps=max(1, self.steps - self.warm_rounds), warm_rounds=0)
        return Training.rate(rest, step - self.warm_rounds)
