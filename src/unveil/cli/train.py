"""unveil train: a recipe by name, or fine-tuning of a model on data."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from unveil.cli.errors import keeping
from unveil.cli.settings import defaults, with_settings, written
from unveil.cli.show import err, out, plain, table
from unveil.specs import nearest

if TYPE_CHECKING:
    from unveil.training.trainer import Recipe
    from unveil.training.tuning import Tuning

# The registry without its imports; held equal by a test.
NAMED = {
    "lab-sudoku": "The shipped model of 4x4 Sudoku: 0.8 M parameters, under an hour on one thread.",
    "lab-puzzles": "One small model for Sudoku, countdown and sums.",
    "lab-rules": "A small model of the few-shot rule tasks that `unveil diagnose` asks.",
}
PRESET_NAMES = tuple(  # as in the recipe's PRESETS; held equal too
    f"llada-8b-{kind}{loss}" for kind in ("base", "instruct") for loss in ("", "-ce", "-ce-same-lr")
)
LORA_RATE = 1e-4  # adapters are trained at a higher rate than all weights

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help='JSON lines, {"prompt": text, "answer": text} or {"messages": '
        r'\[{"role": "user", "content": text}, ...]}: of a chat the last answer is learned.',
        show_default=False,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="The model to start from: a shipped one, a folder in LLaDA's or Dream's layout, or owner/name.",
        show_default=False,
    ),
]
Adapters = Annotated[
    str | None,
    typer.Option(
        "--lora",
        metavar="SPEC",
        help="Train adapters instead of all weights, for example r=64,alpha=128,targets=query|value.",
        show_default=False,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help=f"The paper's settings for a model: {', '.join(PRESET_NAMES)}. --lora and --set change them.",
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


class Recipes(TyperGroup):
    """The recipes by name; a wrong one is answered with the nearest."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without a word: the help, which lists them."""
        return super().parse_args(ctx, args or ["--help"])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The recipe. ValueError for an unknown name."""
        if cmd_name not in self.commands:
            raise ValueError(f"unknown recipe {cmd_name!r}: {nearest(cmd_name, self.commands)}")
        return super().get_command(ctx, cmd_name)


class RecipeCommand(TyperCommand):
    """A recipe, whose help ends with its settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, then the settings as the recipe's class defines them."""
        super().format_help(ctx, formatter)
        shown = ", ".join(f"{name}={written(value)}" for name, value in defaults(_kind(str(self.name))).items())
        out().print(f" Settings (--set) and their defaults: {shown}\n", soft_wrap=True)


app = typer.Typer(cls=Recipes)


@app.callback()
def recipes() -> None:
    """Train a recipe, or fine-tune a model on your data.

    Without a name the recipes are listed. Several processes: torchrun or accelerate launch, with -m unveil train ...

    Example: unveil train sft --model lab-sudoku --data pairs.jsonl --set steps=200
    """


@app.command("sft", cls=RecipeCommand)
def sft(
    model: ModelOption,
    data: Data,
    lora: Adapters = None,
    settings: Settings = None,
    out: Out = None,
    resume: Resume = False,
    threads: Threads = 1,
) -> None:
    """Fine-tune a model on prompts and answers: all its weights, or adapters (--lora; lr is 1e-4 then).

    The best weights on a held-out share of the data are kept in OUT/model, which every other verb takes as its MODEL.

    Example: unveil train sft --model GSAI-ML/LLaDA-8B-Base --data pairs.jsonl --lora r=64,alpha=128 --set canvas=256
    """
    from unveil.training.lora import LoRA
    from unveil.training.sft import SFT

    recipe = SFT(base=model, data=str(data))
    if lora is not None:
        recipe = with_settings(replace(recipe, lora=LoRA.parse(lora)), [f"lr={LORA_RATE}"])
    _train(with_settings(recipe, settings or []), out, resume=resume, threads=threads)


@app.command("mask-agnostic", cls=RecipeCommand)
def mask_agnostic(
    model: ModelOption,
    data: Data,
    preset: Preset = None,
    lora: Adapters = None,
    settings: Settings = None,
    out: Out = None,
    resume: Resume = False,
    threads: Threads = 1,
) -> None:
    """Fine-tune a model so that its answers do not depend on how many [MASK]s follow them.

    The loss is that of Piskorz et al. 2025: cross-entropy in two inputs, and the distance of their predictions.

    Example: unveil train mask-agnostic --model GSAI-ML/LLaDA-8B-Base --data pairs.jsonl --preset llada-8b-base
    """
    from unveil.training.lora import LoRA
    from unveil.training.mask_agnostic import PRESETS, MaskAgnosticTuning

    recipe = MaskAgnosticTuning(base=model, data=str(data))
    if preset is not None:
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}: {nearest(preset, PRESETS)}")
        recipe = with_settings(recipe, PRESETS[preset])
    if lora is not None:
        recipe = replace(recipe, lora=LoRA.parse(lora))
    _train(with_settings(recipe, settings or []), out, resume=resume, threads=threads)


def _named(name: str, about: str) -> None:
    def command(settings: Settings = None, out: Out = None, resume: Resume = False, threads: Threads = 1) -> None:
        _train(with_settings(_kind(name)(), settings or []), out, resume=resume, threads=threads)

    command.__doc__ = f"{about}\n\nExample: unveil train {name} --out runs/{name}"
    app.command(name, cls=RecipeCommand)(command)


for _name, _about in NAMED.items():
    _named(_name, _about)


def _kind(name: str) -> type[Any]:
    from unveil.training.mask_agnostic import MaskAgnosticTuning
    from unveil.training.recipes import RECIPES
    from unveil.training.sft import SFT

    return ({kind.name: kind for kind in (SFT, MaskAgnosticTuning)} | {**RECIPES})[name]


def _train(recipe: "Recipe", folder: Path | None, *, resume: bool, threads: int) -> None:
    import torch

    from unveil.training.trainer import run
    from unveil.training.tuning import Tuning

    torch.set_num_threads(threads)
    name: str = recipe.name  # type: ignore[attr-defined]
    folder = folder or Path("runs") / name
    if isinstance(recipe, Tuning):
        _tell(recipe, folder)
    with keeping(f"The run in {folder} is kept: the same command with --resume goes on."):
        try:
            best = run(recipe, out=folder, resume=resume)
        except FloatingPointError as error:
            raise ValueError(str(error)) from None
        except torch.OutOfMemoryError as error:
            hint = "set micro_rows=1 and checkpointing=true, or train adapters"
            raise ValueError(f"not enough memory ({str(error).splitlines()[0]}): {hint}") from error
    if _main():
        _report(folder, best)


def _main() -> bool:
    """Whether this process speaks; `accelerate launch` numbers them."""
    return os.environ.get("RANK", "0") == "0"


def _tell(recipe: "Tuning", folder: Path) -> None:
    """How much data there is. ValueError for a run that would replace the model it starts from."""
    if recipe.source.folder.resolve() == (folder / "model").resolve():
        raise ValueError(f"the run in {folder} would replace {recipe.base}, from which it starts: name another --out")
    told = zip(recipe.counts().values(), ("pairs to learn from", "held out", "longer than the context"), strict=False)
    if _main():
        err().print(", ".join(f"{count:,} {what}" for count, what in told), style="dim")


def _report(folder: Path, best: Path) -> None:
    from unveil.training.checkpoint import Run

    records = Run(folder=folder).records()
    top: Mapping[str, Any] = max((x for x in records if "score" in x), key=lambda x: x["score"])
    shown = table("steps", "best\nscore", "at\nstep", "last\nloss", "<model")
    shown.add_row(
        f"{records[-1]['step']:,}", f"{top['score']:.4f}", f"{top['step']:,}", f"{records[-1]['loss']:.4f}",
        plain(str(best)),
    )  # fmt: skip
    out().print(shown)
    out().print(f'\nTry: unveil decode {plain(str(best))} "PROMPT"', style="dim", soft_wrap=True)
