"""unveil train: a recipe by name, or fine-tuning of a model on data."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from unveil.cli.errors import keeping
from unveil.cli.show import err, out, plain, table

if TYPE_CHECKING:
    from unveil.training.sft import SFT
    from unveil.training.trainer import Recipe

# The registry without its imports; held equal by a test.
NAMED = {
    "lab-sudoku": "The shipped model of 4x4 Sudoku: 0.8 M parameters, under an hour on one thread.",
    "lab-puzzles": "One small model for Sudoku, countdown and sums.",
}
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
        help="Train adapters instead of all weights, for example r=64,alpha=128,targets=query|value. Then lr is "
        f"{LORA_RATE} unless it is set.",
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
            raise ValueError(f"unknown recipe {cmd_name!r}: {_nearest(cmd_name, self.commands)}")
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
    """Fine-tune a model on prompts and answers: all its weights, or adapters (--lora).

    The best weights on a held-out share of the data are kept in OUT/model, which every other verb takes as its MODEL.

    Example: unveil train sft --model GSAI-ML/LLaDA-8B-Base --data pairs.jsonl --lora r=64,alpha=128 --set canvas=256
    """
    from unveil.training.lora import LoRA
    from unveil.training.sft import SFT

    recipe = SFT(base=model, data=str(data))
    if lora is not None:
        recipe = with_settings(replace(recipe, lora=LoRA.parse(lora)), [f"lr={LORA_RATE}"])
    _train(with_settings(recipe, settings or []), out, resume=resume, threads=threads)


def _named(name: str, about: str) -> None:
    def command(settings: Settings = None, out: Out = None, resume: Resume = False, threads: Threads = 1) -> None:
        _train(with_settings(_kind(name)(), settings or []), out, resume=resume, threads=threads)

    command.__doc__ = f"{about}\n\nExample: unveil train {name} --out runs/{name}"
    app.command(name, cls=RecipeCommand)(command)


for _name, _about in NAMED.items():
    _named(_name, _about)


def _kind(name: str) -> type[Any]:
    from unveil.training.recipes import RECIPES
    from unveil.training.sft import SFT

    return SFT if name == SFT.name else RECIPES[name]


def defaults(kind: type[Any]) -> dict[str, Any]:
    """What --set can change, the recipe's own settings before those of its training; with the defaults."""
    found: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for field in fields(kind):
        value = field.default if field.default_factory is MISSING else field.default_factory()
        if is_dataclass(value) and not isinstance(value, type):
            inner |= {part.name: getattr(value, part.name) for part in fields(value)}
        elif value is not MISSING:
            found[field.name] = value
    return found | {name: value for name, value in inner.items() if name not in found}


def with_settings(recipe: Any, settings: Sequence[str]) -> Any:
    """The recipe with `name=value` settings, of its own or of its training, in the types of their fields.

    ValueError for an unknown name (with the nearest), one given twice, or a value that does not fit.
    """
    legal = defaults(type(recipe))
    own = {field.name: field.type for field in fields(recipe)}
    kinds = {field.name: field.type for field in fields(recipe.training)} | own
    values: dict[str, Any] = {}
    for item in settings:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not equals:
            raise ValueError(f"--set {item!r} is not name=value")
        if name not in legal:
            raise ValueError(f"{recipe.name} has no setting {name!r}: {_nearest(name, legal)}")
        if name in values:
            raise ValueError(f"--set gives {name} twice: give it once")
        values[name] = convert(name, text, kinds[name])
    training = replace(recipe.training, **{name: x for name, x in values.items() if name not in own})
    return replace(recipe, training=training, **{name: x for name, x in values.items() if name in own})


def convert(name: str, text: str, kind: Any) -> Any:
    """A value from its text; `none`, true or false, numbers, several with commas. ValueError if it does not fit."""
    if NoneType in get_args(kind):
        if text.lower() == "none":
            return None
        (kind,) = (x for x in get_args(kind) if x is not NoneType)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name}={text!r} is neither true nor false")
        return text.lower() == "true"
    if get_origin(kind) is tuple:
        parts, kinds = text.split(","), get_args(kind)
        kinds = kinds[:1] * len(parts) if kinds[-1] is Ellipsis else kinds
        if len(parts) != len(kinds):
            raise ValueError(f"{name}={text!r} is not {len(kinds)} values with commas between them")
        return tuple(convert(name, part.strip(), x) for part, x in zip(parts, kinds, strict=True))
    if hasattr(kind, "parse"):
        return kind.parse(text)
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not a {'whole ' * (kind is int)}number") from None


def written(value: Any) -> str:
    """A value as `convert` reads it."""
    if isinstance(value, tuple):
        return ",".join(written(x) for x in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _nearest(name: str, legal: Iterable[str]) -> str:
    near = get_close_matches(name, list(legal), n=1, cutoff=0.4)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known are {', '.join(legal)}"


def _train(recipe: "Recipe", folder: Path | None, *, resume: bool, threads: int) -> None:
    import torch

    from unveil.training.sft import SFT
    from unveil.training.trainer import run

    torch.set_num_threads(threads)
    name: str = recipe.name  # type: ignore[attr-defined]
    folder = folder or Path("runs") / name
    if isinstance(recipe, SFT):
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


def _tell(recipe: "SFT", folder: Path) -> None:
    """How much data there is. ValueError for a run that would replace the model it starts from."""
    if recipe.source.folder.resolve() == (folder / "model").resolve():
        raise ValueError(f"the run in {folder} would replace {recipe.base}, from which it starts: name another --out")
    learn, held_out = (len(rows.first) for rows in recipe.parts)
    if _main():
        err().print(f"{learn:,} pairs to learn from, {held_out:,} held out", style="dim")


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
