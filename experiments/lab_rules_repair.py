"""Repair lab-rules: CE + TV against CE alone at the same rate and compute, and against none.

    python -m experiments.lab_rules_repair --model lab-rules --out runs/repair [--only ce-tv-0] [--limit 25]

Run it from the repository's root. The data are prompts of drawn rules, none of them the suite's, with the answer and
its closing. An arm is a loss and a seed; a folder holds what `unveil train mask-agnostic` writes, and `items.jsonl` for
the suite's test questions: right answers with 2 to 200 masks after one forward, and after 2, 4 and 6 steps in random
order, all masks one block, 10 + 40 examples, mixed. Weights are kept by the held-out loss, as in the paper. Prints
markdown and writes `repair.json` and `repair.png`. What is done is not done again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import matplotlib
import numpy as np
import torch

import unveil
from recipes.lab_rules import FIRST_DRAW, LabRules, drawn
from unveil.diagnostics.context.cells import Record
from unveil.diagnostics.context.few_shot.shots import Arrangement, Shots, arrange
from unveil.diagnostics.context.few_shot.suite import suite
from unveil.diagnostics.context.probes import Probe, probe
from unveil.diagnostics.context.run import measure
from unveil.diagnostics.context.tables import (
    Finding,
    Point,
    by_series,
    correct,
    first_minus_last,
    level,
    of_values,
    paired,
)
from unveil.evaluation.plots import COLOURS, MARKERS
from unveil.files import replacing, write_json, write_text
from unveil.objectives.loss import loss
from unveil.settings import with_settings
from unveil.training.mask_agnostic import MaskAgnosticTuning
from unveil.training.trainer import run

PAIRS = 4000
SHARED = (
    "steps=150 rows=16 lr=2e-4 warmup=10 optimiser=muon precision=bf16 context=1024 max_masks=300 curriculum=100 "
    "micro_steps=1 validate_every=50 save_every=50 micro_rows=0"
)
LOSSES: Mapping[str, str] = {"ce": "beta=0", "ce-tv": "beta=1"}
ARMS = {f"{name}-{seed}": f"{how} seed={seed}" for seed in range(3) for name, how in LOSSES.items()} | {
    "ce-tv-log-0": "beta=1 seed=0 lengths=log",
    "ce-tv-anchor-0": "beta=1 seed=0 anchor=fewer",
}


def main() -> None:
    """Write the data, train the arms, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab-rules")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("none", *ARMS), action="append", help="train and measure these alone")
    parser.add_argument("--limit", type=int, default=25, help="questions of each of the sixteen tasks, one forward")
    parser.add_argument("--few", type=int, default=5, help="questions of each task, several steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    data = args.out / "pairs.jsonl"
    if not data.exists():
        write_text(data, "".join(f"{json.dumps(pair(number))}\n" for number in range(PAIRS)))
    found = {}
    for arm in args.only or ("none", *ARMS):
        folder = args.out / arm
        folder.mkdir(exist_ok=True)
        model = args.model if arm == "none" else str(trained(args.model, data, ARMS[arm], folder))
        found[arm] = asked(model, folder, (args.limit, args.few))
        print(f"{arm}: {nats(model):.4f} nats a masked token of held-out rows", flush=True)
    if "none" in found and {arm.rsplit("-", 1)[0] for arm in found} >= {*LOSSES}:
        report(found, args.out)


def pair(number: int) -> dict[str, str]:
    """A prompt of a drawn rule and its answer."""
    rng = Random(f"pair {number}")
    relevant, distractors = rng.randint(1, 10), rng.randint(0, 40)
    shots = drawn(rng).shots(relevant + 1, distractors, FIRST_DRAW + rng.randrange(2**40))
    question, layout = shots.relevant[-1], Arrangement(shuffle=rng.randrange(2**40))
    pieces = arrange(Shots(shots.relevant[:-1], shots.distractors), question, layout)
    examples = [piece.shot for piece in pieces if piece.shot and piece.kind != "question"]
    text = "".join(shot.question + shot.answer + shot.ending for shot in examples)
    return {"prompt": text + question.question, "answer": question.answer + question.closing}


def trained(base: str, data: Path, how: str, folder: Path) -> Path:
    """Fine-tune an arm, or go on; the folder of its best weights."""
    kind = MaskAgnosticTuning(base=base, data=str(data))
    recipe = with_settings(kind, [*SHARED.split(), *how.split()])
    return run(recipe, out=folder, resume=(folder / "metrics.jsonl").exists())


def probes() -> list[Probe]:
    """One forward over the whole grid, and the paper's protocol in few steps."""
    return [probe("masks"), probe("degradation")]


def asked(model: str, folder: Path, limits: tuple[int, int]) -> list[Record]:
    """The answers to the suite's test questions, so many for each probe."""
    loaded, items, records = unveil.load(model), folder / "items.jsonl", list[Record]()
    for one, limit in zip(probes(), limits, strict=True):
        cells = [point.cell for point in one.points()]
        records += measure(loaded, suite(), cells, draws="fresh", limit=limit, items=items, tokens=8192)
    return records


@torch.inference_mode()
def nats(model: str) -> float:
    """The ordinary masked diffusion loss of rows of the suite's rules, each answer on words learned."""
    recipe, denoiser = LabRules(drawn=0.0, dense=1.0), unveil.load(model).denoiser
    batches = [recipe.batch(recipe.training.steps + number) for number in range(20)]
    examples = [recipe.objective.corrupt(batch, denoiser.outline.blank_id, seed) for seed, batch in enumerate(batches)]
    return float(np.mean([float(loss(denoiser, example)) for example in examples]))


def report(found: Mapping[str, Sequence[Record]], out: Path) -> None:
    """Tables and picture. Seeds of a loss are one: each question counts with its mean over them."""
    losses: dict[str, list[Sequence[Record]]] = {}
    for arm, records in found.items():
        losses.setdefault(arm.rsplit("-", 1)[0], []).append(records)
    masks, degradation = probes()
    steps = by_series(degradation.points())
    numbers: list[Finding] = []
    for way, points in {**steps, "one forward": masks.points()}.items():
        before, few = values(points, losses["none"]), points[0].x
        for name, runs in losses.items():
            later = values(points, runs)
            both = [np.hstack(pair) for pair in zip(before, later, strict=True)]
            numbers.append(of_values(f"{name}, {way}: cost", "", first_minus_last, later, "points"))
            if name != "none":
                numbers.append(of_values(f"{name}, {way}: share of the cost removed", "", removed, both, "%"))
                numbers.append(of_values(f"{name}, {way}: change at {few} masks", "", gained, both, "points"))
    print("| | value | 95 % interval |\n|---|---|---|")
    for number in numbers:
        print(f"| {number.name} | {' | '.join(number.shown)} |")
    write_json(out / "repair.json", [number.to_json() for number in numbers])
    picture({name: losses[name] for name in ("none", *LOSSES)}, out / "repair.png")


def values(points: Sequence[Point], runs: Sequence[Sequence[Record]]) -> list[np.ndarray]:
    """(questions, points) for each task: right answers, means over the runs."""
    each = [paired(points, records, correct) for records in runs]
    return [np.mean([run[task] for run in each], axis=0) for task in each[0]]


def removed(means: np.ndarray) -> np.ndarray:
    """1 - cost after / cost before, from the points before and after; NaN where it cost nothing before."""
    before, after = map(first_minus_last, np.split(means, 2, axis=-1))
    return 1 - np.divide(after, before, out=np.full_like(before, np.nan), where=before > 1e-9)


def gained(means: np.ndarray) -> np.ndarray:
    """Accuracy at the first point, after minus before."""
    before, after = (half[..., 0].mean(axis=1) for half in np.split(means, 2, axis=-1))
    return after - before


def picture(runs: Mapping[str, Sequence[Sequence[Record]]], path: Path) -> None:
    """Right answers after one forward over the number of masks; bars are 95 % over tasks and questions."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    names = {"none": "as trained", "ce": "CE alone", "ce-tv": "CE + TV"}
    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    points = probes()[0].points()
    for number, (name, records) in enumerate(runs.items()):
        mine = values(points, records)
        shown = [of_values("", "", level, [task[:, [place]] for task in mine], "%") for place in range(len(points))]
        middle = [100 * (one.value or 0) for one in shown]
        ends = ([one.low for one in shown], [one.high for one in shown])
        bars = [[abs(100 * (x or 0) - y) for x, y in zip(end, middle, strict=True)] for end in ends]
        x = [point.x * 1.03**number for point in points]
        axes.errorbar(x, middle, bars, label=names[name], color=COLOURS[number], marker=MARKERS[number], capsize=2)
    axes.set(xscale="log", xlabel="masks after the question, the answer's included")
    axes.set_ylabel("right answers, % (a guess: 33)")
    axes.set_xticks([point.x for point in points], [f"{point.x:g}" for point in points])
    axes.minorticks_off()
    axes.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


if __name__ == "__main__":
    main()
