"""Trainings as functions: `unveil.train.sft`, `mask_agnostic`, `trajectory` and `policy`; the verbs of `unveil train`.

Each trains in the folder `out` and gives back a `Trained`. Settings are keyword arguments with the names that
`unveil train NAME --help` lists for --set. Every process of a launch (accelerate launch, torchrun) calls the function.
Raises ValueError for what a user can mend, FloatingPointError for a loss that is not finite or diverges: the last good
state stays in `out`, from which `resume=True` goes on.
"""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from unveil.settings import changed, convert, nearest, with_settings
from unveil.terminal import err, speaks
from unveil.training.checkpoint import Trained

LORA_RATE = 1e-4  # of sft: adapters are trained at a higher rate than all weights

StrPath = str | PathLike[str]


def sft(
    model: StrPath,
    data: StrPath,
    *,
    out: StrPath,
    lora: Any = None,
    resume: bool = False,
    threads: int = 1,
    **settings: Any,
) -> Trained:
    """Fine-tune a model on prompts and answers: all its weights, or adapters (`lora`, a LoRA or "r=64,alpha=128").

    `data` is a file of prompts and answers or chats, or hub:OWNER/NAME. With adapters lr is 1e-4 unless said; "none" is
    without them.
    """
    from unveil.training.sft import SFT

    recipe = SFT(base=fspath(model), data=fspath(data))
    recipe = recipe if lora in (None, "none") else changed(recipe, {"lr": LORA_RATE})
    return tuned(_adapted(recipe, lora, settings), out, resume=resume, threads=threads)


def mask_agnostic(
    model: StrPath,
    data: StrPath,
    *,
    out: StrPath,
    preset: str | None = None,
    lora: Any = None,
    resume: bool = False,
    threads: int = 1,
    **settings: Any,
) -> Trained:
    """Fine-tune a model so that its answers do not depend on how many [MASK]s follow them (Piskorz et al. 2025)."""
    from unveil.training.mask_agnostic import PRESETS, MaskAgnosticTuning

    recipe = with_preset(MaskAgnosticTuning(base=fspath(model), data=fspath(data)), preset, PRESETS)
    return tuned(_adapted(recipe, lora, settings), out, resume=resume, threads=threads)


def trajectory(
    model: StrPath,
    data: StrPath,
    *,
    out: StrPath,
    preset: str | None = None,
    lora: Any = None,
    resume: bool = False,
    threads: int = 1,
    **settings: Any,
) -> Trained:
    """Fine-tune a model to read soft tokens and to revise its own (EvoToken, Zhong et al. 2026)."""
    from unveil.training.trajectory import PRESETS, TrajectoryTuning

    recipe = with_preset(TrajectoryTuning(base=fspath(model), data=fspath(data)), preset, PRESETS)
    return tuned(_adapted(recipe, lora, settings), out, resume=resume, threads=threads)


def policy(
    model: StrPath,
    task: str,
    *,
    out: StrPath,
    alpha: float | Sequence[float] | None = None,
    block: int | str | None = None,
    reward: str | None = None,
    data: StrPath | None = None,
    preset: str | None = None,
    allow_code_execution: bool = False,
    resume: bool = False,
    threads: int = 1,
    **settings: Any,
) -> Trained:
    """Train a small policy that decides which masks a frozen model opens next, by GRPO (Jazbec et al. 2025).

    `alpha` is the weight of speed in the reward, several for one policy that serves all; `block` the columns that are
    denoised at a time, "full" for the canvas, which is the default without a preset; `reward` your own judge,
    "module:function". Tasks whose answers are programs need `allow_code_execution`.
    """
    from unveil.training.policy import PRESETS, PolicyTraining, run

    recipe = PolicyTraining(base=fspath(model), task=task, allow_code_execution=allow_code_execution)
    recipe = with_preset(recipe, preset, PRESETS)
    named: dict[str, Any] = {"reward": reward, "data": None if data is None else fspath(data)}
    if alpha is not None:
        named["alpha"] = (float(alpha),) if isinstance(alpha, int | float) else tuple(alpha)
    named = {name: value for name, value in named.items() if value is not None}
    named |= {} if block is None else {"block": None if block == "full" else block}
    recipe = changed(recipe, named | settings)
    _set_threads(threads)
    best = run(recipe, out=Path(out), resume=resume)
    told = f",alpha={recipe.alpha[0]:g}" if len(recipe.alpha) > 1 else ""
    return Trained(folder=Path(out), best=best, sampler=f"policy:path={best}{told}")


def tuned(recipe: Any, out: StrPath, *, resume: bool, threads: int) -> Trained:
    """Train a recipe in the folder `out`; of a fine-tuning it is said how much data there is."""
    from unveil.training.trainer import run
    from unveil.training.tuning import Tuning

    folder = Path(out)
    if isinstance(recipe, Tuning):
        _tell(recipe, folder)
    _set_threads(threads)
    return Trained(folder=folder, best=run(recipe, out=folder, resume=resume))


def with_preset(recipe: Any, name: str | None, presets: Mapping[str, Sequence[str]]) -> Any:
    """The recipe with the settings of a preset, if one is named. ValueError for an unknown name (with the nearest)."""
    if name is None:
        return recipe
    if name not in presets:
        raise ValueError(f"unknown preset {name!r}: {nearest(name, presets)}")
    return with_settings(recipe, presets[name])


def _adapted(recipe: Any, lora: Any, settings: Mapping[str, Any]) -> Any:
    """A fine-tuning with adapters, if they are wanted, and other settings. "none" takes away those of a preset."""
    from unveil.training.tuning import LoRA

    adapters = convert("lora", lora, LoRA | None) if isinstance(lora, str) else lora
    return changed(recipe, {**({} if lora is None else {"lora": adapters}), **settings})


def _set_threads(threads: int) -> None:
    """torch's CPU threads. ValueError for none."""
    import torch

    if threads < 1:
        raise ValueError(f"threads={threads} is not positive: give at least 1")
    torch.set_num_threads(threads)


def _tell(recipe: Any, folder: Path) -> None:
    """How much data there is. ValueError for a run that would replace the model it starts from."""
    if recipe.source.path.resolve() == (folder / "model").resolve():
        raise ValueError(f"the run in {folder} would replace {recipe.base}, from which it starts: name another --out")
    learned, held_out, _ = recipe.counts().values()
    told = {"pairs to learn from": learned, "held out": held_out} | recipe.remarks
    if speaks():
        err().print(", ".join(f"{count:,} {what}" for what, count in told.items()), style="dim")
