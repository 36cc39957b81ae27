"""Evaluate lab-puzzles: its three tasks under eight samplers, the long sums, and full diffusion.

    python -m experiments.lab_puzzles --data ../shared/data --out runs/puzzles-table [--only sums]

Prints a markdown table a task (accuracy with its 95 % Wilson interval) and writes TASK.json; item files make it
resumable, and --only lets two processes share the work. No setting was chosen on these problems: sudoku and countdown
are the published files, sums are fresh problems of the test split, which no training or validation draws from.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import unveil
from unveil.evaluation.result import Result
from unveil.evaluation.run import evaluate
from unveil.files import write_json
from unveil.tasks import Problem, task

SEED = 7  # of the fresh problems and the samplers' noise
FORMS = (  # %s: the block, where the canvas has more than 32 columns
    "llada:%s",
    "llada:steps={half}%s",
    "llada:steps={quarter}%s",
    "llada:remasking=random%s",
    "fast_dllm:threshold=0.9%s",
    "fast_dllm:threshold=0.6%s",
    "fast_dllm:factor=1.0%s",
    "eb_sampler:gamma=0.1%s",
)
NAMES = (
    "one token a forward, by confidence", "two", "four", "one, in random order", "confidence above 0.9", "above 0.6",
    "Fast-dLLM's factor rule (1.0)", "entropy bound (0.1)",
)  # fmt: skip
TABLE = ("sudoku", "countdown", "sums")
FULL = ("llada", "llada:ends_last=true", "llada:remasking=random", "fast_dllm:threshold=0.9", "fast_dllm:threshold=0.6")


class Trial(NamedTuple):
    """A task, its samplers, and how many problems each decodes."""

    task: str
    samplers: Sequence[str]
    limit: int
    files: Sequence[str] = ()  # none: fresh problems


def _forms(canvas: int) -> list[str]:
    block = ",block=32" if canvas > 32 else ""
    settings = {"half": canvas // 2, "quarter": canvas // 4}
    texts = [(form % block).format(**settings).replace(":,", ":").rstrip(":") for form in FORMS]
    return texts


SUDOKU = [f"sudoku/sudoku_4x4_{k}.jsonl" for k in (4, 6, 7, 9, 10, 12)]
TRIALS: Mapping[str, Trial] = {
    "sudoku": Trial("sudoku", _forms(19), 1000, SUDOKU),
    "countdown": Trial("countdown", _forms(32), 1000, ["countdown/cd3_test.jsonl"]),
    "sums": Trial("sums:split=test", _forms(64), 300),
    "sums-64": Trial("sums:split=test", ["llada:block=32"], 1000),
    "sums-128": Trial("sums:canvas=128,steps=3-6,split=test", ["llada:block=32"], 1000),
    "sums-128-long": Trial("sums:canvas=128,split=test", ["llada:block=32"], 200),
    "sums-shuffled": Trial("sums:shuffled=1,split=test", ["llada:block=32"], 200),
    "full-64": Trial("sums:split=test", FULL, 300),
    "full-128": Trial("sums:canvas=128,split=test", FULL, 300),
}


def main() -> None:
    """Evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab-puzzles")
    parser.add_argument("--data", type=Path, required=True, help="folder with sudoku/ and countdown/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=TRIALS, action="append", help="these alone; repeat it for several")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    model = unveil.load(args.model)
    for name in args.only or TRIALS:
        trial = TRIALS[name]
        problems = _problems(trial, args.data)
        print(f"\n{name}: {task(trial.task).describe}\n\n{HEAD}")
        results = []
        for number, spec in enumerate(trial.samplers):
            items = args.out / f"{name}-{number}.items.jsonl"
            results.append(evaluate(model, task(trial.task), problems, spec, seed=SEED, items=items, batch=50))
            print(_line(results[-1]), flush=True)
        write_json(args.out / f"{name}.json", [result.to_json() for result in results])
    if all((args.out / f"{name}.json").exists() for name in TABLE):
        print(together(args.out))


HEAD = "| sampler | n | accuracy | 95 % interval | forwards | tokens per forward |\n|---|---|---|---|---|---|"


def together(folder: Path) -> str:
    """The eight samplers on the three tasks, a line each."""
    columns = [read_json_list(folder / f"{name}.json") for name in TABLE]
    lines = ["| sampler | " + " | ".join(f"{name}, forwards" for name in TABLE) + " |", "|---|" + "---|" * len(TABLE)]
    for name, results in zip(NAMES, zip(*columns, strict=True), strict=True):
        lines.append(f"| {name} | " + " | ".join(map(_cell, results)) + " |")
    return "\n".join(lines)


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """The results of a trial."""
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def _cell(r: Mapping[str, Any]) -> str:
    interval = f"{100 * r['ci_low']:.0f} to {100 * r['ci_high']:.0f}"
    return f"{100 * r['accuracy']:.1f} % ({interval}), {r['nfe_mean']:.1f}"


def _problems(trial: Trial, data: Path) -> list[Problem]:
    kind = task(trial.task)
    found = [problem for file in trial.files for problem in kind.read(data / file)]
    return (found or kind.generate(trial.limit, SEED))[: trial.limit]


def _line(r: Result) -> str:
    interval = f"{100 * r.ci_low:.1f} to {100 * r.ci_high:.1f}"
    return (
        f"| `{r.sampler}` | {r.n} | {100 * r.accuracy:.1f} % | {interval} | {r.nfe_mean:.1f} "
        f"| {r.tokens_per_forward:.2f} |"
    )


if __name__ == "__main__":
    main()
