"""The trainer: one objective, batches that are a function of the step, exact resumption, any number of processes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from accelerate import PartialState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from unveil.files import held
from unveil.models.denoiser import Denoiser
from unveil.objectives.loss import Batch, Objective
from unveil.training.checkpoint import Run
from unveil.training.session import Session
from unveil.training.settings import Training

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


SHOWN = ("loss", "imitation", "reward", "accuracy", "forwards", "signal", "empty", "clip")  # beside the bar


def train(
    model: nn.Module,
    objective: Objective[Any],
    batch: Callable[[int], Batch],
    training: Training,
    *,
    out: Path,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    keep: Callable[[nn.Module], None] | None = None,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
) -> nn.Module:
    """Run `training.steps` updates on `batch(step)`, the global batch; metrics and state are kept in the folder `out`.

    `validate` gives numbers to log, among them "score"; whenever the score is the best so far, `keep` is called to
    save the weights (the moving average, if there is one). Returns the model that would be validated. Raises
    ValueError if `out` holds a run and `resume` is not set, or a run with other `settings`, and FloatingPointError for
    a loss that is not finite or diverges; the last good state stays on disk.
    """
    mask_id = cast(Denoiser, model).outline.blank_id  # before it is sharded
    session = Session.open(model, training, out)

    def step(number: int) -> dict[str, float]:
        began = time.perf_counter()
        example = objective.corrupt(batch(number), mask_id, training.loss_seed(number))
        record = session.update(objective, example, number)
        return record | {"rows_per_second": len(example.canvas.end) / (time.perf_counter() - began)}

    run = Run(folder=out, main=session.main, settings=settings or {})
    return steps(session, step, run, validate=validate, keep=keep, resume=resume)


def steps(
    session: Session,
    update: Callable[[int], dict[str, float]],
    run: Run,
    *,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    keep: Callable[[nn.Module], None] | None = None,
    resume: bool = False,
) -> nn.Module:
    """The loop of every training: `update(step)` changes the weights and gives what to log; see `train`.

    ValueError while another run writes into the same folder.
    """
    training = session.training
    run.check(resume)
    if session.main:
        run.folder.mkdir(parents=True, exist_ok=True)
    with held(run.folder, ours=session.main), _progress(session.main) as progress:
        first = run.restore(session)
        watch = Watch.of(run.records(), training.patience)
        session.curves(first)
        bar = progress.add_task("training", total=training.steps, completed=first, note="")
        for step in range(first, training.steps):
            record = {"step": step + 1} | update(step)
            if validate is not None and training.due(step, training.validate_every):
                record |= session.validated(validate)
            run.log(record)
            session.plot(record)
            if watch.best(record) and keep is not None:
                session.kept(keep)
            trouble = watch.see(record)
            if trouble:
                raise FloatingPointError(f"{trouble}. The last good state is in {run.state}: lower lr={training.lr}")
            if training.due(step, training.save_every):
                run.save(step + 1, session)
            progress.update(bar, completed=step + 1, note=_note(record))
    session.close()
    return session.chosen


@runtime_checkable
class Recipe(Protocol):
    """A training as one part: a frozen dataclass whose fields, with those of its `training`, are its settings."""

    @property
    def training(self) -> Training:
        """Steps, rates, seed."""

    @property
    def objective(self) -> Objective[Any]:
        """What is minimised."""

    def model(self) -> nn.Module:
        """The model to start from."""

    def batch(self, step: int) -> Batch:
        """The global batch of a step; it follows from the step and the seed."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Numbers to log; the weights of the highest "score" are kept."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write what a user loads."""

    def describe(self, folder: Path) -> None:
        """Write what is known of a folder that `save` has written, when the training has ended."""


def run(recipe: Recipe, *, out: Path, resume: bool = False) -> Path:
    """Train a recipe in the folder `out`; its best model so far is in `out`/model, the folder returned.

    Every process of a launch calls it.
    Raises what `train` raises.
    """
    best = out / "model"
    settings = settings_of(recipe)
    Run(folder=out, settings=settings).check(resume)  # before a large model is loaded
    train(
        recipe.model(),
        recipe.objective,
        recipe.batch,
        recipe.training,
        out=out,
        validate=recipe.validate,
        keep=lambda model: recipe.save(model, best),
        resume=resume,
        settings=settings,
    )
    if PartialState().is_main_process:
        recipe.describe(best)
    return best


def settings_of(recipe: object) -> dict[str, Any]:
    """What a run must be resumed with: the recipe's name and its settings, those of its training among them."""
    settings = {"recipe": type(recipe).__name__} | asdict(cast(Any, recipe))
    return settings | settings.pop("training")


def _note(record: dict[str, Any]) -> str:
    """What a training shows while it runs."""
    return ", ".join(f"{name} {record[name]:.3g}" for name in SHOWN if name in record)


def _progress(visible: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"), TimeRemainingColumn(), speed_estimate_period=120, disable=not visible,
        console=Console(stderr=True),
    )  # fmt: skip
