"""unveil train: a recipe by name, or fine-tuning of a model on data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unveil.cli.settings import with_settings
from unveil.cli.train_policy import policy
from unveil.cli.train_run import (
    ModelOption,
    Out,
    RecipeCommand,
    Resume,
    Settings,
    Threads,
    recipe_kind,
    train,
    with_preset,
)
from unveil.specs import nearest

# The registry without its imports; held equal by a test.
NAMED = {
    "lab-sudoku": "The shipped model of 4x4 Sudoku: 0.8 M parameters, under an hour on one thread.",
    "lab-puzzles": "One small model for Sudoku, countdown and sums.",
    "lab-rules": "A small model of the few-shot rule tasks that `unveil diagnose` asks.",
}
PRESET_NAMES = tuple(  # as in the recipe's PRESETS; held equal too
    f"llada-8b-{kind}{loss}" for kind in ("base", "instruct") for loss in ("", "-ce", "-ce-same-lr")
)
TRAJECTORY_PRESETS = ("llada-8b-instruct",)
LORA_RATE = 1e-4  # adapters are trained at a higher rate than all weights


def _there(data: str) -> str:
    if not data.startswith("hub:") and not Path(data).is_file():
        raise typer.BadParameter(f"File {data!r} does not exist: give a JSON-lines file, or hub:OWNER/NAME")
    return data


Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="FILE",
        callback=_there,
        help='JSON lines, {"prompt": text, "answer": text} or {"messages": '
        r'\[{"role": "user", "content": text}, ...]}: of a chat the last answer is learned. '
        r"From the hub: hub:OWNER/NAME\[@REVISION]\[:SPLIT]. Lines like s1K's: --set layout=s1k.",
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


def _preset(names: Sequence[str]) -> Any:
    told = f"The paper's settings for a model: {', '.join(names)}. --lora and --set change them."
    return typer.Option("--preset", metavar="NAME", help=told, show_default=False)


Preset = Annotated[str | None, _preset(PRESET_NAMES)]
TrajectoryPreset = Annotated[str | None, _preset(TRAJECTORY_PRESETS)]


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
    from unveil.training.sft import SFT

    recipe = with_settings(SFT(base=model, data=data), [f"lr={LORA_RATE}"] if lora is not None else [])
    train(_changed(recipe, lora, settings), out, resume=resume, threads=threads)


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
    from unveil.training.mask_agnostic import PRESETS, MaskAgnosticTuning

    recipe = with_preset(MaskAgnosticTuning(base=model, data=data), preset, PRESETS)
    train(_changed(recipe, lora, settings), out, resume=resume, threads=threads)


@app.command("trajectory", cls=RecipeCommand)
def trajectory(
    model: ModelOption,
    data: Data,
    preset: TrajectoryPreset = None,
    lora: Adapters = None,
    settings: Settings = None,
    out: Out = None,
    resume: Resume = False,
    threads: Threads = 1,
) -> None:
    """Fine-tune a model to read soft tokens and to revise its own: continuous trajectory supervision (EvoToken).

    An update takes as many passes as a trajectory has forwards (depth). Decode what it makes with --sampler evotoken.

    Example: unveil train trajectory --model lab-puzzles --data pairs.jsonl --set canvas=64 --set lr=3e-4
    """
    from unveil.training.trajectory import PRESETS, TrajectoryTuning

    recipe = with_preset(TrajectoryTuning(base=model, data=data), preset, PRESETS)
    train(_changed(recipe, lora, settings), out, resume=resume, threads=threads)


app.command("policy", cls=RecipeCommand)(policy)


def _changed(recipe: Any, lora: str | None, settings: Sequence[str] | None) -> Any:
    """A fine-tuning with what --lora and --set say."""
    from unveil.training.lora import LoRA

    if lora is not None:
        recipe = replace(recipe, lora=LoRA.parse(lora))
    return with_settings(recipe, settings or [])


def _named(name: str, about: str) -> None:
    def command(settings: Settings = None, out: Out = None, resume: Resume = False, threads: Threads = 1) -> None:
        train(with_settings(recipe_kind(name)(), settings or []), out, resume=resume, threads=threads)

    command.__doc__ = f"{about}\n\nExample: unveil train {name} --out runs/{name}"
    app.command(name, cls=RecipeCommand)(command)


for _name, _about in NAMED.items():
    _named(_name, _about)
