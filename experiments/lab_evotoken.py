"""Token evolution on lab-puzzles: trajectory supervision against the ordinary masked loss at the same compute.

    python -m experiments.lab_evotoken --out runs/evotoken [--only cts-0] [--tables] [--limit 300] [--lab countdown]

An arm is a loss and a seed. All learn from the same 48,000 pairs (sums and Sudoku of the training split) at the same
rate; an update of trajectory supervision is `depth` passes, so the ordinary loss gets `depth` times as many updates. A
folder holds what `unveil train` writes. Then each model decodes with its own sampler: hard tokens by LLaDA's rule, soft
tokens by EvoToken's with what does best on 100 validation problems, chosen for each budget; fresh test problems are
decoded once. Prints markdown and writes `evotoken.json`. What is done is not done again. `--adds`: what adds up, on
other validation problems: mask-agnostic training, trajectory supervision, soft tokens, a learned policy. `--lab
countdown --model runs/countdown/tuned/model`: the same on the model that `lab_countdown.py` trains. `--lab long`: sums
of four to ten steps, learned on canvas 128.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import unveil
from unveil.decoding.model import Model
from unveil.evaluation.run import evaluate
from unveil.evaluation.statistics import paired_difference
from unveil.files import read_jsonl, write_json, write_text
from unveil.settings import with_settings
from unveil.tasks import task
from unveil.tasks.task import Problem
from unveil.training.mask_agnostic import Constant, MaskAgnosticTuning
from unveil.training.settings import Falling
from unveil.training.sft import SFT
from unveil.training.trainer import run
from unveil.training.trajectory import TrajectoryTuning

CONTROL = "sft"
DEPTH, STEPS, SEEDS = 4, 900, 3
SHARED = "canvas=64 rows=16 lr=3e-4 weight_decay=0.01 precision=bf16 validation=0.003"
CTS = f"{SHARED} steps={STEPS} warmup=30 validate_every=150 save_every=50 sizes=32,64 opens=1,2,4,8 whole=0.25"


def told(settings: str, changes: str = "") -> str:
    """Settings, where a later one replaces an earlier one of its name."""
    found = dict(item.split("=", 1) for item in f"{settings} {changes}".split())
    return " ".join(f"{name}={value}" for name, value in found.items())


ARMS: Mapping[str, str] = (
    {f"cts-{seed}": told(CTS, f"seed={seed}") for seed in range(SEEDS)}
    | {
        f"{CONTROL}-{seed}": f"{SHARED} steps={DEPTH * STEPS} warmup={DEPTH * 30} seed={seed} save_every=200 "
        f"validate_every={DEPTH * 150}"
        for seed in range(SEEDS)
    }
    | {
        "cts-random-0": told(CTS, "seed=0 order=random"),
        "cts-paper-0": told(CTS, "seed=0 order=random aligned=false sizes=64"),
        "cts-spherical-0": told(CTS, "seed=0 mix=spherical"),
        "cts-consistent-0": told(CTS, "seed=0 consistent=true"),
        "cts-k1-0": told(CTS, "seed=0 k=1"),
        "cts-depth-2-0": told(CTS, f"seed=0 depth=2 steps={2 * STEPS} warmup=60 validate_every=300"),
        "ma-0": "rows=16 lr=2e-4 precision=bf16 validation=0.003 steps=300 validate_every=100 save_every=50 seed=0 "
        "context=256 max_masks=128 curriculum=200 micro_steps=1",
        "ma-cts-0": told(CTS, "seed=0"),
    }
)


class Lab(NamedTuple):
    """What the arms learn, what is asked, and what changes in their settings."""

    data: Sequence[tuple[str, int, int]]  # task, pairs, seed
    tasks: Mapping[str, tuple[int, int]]  # masks and block
    changes: str


COUNTDOWN = "countdown:largest=30,targets=10-60"
LABS = {
    "puzzles": Lab(
        (("sums:split=train", 36000, 77), ("sudoku:givens=4-10,split=train", 12000, 78)),
        {"sums": (64, 32), "sudoku:givens=4-6": (19, 19), "sums:canvas=128": (128, 32)},
        "",
    ),
    "countdown": Lab(((f"{COUNTDOWN},split=train", 48000, 79),), {COUNTDOWN: (32, 32)}, "canvas=32 sizes=16,32"),
    "long": Lab((("sums:canvas=128,split=train", 48000, 81),), {"sums:canvas=128": (128, 32)}, "canvas=128"),
}
TASKS = {name: masks for lab in LABS.values() for name, masks in lab.tasks.items()}
BUDGETS = {"1/2": 2, "1/4": 4, "1/8": 8, "1": 1}  # forwards per token
BARS = {f"above {bar}": bar for bar in (0.9, 0.7, 0.5)}
TEST = {"sums": "sums:split=test", "sums:canvas=128": "sums:canvas=128,split=test"}
CHOOSING = 100  # validation problems
SHARES = ("0.5", "0.7", "0.9", "0.9,least_share=0.2", "0.9,least_share=0.0")
FROZEN = (",commit=best", ",commit=first")
AS_TRAINED = {  # in the sampler's words
    "cts": "", "cts-random": "", "cts-paper": "", "cts-depth-2": "", "cts-spherical": "mix=spherical",
    "cts-consistent": "commit=consistent", "cts-k1": "k=1", "ma": "", "ma-cts": "",
}  # fmt: skip
ADDED = (  # one block of 64, so that a policy fits
    "llada:steps=8", "evotoken:steps=8,mask_share=0.9,least_share=0.2", "fast_dllm:threshold=0.9",
    "evotoken:threshold=0.9,mask_share=0.9,least_share=0.2", "policy:name=lab-puzzles-sums,alpha=8",
    "policy:name=lab-puzzles-sums,alpha=8,mask_share=0.5",
)  # fmt: skip


def main() -> None:
    """Write the data, train the arms, choose, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab-puzzles")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=(*ARMS,), action="append", help="train these alone")
    parser.add_argument("--tables", action="store_true", help="measure what is trained")
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--lab", choices=(*LABS,), default="puzzles")
    parser.add_argument("--task", choices=(*TASKS,), action="append", help="default: all of the lab")
    parser.add_argument("--kind", choices=(*AS_TRAINED,), action="append", help="beside sft; default: all")
    parser.add_argument("--trained", action="store_true", help="leave out the shipped model")
    parser.add_argument("--share", action="append", help="choose among these shares of [MASK]; default: five")
    parser.add_argument("--adds", action="store_true", help="what adds up")
    parser.add_argument("--budget", choices=(*BUDGETS, *BARS), action="append", help="default: all")
    args = parser.parse_args()
    lab = LABS[args.lab]
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    data = args.out / "pairs.jsonl"
    if not data.exists():
        write_text(data, "".join(f"{json.dumps(pair)}\n" for pair in pairs(lab)))
    for arm in args.only or (() if args.tables or args.adds else ARMS):
        trained(args.model, data, arm, args.out / arm, lab.changes)
    if args.tables:
        kinds = (CONTROL, *(args.kind or AS_TRAINED))
        model = None if args.trained else args.model
        tables(
            model,
            args.out,
            args.limit,
            {name: TASKS[name] for name in args.task or lab.tasks},
            args.budget or (*BUDGETS, *BARS),
            kinds,
            args.share or SHARES,
        )
    if args.adds:
        adds(args.model, args.out, args.limit)


def pairs(lab: Lab) -> list[dict[str, str]]:
    """Prompts with a worked solution."""
    found = [one for spec, count, seed in lab.data for one in task(spec).generate(count, seed)]
    return [{"prompt": one.prompt, "answer": str(one.answer)} for one in found]


def trained(base: str, data: Path, arm: str, folder: Path, changes: str) -> Path:
    """Fine-tune an arm, or go on; the folder of its best weights."""
    kind: SFT | MaskAgnosticTuning = SFT(base=base, data=str(data), training=Falling(steps=1))
    if arm.startswith("ma-cts"):
        kind = TrajectoryTuning(base=str(folder.with_name("ma-0") / "model"), data=str(data), depth=DEPTH)
    elif arm.startswith("ma"):
        kind = MaskAgnosticTuning(base=base, data=str(data), training=Constant(steps=1, warmup=0, weight_decay=0.0))
    elif arm.startswith("cts"):
        kind = TrajectoryTuning(base=base, data=str(data), depth=DEPTH)
    known = [item for item in changes.split() if f" {item.split('=')[0]}=" in f" {ARMS[arm]}"]
    recipe = with_settings(kind, told(ARMS[arm], " ".join(known)).split())
    return run(recipe, out=folder, resume=(folder / "metrics.jsonl").exists())


def tables(
    base: str | None,
    out: Path,
    limit: int,
    tasks: Mapping[str, tuple[int, int]],
    budgets: Sequence[str],
    kinds: Sequence[str],
    shares: Sequence[str],
) -> None:
    """Each task and budget: accuracy and forwards of every way to decode, and what it gains over the ordinary loss."""
    found = [arm for arm in ARMS if arm.rsplit("-", 1)[0] in kinds and (out / arm / "model" / "card.json").exists()]
    rows = list[dict[str, object]]()
    for name, (masks, block) in tasks.items():
        for budget in budgets:
            setting, hard = rules(budget, masks, block)
            measured = {"frozen, hard": [(base, hard)]} if base else {}
            for kind in dict.fromkeys(arm.rsplit("-", 1)[0] for arm in found):
                models = [str(out / arm / "model") for arm in found if arm.rsplit("-", 1)[0] == kind]
                measured[f"{kind}, hard"] = [(model, hard) for model in models]
                if kind != CONTROL:
                    asked = f"{setting},{AS_TRAINED[kind]}".strip(",")
                    measured[f"{kind}, soft"] = [(model, chosen(model, name, asked, out, shares)) for model in models]
            if base:
                measured["frozen, soft"] = [(base, chosen(base, name, setting, out, shares, FROZEN))]
            print(f"\n{name}: {masks} masks, {setting} ({budget}), n = {limit}\n")
            rows += [{"task": name, "budget": budget} | row for row in lines(name, measured, out, limit)]
    write_json(out / "evotoken.json", rows)


def rules(budget: str, masks: int, block: int) -> tuple[str, str]:
    """What both ways to decode are told, and the sampler of hard tokens."""
    if budget in BARS:
        setting = f"threshold={BARS[budget]},block={block}"
        return setting, f"fast_dllm:{setting}"
    blocks = -(-masks // block)
    setting = f"steps={blocks * max(1, round(masks / BUDGETS[budget] / blocks))},block={block}"
    return setting, f"llada:{setting}"


def chosen(
    model: str, name: str, setting: str, out: Path, shares: Sequence[str], commits: Sequence[str] = ("",)
) -> str:
    """The spec that does best on validation problems."""
    specs = [f"evotoken:{setting},mask_share={share}{commit}" for share in shares for commit in commits]
    if len(specs) == 1:
        return specs[0]
    return max(
        specs, key=lambda spec: np.mean([right for right, _, _ in answers(model, spec, name, out, CHOOSING, False)])
    )


def lines(
    name: str, measured: Mapping[str, list[tuple[str, str]]], out: Path, limit: int
) -> Iterator[dict[str, object]]:
    """A table, printed, and its rows. Seeds are one: each problem counts with its mean over them."""
    found = {
        way: np.array([answers(model, spec, name, out, limit, True) for model, spec in runs])
        for way, runs in measured.items()
    }
    print(f"| | seeds | accuracy | forwards | tokens/s | over {CONTROL} | sampler |\n|---|---|---|---|---|---|---|")
    for way, each in found.items():
        right, forwards, rate = each.mean((0, 1))
        gain = paired_difference(each[:, :, 0].mean(0), found.get(f"{CONTROL}, hard", each)[:, :, 0].mean(0))
        specs = [*dict.fromkeys(spec for _, spec in measured[way])]
        told = "{:+.1f} ({:.1f} to {:.1f})".format(*(100 * x for x in gain))
        print(
            f"| {way} | {len(each)} | {100 * right:.1f} % | {forwards:.1f} | {rate:.0f} | {told} | {' '.join(specs)} |"
        )
        yield {"way": way, "seeds": len(each), "accuracy": right, "forwards": forwards, "tokens_per_second": rate} | {
            "gain": gain._asdict(), "samplers": specs, "n": limit
        }  # fmt: skip


def adds(base: str, out: Path, limit: int) -> None:
    """Seed 0 of each training under each way to decode; pairs of either are compared with neither."""
    problems = task("sums").generate(limit, 42)
    models = {"frozen": base} | {arm: str(out / arm / "model") for arm in (f"{CONTROL}-0", "ma-0", "cts-0", "ma-cts-0")}
    print(f"| sums, n = {limit} | {' | '.join(models)} |\n|---|{'---|' * len(models)}")
    for spec in ADDED:
        found = [evaluate(loaded(model), task("sums"), problems, spec, batch=64) for model in models.values()]
        shown = (f"{100 * one.accuracy:.1f} %, {one.nfe_mean:.1f}" for one in found)
        print(f"| `{spec}` | {' | '.join(shown)} |", flush=True)


def answers(model: str, spec: str, name: str, out: Path, limit: int, test: bool) -> list[tuple[float, int, float]]:
    """(right, forwards, tokens a second) for each problem."""
    problems = asked(name, limit, test)
    words = (Path(model).parent.name or model, name, spec, "test" if test else "validation", str(limit))
    items = out / "items" / ("_".join(words).replace("/", "-").replace(":", "-") + ".jsonl")
    items.parent.mkdir(exist_ok=True)
    done = read_jsonl(items) if items.exists() else []
    if len(done) < limit:
        evaluate(loaded(model), task(TEST.get(name, name) if test else name), problems, spec, batch=64, items=items)
        done = read_jsonl(items)
    done = sorted(done, key=lambda record: record["index"])
    rate = sum(record["tokens"] for record in done) / sum(record["seconds"] for record in done)
    return [(float(record["correct"]), record["nfe"], rate) for record in done]


def asked(name: str, limit: int, test: bool) -> list[Problem]:
    """Problems to choose by, or others, of the test split where there is one (Sudoku has none)."""
    chosen_by = task(name).generate(CHOOSING, 21)
    if not test:
        return chosen_by[:limit]
    prompts = {problem.prompt for problem in chosen_by}
    fresh = task(TEST.get(name, name)).generate(2 * limit, 31)
    return [problem for problem in fresh if problem.prompt not in prompts][:limit]


def loaded(model: str) -> Model:
    """In bfloat16, as it is stored: a third faster here."""
    return unveil.load(model, dtype="bfloat16")


if __name__ == "__main__":
    main()
