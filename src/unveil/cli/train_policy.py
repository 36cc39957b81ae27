"""unveil train policy: learn which masks of a frozen model to open next."""

from pathlib import Path
from typing import Annotated

import typer

from unveil.cli.evaluate import Data, TaskSpec
from unveil.cli.settings import with_settings
from unveil.cli.show import plain, speaks
from unveil.cli.train_run import ModelOption, Out, Resume, Settings, Threads, report, run_in, with_preset

# As in the recipe's PRESETS; held equal by a test.
POLICY_PRESETS = ("llada-8b-instruct", "llada-8b-instruct-full", "dream-7b-instruct", "dream-7b-instruct-full")

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
PolicyPreset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help=f"The paper's settings for a model: {', '.join(POLICY_PRESETS)}. Other options and --set change them.",
        show_default=False,
    ),
]


def policy(
    model: ModelOption,
    task: TaskSpec,
    alpha: Alpha = None,
    block: Block = None,
    reward: RewardFunction = None,
    data: Data = None,
    preset: PolicyPreset = None,
    settings: Settings = None,
    out: Out = None,
    resume: Resume = False,
    threads: Threads = 1,
) -> None:
    """Train a small policy that decides which masks a frozen model opens next, by GRPO (Jazbec et al. 2025).

    The best policy on validation problems is kept in OUT/policy: --sampler policy:path=OUT/policy.

    Example: unveil train policy --model lab-puzzles --task sums --set warm=fast_dllm:threshold=0.9 --set warm_rounds=40
    """
    from unveil.training import policy as training

    recipe = with_preset(training.PolicyTraining(base=model, task=task), preset, training.PRESETS)
    given = {"alpha": alpha, "block": "none" if block == "full" else block, "reward": reward, "data": data}
    recipe = with_settings(recipe, [f"{name}={value}" for name, value in given.items() if value is not None])
    folder, recipe = out or Path("runs") / recipe.name, with_settings(recipe, settings or [])
    best = run_in(training.run, recipe, folder, resume=resume, threads=threads)
    if speaks():
        told = f",alpha={recipe.alpha[0]:g}" if len(recipe.alpha) > 1 else ""
        spec = f"policy:path={plain(str(best))}{told}"
        report(folder, best, f'unveil decode {plain(model)} "PROMPT" --sampler {spec}')
