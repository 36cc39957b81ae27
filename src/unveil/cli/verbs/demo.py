"""unveil demo: a small model works out word problems under the published samplers; a table, a plot, the numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.terminal import out, plain

if TYPE_CHECKING:
    from unveil.decoding.model import Model
    from unveil.tasks import Problem, Task

MODEL, TASK = "lab-puzzles", "sums"
SEED = 2026  # problems of the validation split that no choice during training has seen
BATCH, DELAY = 64, 0.15
SAMPLERS = (
    "llada:block=32",
    "llada:steps=32,block=32",
    "llada:steps=16,block=32",
    "llada:steps=32,remasking=random,block=32",
    "dream:steps=32,alg=entropy",
    "fast_dllm:threshold=0.95,block=32",
    "fast_dllm:threshold=0.8,block=32",
    "fast_dllm:threshold=0.5,block=32",
    "fast_dllm:factor=1.0,block=32",
    "fast_dllm:threshold=0.8,block=32,cache=dual",
    "eb_sampler:gamma=0.1,block=32",
    "eb_sampler:gamma=1.0,block=32",
    "remdm:steps=32",
)

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results; it is made if need be.")]
Problems = Annotated[int, typer.Option("--problems", min=1, help="How many problems each sampler works out.")]


def demo(out_dir: Out = Path("demo"), problems: Problems = 100, threads: options.Threads = None) -> None:
    """Watch a small model work out a word problem, then compare the published samplers on fresh ones: table and plot.

    Takes up to three minutes. Interrupted, the same command goes on where it was.

    Example: unveil demo --out demo
    """
    from unveil import api
    from unveil.evaluation.result import results_table
    from unveil.evaluation.run import check_fit, evaluate_each
    from unveil.tasks import Sums

    task = Sums()
    model = api.load(MODEL, threads=threads)
    check_fit(SAMPLERS, task)
    fresh = task.generate(problems, SEED)
    items = items_in(out_dir, model.revision, problems, SAMPLERS)
    _one(model, max(fresh, key=lambda problem: len(problem.answer or "")), task)  # the longest
    say(f"{len(SAMPLERS)} samplers on {problems} problems of two to six steps that training never saw:\n")
    with keeping(f"What was done is kept in {items[0].parent}. The same command goes on from there."):
        results = evaluate_each(model, task, fresh, SAMPLERS, items, seed=SEED, batch=BATCH)
        out().print(results_table(results))
        write(out_dir, [result.to_json() for result in results])
    say(f"\nAccuracy against forwards: {out_dir / 'frontier.png'}")
    say(f"The numbers: {out_dir / 'results.json'}")
    say(f"Every answer: {items[0].parent}")
    say(f"A row again: unveil evaluate {MODEL} --task {TASK} --limit {problems} --seed {SEED} --sampler {SAMPLERS[1]}")


def items_in(out_dir: Path, revision: str, problems: int, specs: Sequence[str]) -> list[Path]:
    """A file of items per sampler, in a folder of their own for each model and number of problems."""
    from unveil.evaluation.run import item_name

    folder = out_dir / f"items-{revision}-{problems}"
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / item_name(spec) for spec in specs]


def write(out_dir: Path, results: list[dict[str, object]]) -> None:
    """results.json and frontier.png."""
    from unveil.evaluation.plots import plot_frontier
    from unveil.files import write_json

    write_json(out_dir / "results.json", {"results": results})
    title = f"{MODEL} on {results[0]['n']} fresh word problems of two to six steps"
    plot_frontier(results, out_dir / "frontier.png", title=title)


def say(text: str) -> None:
    """A line of the demo's own words."""
    out().print(plain(text), soft_wrap=True)


def _one(model: "Model", problem: "Problem", task: "Task") -> None:
    from unveil.cli.watch import Screen

    say(f"{MODEL} fills the {task.num_masks} masks after one problem, one token a forward:\n")
    row = model.canvas(problem.prompt, new_tokens=task.num_masks)
    with Screen.open(model.tokenizer, DELAY) as screen:
        ((done, _),) = model.in_order([row], SAMPLERS[0], see=[screen.show])
    say("\nRight.\n" if task.correct(problem, model.answer(done).text) else "\nWrong: models err.\n")
