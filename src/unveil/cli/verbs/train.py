"""unveil train: fine-tuning of a model on data, and policies."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from unveil import catalogue
from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.legal import LORA, TRAININGS, ranges
from unveil.settings import defaults, nearest, read_values, written
from unveil.terminal import out, plain, speaks

if TYPE_CHECKING:
    from unveil.training.checkpoint import Trained

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
Threads = Annotated[int, typer.Option("--threads", **options.legal("threads"), help="CPU threads of each process.")]


def _there(data: str) -> str:
    if not data.startswith("hub:") and (Path(data).is_dir() or not Path(data).exists()):
        raise typer.BadParameter(f"File {data!r} does not exist: give a file of JSON lines, or hub:OWNER/NAME")
    return data


Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="FILE",
        callback=_there,
        help='JSON lines, a JSON list or parquet, {"prompt": text, "answer": text} or {"messages": '
        r'\[{"role": "user", "content": text}, ...]}: of a chat the last answer is learned. Completions, alpaca and '
        "sharegpt are read too. "
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
    told = f"The paper's settings for a model: {', '.join(names)}. Other options and --set change them."
    return typer.Option("--preset", metavar="NAME", help=told, show_default=False)


Preset = Annotated[str | None, _preset(catalogue.presets("mask_agnostic"))]
TrajectoryPreset = Annotated[str | None, _preset(catalogue.presets("trajectory"))]
PolicyPreset = Annotated[str | None, _preset(catalogue.presets("policy"))]
Alpha = Annotated[
    str | None,
    typer.Option(
        "--alpha",
        metavar="LIST",
        help="The weight of speed in the reward, 0: none. With several, such as 1,4,12, one policy serves all: name "
        "one when decoding, policy:path=...,alpha=4. Default: 1.",
        show_default=False,
    ),
]
Block = Annotated[
    str | None,
    typer.Option("--block", metavar="N|full", help="Columns that are denoised at a time. Default: full, the canvas."),
]
RewardFunction = Annotated[
    str | None,
    typer.Option(
        "--reward",
        metavar="MODULE:FUNCTION",
        help="Your own judge, in the current folder or installed: function(problem, text) gives a bool or a number "
        "from 0 to 1. Default: the task's.",
        show_default=False,
    ),
]


NONE = {"lora": "none", "block": "full"}  # for functions to which None means: as the preset has it


class WithSettings(TyperCommand):
    """A training, whose help ends with its settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, then the settings as the training's class defines them, and the numbers that they take."""
        super().format_help(ctx, formatter)
        settings = defaults(kind_of(str(self.name)))
        shown = ", ".join(f"{name}={written(value)}" for name, value in settings.items())
        out().print(f" Settings (--set) and their defaults: {shown}\n", soft_wrap=True)
        adapters = f" Of --lora: {ranges(LORA)}." if "lora" in settings else ""
        out().print(f" Numbers are {ranges(TRAININGS, settings)}.{adapters}\n", soft_wrap=True)


class Trainings(TyperGroup):
    """The trainings by name; a wrong one is answered with the nearest."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without a word: the help, which lists them."""
        return super().parse_args(ctx, args or ["--help"])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The training. ValueError for an unknown name."""
        if cmd_name not in self.commands:
            raise ValueError(f"unknown training {cmd_name!r}: {nearest(cmd_name, self.commands)}")
        return super().get_command(ctx, cmd_name)


app = typer.Typer(cls=Trainings)


@app.callback()
def trainings() -> None:
    """Fine-tune a model on your data, or train a policy for it.

    Without a name the trainings are listed. Several processes: torchrun or accelerate launch, with -m unveil train ...

    Example: unveil train sft --model lab-sudoku --data pairs.jsonl --set canvas=32 --set steps=200
    """


@app.command("sft", cls=WithSettings)
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
    from unveil import train

    given: dict[str, Any] = {"lora": lora, "resume": resume, "threads": threads}
    _run(train.sft, "sft", out, settings, model=model, data=data, **given)


@app.command("mask-agnostic", cls=WithSettings)
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
    from unveil import train

    given: dict[str, Any] = {"preset": preset, "lora": lora, "resume": resume, "threads": threads}
    _run(train.mask_agnostic, "mask-agnostic", out, settings, model=model, data=data, **given)


@app.command("trajectory", cls=WithSettings)
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
    from unveil import train

    given: dict[str, Any] = {"preset": preset, "lora": lora, "resume": resume, "threads": threads}
    _run(train.trajectory, "trajectory", out, settings, model=model, data=data, **given)


@app.command("policy", cls=WithSettings)
def policy(
    model: ModelOption,
    task: options.TaskSpec,
    alpha: Alpha = None,
    block: Block = None,
    reward: RewardFunction = None,
    data: options.Data = None,
    preset: PolicyPreset = None,
    code: options.AllowCode = False,
    settings: Settings = None,
    out: Out = None,
    resume: Resume = False,
    threads: Threads = 1,
) -> None:
    """Train a small policy that decides which masks a frozen model opens next, by GRPO (Jazbec et al. 2025).

    The best policy on validation problems is kept in OUT/policy: --sampler policy:path=OUT/policy.

    Example: unveil train policy --model lab-puzzles --task sums --set warm=fast_dllm:threshold=0.9 --set warm_rounds=40
    """
    from unveil import train

    texts = {"alpha": alpha, "block": "none" if block == "full" else block}
    given = _values("policy", [f"{name}={text}" for name, text in texts.items() if text is not None])
    given |= {"task": task, "reward": reward, "data": data, "preset": preset, "allow_code_execution": code}
    _run(train.policy, "policy", out, settings, model=model, resume=resume, threads=threads, **given)


def kind_of(name: str) -> type[Any]:
    """The class of a training, whose fields are its settings."""
    from unveil.training.mask_agnostic import MaskAgnosticTuning
    from unveil.training.policy import PolicyTraining
    from unveil.training.sft import SFT
    from unveil.training.trajectory import TrajectoryTuning

    return {kind.name: kind for kind in (SFT, MaskAgnosticTuning, TrajectoryTuning, PolicyTraining)}[name]


def _values(name: str, items: Sequence[str]) -> dict[str, Any]:
    """Settings of a training from `key=value`, as its function takes them. ValueError as `read_values`."""
    values = read_values(kind_of(name), items)
    return {key: NONE.get(key) if value is None else value for key, value in values.items()}


def _run(
    training: "Callable[..., Trained]", name: str, folder: Path | None, settings: Sequence[str] | None, **given: Any
) -> None:
    """Train with what the options and --set say, in `runs` and the training's name by default; say what came of it.

    ValueError for too little memory, with the remedy.
    """
    import torch

    folder = folder or Path("runs") / name
    given |= _values(name, settings or [])
    with keeping(f"The run in {folder} is kept: the same command with --resume goes on."):
        try:
            trained = training(out=folder, **given)
        except torch.OutOfMemoryError as error:
            hint = "set micro_rows=1 and checkpointing=true (for a policy: batch=1), or train adapters"
            raise ValueError(f"not enough memory ({str(error).splitlines()[0]}): {hint}") from error
    if speaks():
        out().print(*trained.tables())
        model = given["model"] if trained.sampler else str(trained.best)
        with_it = f" --sampler {plain(trained.sampler)}" if trained.sampler else ""
        out().print(f'\nTry: unveil decode {plain(model)} "PROMPT"{with_it}', style="dim", soft_wrap=True)
