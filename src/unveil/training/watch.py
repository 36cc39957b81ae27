"""Watching a run: the best score so far, and a loss that diverges."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

RISE = 3.0  # times the lowest mean loss


@dataclass(kw_only=True)
class Watch:
    """Sees every record of a run, those before a resumption too: a resumed run decides as an uninterrupted one."""

    patience: int  # steps over which losses are averaged
    losses: list[float] = field(default_factory=list)  # of the last `patience` steps
    lowest: float = float("inf")  # mean loss over `patience` steps
    score: float = float("-inf")

    @classmethod
    def of(cls, records: Sequence[dict[str, Any]], patience: int) -> "Watch":
        """As if it had seen these records."""
        watch = cls(patience=patience)
        for record in records:
            watch.best(record)
            watch.see(record)
        return watch

    def best(self, record: dict[str, Any]) -> bool:
        """Whether the record's score is better than all before it."""
        score = record.get("score", float("-inf"))
        better = bool(score > self.score)
        self.score = max(self.score, score)
        return better

    @property
    def mean(self) -> float:
        """The mean of the losses seen last."""
        return sum(self.losses) / max(1, len(self.losses))

    @property
    def rising(self) -> bool:
        """Whether the loss is much higher than it was."""
        return self.mean > RISE * self.lowest

    def see(self, record: dict[str, Any]) -> str | None:
        """Take in a record; what is wrong, if the mean of `patience` losses is three times the lowest there was."""
        if "loss" not in record:  # a policy's has no level
            return None
        self.losses = [*self.losses, record["loss"]][-self.patience :]
        if len(self.losses) < self.patience:
            return None
        self.lowest = min(self.lowest, self.mean)
        if not self.rising:
            return None
        first, last = record["step"] - self.patience + 1, record["step"]
        return f"the loss diverged: {self.mean:.3g} on average in steps {first} to {last}, {self.lowest:.3g} before"
