"""When do appended masks distract? Train lab-rules under one setting after another and ask each model the suite.

    python -m experiments.lab_rules_map --out runs/map [--only dense] [--limit 25]

Run it from the repository's root. A folder a setting: what `python -m recipes.lab_rules` writes, and `items.jsonl`.
Each goes on from the same short rows, the primer of its size. Prints a markdown table: right answers with 2 to 200
masks (one forward, 10 + 40 examples, mixed, test questions, examples drawn once a task), what the most masks cost with
its 95 % interval (bootstrap over tasks and questions), and the validation's course by step. Nothing is chosen by these
test questions; of a run, the weights are kept that were best at 2 masks on validation questions. What is done is not
done again.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import unveil
from recipes.lab_rules import LabRules
from unveil.diagnostics.context.few_shot.suite import suite
from unveil.diagnostics.context.probes import probe
from unveil.diagnostics.context.run import measure
from unveil.files import read_jsonl
from unveil.settings import with_settings
from unveil.training.trainer import run

PRIMER = "short=1 growing=1 steps=700 validate_every=700"
REST = "short=0 growing=0.5 steps=400 validate_every=50"
SETTINGS: Mapping[str, str] = {  # what differs from REST, which goes on from the primer of that size
    "dense": "dense=1",
    "last": "dense=0 trailing=0",
    "last-16": "dense=0 trailing=16",
    "mix": "dense=0.5 trailing=16",
    "mix-slow": "dense=0.5 trailing=16 growing=1",
    "mix-none": "dense=0.5 trailing=0",
    "mix-200": "dense=0.5 trailing=200",
    "last-200": "dense=0 trailing=200",
    "whole": "dense=0.5 whole=0.5 trailing=0",
    "whole-last": "dense=0 whole=0.5 trailing=0",
    "even": "dense=0 trailing=0 weighted=false",
    "at-once": "dense=1 growing=0",
    "rules": "dense=1 rules=5",
    "drawn": "dense=1 drawn=1",
    "distractors": "dense=1 distractors=10",
    "small": "dense=1 width=64 layers=2",
    "short-mix": "dense=0.5 trailing=16 distractors=10",
    "distractors-1": "dense=1 distractors=10 seed=1",
    "distractors-2": "dense=1 distractors=10 seed=2",
    "dense-1": "dense=1 seed=1",
    "dense-2": "dense=1 seed=2",
}
MASKS = probe("masks")


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=SETTINGS, action="append", help="these alone; repeat it for several")
    parser.add_argument("--limit", type=int, default=25, help="questions of each of the sixteen tasks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = ["training", *(f"{point.x:g}" for point in MASKS.points()), "cost", "interval", "validation, 2 / 200 masks"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name in args.only or SETTINGS:
        settings = SETTINGS[name].split()
        size = [setting for setting in settings if setting.startswith(("width", "layers"))]
        primer = args.out / "-".join(["primer", *size])
        trained(primer, [*PRIMER.split(), *size])
        changed = {setting.split("=")[0] for setting in settings}
        rest = [setting for setting in REST.split() if setting.split("=")[0] not in changed]
        trained(args.out / name, [f"start={primer / 'model'}", *rest, *settings])
        print(line(name, args.out / name, args.limit), flush=True)


def trained(folder: Path, settings: Sequence[str]) -> None:
    """Train, or go on."""
    if not (folder / "model" / "card.json").exists():
        recipe = with_settings(LabRules(), settings)
        run(recipe, out=folder, resume=(folder / "metrics.jsonl").exists())


def line(name: str, folder: Path, limit: int) -> str:
    """A line of the table."""
    cells = [point.cell for point in MASKS.points()]
    records = measure(
        unveil.load(str(folder / "model")), suite(), cells, limit=limit, items=folder / "items.jsonl", tokens=8192
    )
    rates = [f"{100 * row['accuracy']:.1f}" for row in MASKS.table(records, ("A", "B", "C"))]
    cost = MASKS.findings(records)[-1]
    return f"| {name}: {SETTINGS[name]} | {' | '.join(rates)} | {' | '.join(cost.shown)} | {course(folder)} |"


def course(folder: Path) -> str:
    """Right validation answers at the fewest and the most masks while the model was trained."""
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if "masks_2" in row]
    return ", ".join(f"{row['step']}: {100 * row['masks_2']:.0f}/{100 * row['masks_200']:.0f}" for row in rows)


if __name__ == "__main__":
    main()
