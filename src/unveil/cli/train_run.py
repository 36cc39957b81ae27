"""How every training is called: the options all of them have, the run, and what is said when it has ended."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from unveil.cli.errors import keeping
from unveil.cli.settings import defaults, with_settings, written
from unveil.cli.show import err, out, plain, speaks, table
from unveil.specs import nearest

if TYPE_CHECKING:
    from unveil.training.trainer import Recipe
    from unveil.training.tuning import Tuning

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="The model to start from: a shipped one, a folder in LLaDA's, Dream's, Llama's or Qwen's layout, or a hub "
        "repository owner/name.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting, for example steps=2000. Repeat it for several; `--help` ends with all of them.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FOLDER", help="The folder of the run. Default: runs/ and the recipe's name.",
        show_default=False,
    ),
]  # fmt: skip
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder, if there is one.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads of each process.")]


class RecipeCommand(TyperCommand):
    """A recipe, whose help ends with its settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, then the settings as the recipe's class defines them."""
        super().format_help(ctx, formatter)
        shown = ", ".join(f"{name}={written(value)}" for name, value in defaults(recipe_kind(str(self.name))).items())
        out().print(f" Settings (--set) and their defaults: {shown}\n", soft_wrap=True)


def recipe_kind(name: str) -> type[Any]:
    """The class of a recipe."""
    from unveil.training.mask_agnostic import MaskAgnosticTuning
    from unveil.training.policy import PolicyTraining
    from unveil.training.recipes import RECIPES
    from unveil.training.sft import SFT
    from unveil.training.trajectory import TrajectoryTuning

    tunings = (SFT, MaskAgnosticTuning, TrajectoryTuning, PolicyTraining)
    return ({kind.name: kind for kind in tunings} | {**RECIPES})[name]


def with_preset(recipe: Any, name: str | None, presets: Mapping[str, Sequence[str]]) -> Any:
    """The recipe with the settings of a preset, if one is named. ValueError for an unknown name (with the nearest)."""
    if name is None:
        return recipe
    if name not in presets:
        raise ValueError(f"unknown preset {name!r}: {nearest(name, presets)}")
    return with_settings(recipe, presets[name])


def train(recipe: "Recipe", folder: Path | None, *, resume: bool, threads: int) -> None:
    """Train a recipe in a folder, `runs` and its name by default, and say where the best weights are."""
    from unveil.training.trainer import run
    from unveil.training.tuning import Tuning

    name: str = recipe.name  # type: ignore[attr-defined]
    folder = folder or Path("runs") / name
    if isinstance(recipe, Tuning):
        _tell(recipe, folder)
    best = run_in(run, recipe, folder, resume=resume, threads=threads)
    if speaks():
        report(folder, best, f'unveil decode {plain(str(best))} "PROMPT"')


def run_in(run: Callable[..., Path], recipe: Any, folder: Path, *, resume: bool, threads: int) -> Path:
    """What `run` returns. ValueError for what a user can mend: a loss that is not finite, too little memory."""
    import torch

    torch.set_num_threads(threads)
    with keeping(f"The run in {folder} is kept: the same command with --resume goes on."):
        try:
            return run(recipe, out=folder, resume=resume)
        except FloatingPointError as error:
            raise ValueError(str(error)) from None
        except torch.OutOfMemoryError as error:
            hint = "set micro_rows=1 and checkpointing=true (for a policy: batch=1), or train adapters"
            raise ValueError(f"not enough memory ({str(error).splitlines()[0]}): {hint}") from error


def _tell(recipe: "Tuning", folder: Path) -> None:
    """How much data there is. ValueError for a run that would replace the model it starts from."""
    if recipe.source.folder.resolve() == (folder / "model").resolve():
        raise ValueError(f"the run in {folder} would replace {recipe.base}, from which it starts: name another --out")
    learned, held_out, _ = recipe.counts().values()
    told = {"pairs to learn from": learned, "held out": held_out} | recipe.reading.left_out
    if speaks():
        err().print(", ".join(f"{count:,} {what}" for what, count in told.items()), style="dim")


def report(folder: Path, best: Path, next_command: str) -> None:
    """The best score, and what can be done with it."""
    from unveil.training.checkpoint import Run

    records = Run(folder=folder).records()
    top: Mapping[str, Any] = max((x for x in records if "score" in x), key=lambda x: x["score"])
    last = "loss" if "loss" in records[-1] else "reward"
    shown = table("steps", "best\nscore", "at\nstep", f"last\n{last}", "<kept in")
    shown.add_row(
        f"{records[-1]['step']:,}", f"{top['score']:.4f}", f"{top['step']:,}", f"{records[-1][last]:.4f}",
        plain(str(best)),
    )  # fmt: skip
    out().print(shown)
    out().print(f"\nTry: {next_command}", style="dim", soft_wrap=True)
