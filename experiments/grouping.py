"""Whether training rows of like length should share a batch (`--set group=length`) or any rows (`group=none`).

    python -m experiments.grouping --out runs/grouping [--start lab-puzzles] [--seed 0 --seed 1 --seed 2]

Run it from the repository's root. Batches of like lengths have less padding, so that an update is cheaper; batches of
any lengths are more alike, so that an update is better. Three arms a seed learn from the same pairs: `length` makes all
updates, `equal` as many of any rows, `none` as many of any rows as cost what those of `length` do (in columns
computed), with a schedule of that length. Without `--start` weights are fresh, of lab-puzzles' size, and learn sums;
a model that is named is fine-tuned, on longer sums with larger numbers. Prints the held-out loss of the last weights
and of the best ones, and writes `grouping.json`. What is done is not done again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch

from recipes import lab
from recipes.lab_puzzles import ARCHITECTURE, TOKENIZER
from unveil.files import read_jsonl, write_json, write_text
from unveil.settings import with_settings
from unveil.tasks import generated, task
from unveil.training.sft import SFT
from unveil.training.trainer import run

ARMS = {"length": "length", "none": "none", "equal": "none"}  # and how they group
SEED = 83


class Setting(NamedTuple):
    """What is learned, and how fast."""

    task: str
    pairs: int
    changes: str


FRESH = Setting("sums:steps=1-6,split=train", 20_000, "canvas=64 lr=2e-3")
TUNED = Setting("sums:canvas=128,steps=1-10,largest=99,split=train", 20_000, "canvas=128 lr=5e-4")
COMMON = "rows=16 warmup=30 validation=0.0128 precision=no"


def main() -> None:
    """Write the data, train the arms, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", help="a model to fine-tune; fresh weights if unset")
    parser.add_argument("--seed", type=int, action="append", help="default: 0, 1 and 2")
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--arm", choices=(*ARMS,), action="append", help="default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    setting, seeds = TUNED if args.start else FRESH, args.seed or [0, 1, 2]
    data, fresh = args.out / "pairs.jsonl", args.out / "fresh"
    if not data.exists():
        args.out.mkdir(parents=True, exist_ok=True)
        problems = generated(task(setting.task), "").generate(setting.pairs, SEED)
        lines = (json.dumps({"prompt": one.prompt, "answer": one.answer}) for one in problems)
        write_text(data, "".join(f"{line}\n" for line in lines))
    if not args.start and not fresh.exists():
        lab.save(lab.model(ARCHITECTURE, seed=0), fresh, TOKENIZER, new_tokens=64)
    found = list[dict[str, Any]]()
    for seed in seeds:
        start = SFT(base=args.start or str(fresh), data=str(data))
        words = f"{setting.changes} {COMMON} steps={args.updates} seed={seed} validate_every={args.updates // 8}"
        whole = with_settings(start, words.split())
        for arm in args.arm or ARMS:
            found.append(measured(whole, arm, args.out / f"{arm}-{seed}") | {"arm": arm, "seed": seed})
            print(found[-1], flush=True)
    write_json(args.out / "grouping.json", found)
    print(table(found))


def columns(recipe: SFT) -> list[int]:
    """How many columns each update computes."""
    return [batch.tokens.numel() for batch in map(recipe.batch, range(recipe.training.steps))]


def measured(whole: SFT, arm: str, folder: Path) -> dict[str, Any]:
    """Train an arm, or go on; its updates, columns, and held-out loss."""
    recipe, budget = replace(whole, group=ARMS[arm]), sum(columns(replace(whole, group="length")))
    if arm == "none":
        cost = torch.tensor(columns(recipe)).cumsum(0)
        recipe = replace(recipe, training=replace(recipe.training, steps=int((cost <= budget).sum())))
    metrics = folder / "metrics.jsonl"
    if not metrics.exists() or read_jsonl(metrics)[-1]["step"] < recipe.training.steps:
        run(recipe, out=folder, resume=metrics.exists())
    losses = [record["validation"] for record in read_jsonl(metrics) if "validation" in record]
    return {
        "updates": recipe.training.steps, "columns": sum(columns(recipe)), "last": losses[-1], "best": min(losses),
        "held_out": recipe.counts()["held_out_pairs"], "losses": losses,
    }  # fmt: skip


def table(found: list[dict[str, Any]]) -> str:
    """A markdown row an arm: means over the seeds, and their deviation."""
    lines = ["| arm | updates | columns | held-out loss, last | best |", "|---|---|---|---|---|"]
    for arm in dict.fromkeys(one["arm"] for one in found):
        some = [one for one in found if one["arm"] == arm]
        last, best = ([one[name] for one in some] for name in ("last", "best"))
        spread = f" ({stdev(last):.3f} over {len(last)} seeds)" if len(last) > 1 else ""
        updates, cost = (mean(one[name] for one in some) for name in ("updates", "columns"))
        lines.append(f"| {arm} | {updates:.0f} | {cost:,.0f} | {mean(last):.3f}{spread} | {mean(best):.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
