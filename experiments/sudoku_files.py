"""Evaluate a model on the published 4x4 Sudoku files under the published samplers.

    python -m experiments.sudoku_files --data ../shared/data/sudoku --out runs/sudoku-files

Prints a markdown table (accuracy is the mean over the files, 95 % Wilson interval over all puzzles) and writes
results.json; item files make it resumable. No setting was chosen on these files.
"""

import argparse
from pathlib import Path

import torch

import unveil
from unveil.evaluation.result import Result
from unveil.evaluation.run import evaluate
from unveil.evaluation.statistics import wilson
from unveil.files import write_json
from unveil.tasks import task

SAMPLERS = [
    "llada",
    "llada:remasking=random",
    "dream:alg=maskgit_plus",
    "dream:alg=topk_margin",
    "dream:alg=entropy",
    "llada:steps=10",
    "dream:alg=entropy,steps=10",
    "fast_dllm:threshold=0.9",
    "fast_dllm:threshold=0.6",
    "fast_dllm:factor=1",
    "fast_dllm:threshold=0.9,block=5,cache=prefix",
    "fast_dllm:threshold=0.9,block=5,cache=dual",
    "eb_sampler:gamma=0.1",
    "remdm:eta=0.05,temperature=0",
]


def main() -> None:
    """Evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab-sudoku")
    parser.add_argument("--data", type=Path, required=True, help="folder with sudoku_4x4_K.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    model, sudoku = unveil.load(args.model), task("sudoku")
    files = sorted(args.data.glob("sudoku_4x4_*.jsonl"), key=lambda path: int(path.stem.rsplit("_", 1)[1]))
    everything, lines = [], []
    for number, spec in enumerate(SAMPLERS):
        results: list[Result] = []
        for path in files:
            items = args.out / f"{number}-{path.stem}.items.jsonl"
            results.append(evaluate(model, sudoku, sudoku.read(path), spec, items=items, batch=36))
        rows = {path.stem: result.to_json() for path, result in zip(files, results, strict=True)}
        everything.append({"sampler": spec, "files": rows})
        lines.append(_line(spec, results))
        print(lines[-1], flush=True)
    write_json(args.out / "results.json", everything)
    names = " | ".join(path.stem.rsplit("_", 1)[1] for path in files)
    print(f"\n| sampler | accuracy | 95 % interval | forwards | tokens per forward | {names} |")
    print("|---|---|---|---|---|" + "---|" * len(files))
    print("\n".join(lines))


def _line(spec: str, results: list[Result]) -> str:
    total = sum(r.n for r in results)
    low, high = wilson(round(sum(r.accuracy * r.n for r in results)), total)
    mean = sum(r.accuracy for r in results) / len(results)
    forwards = sum(r.nfe_mean for r in results) / len(results)
    each = " | ".join(f"{100 * r.accuracy:.1f}" for r in results)
    return (
        f"| `{spec}` | {100 * mean:.1f} % | {100 * low:.1f} to {100 * high:.1f} | {forwards:.1f} "
        f"| {results[0].num_masks / forwards:.2f} | {each} |"
    )


if __name__ == "__main__":
    main()
