"""Records that no model gave: answers of a made-up model whose accuracy falls with masks and with distance."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from unveil.diagnostics.context.attribution import Attribution
from unveil.diagnostics.context.cells import Cell, Record
from unveil.diagnostics.context.probes import Probe

LETTERS = ("A", "B", "C")
OTHER = "<b>no</b>"


def falling(cell: Cell) -> float:
    """Accuracy of the made-up model."""
    a = cell.arrangement
    steps = getattr(cell.reading, "steps", 1)
    near = a.position - 0.5 if a.order == "block" else 0.0
    few = 0.2 if a.relevant < 10 else 0.0
    return min(1.0, max(0.0, 0.9 - 0.002 * a.masks / steps - 0.0002 * a.fillers + 0.2 * near - few))


def records_of(
    probes: Sequence[Probe],
    accuracy: Callable[[Cell], float] = falling,
    *,
    tasks: Sequence[str] | int = 4,
    questions: int = 10,
    draws: int = 1,
    seed: int = 0,
) -> list[Record]:
    """Of every cell of the probes, once."""
    rng = Random(seed)
    names = [f"T{task + 1:02}" for task in range(tasks)] if isinstance(tasks, int) else tasks
    cells = {point.cell.key: point.cell for probe in probes for point in probe.points()}
    return [
        _record(rng, cell, accuracy(cell) + 0.02 * task, name, draw, question)
        for cell in cells.values()
        for task, name in enumerate(names)
        for draw in range(draws)
        for question in range(questions)
    ]


def _record(rng: Random, cell: Cell, accuracy: float, task: str, draw: int, question: int) -> Record:
    label = LETTERS[question % 3]
    answer = label if rng.random() < accuracy else rng.choice(["A", "B", OTHER])
    masks = max(cell.arrangement.masks, round(cell.arrangement.share * 30 * (10 + cell.arrangement.distractors)))
    found = {
        "answer": answer, "correct": answer == label, "confidence": 0.5 + 0.4 * accuracy, "entropy": 2 - accuracy,
        "nfe": getattr(cell.reading, "steps", 1),
    }  # fmt: skip
    if isinstance(cell.reading, Attribution):
        found |= _attributed(rng, cell)
    return Record(
        task=task, draw=draw, question=question, cell=cell.key, label=label, masks=masks,
        columns=30 * (cell.arrangement.relevant + cell.arrangement.distractors) + masks, found=found,
    )  # fmt: skip


def record(
    cell: Cell, task: str, question: int, answer: str, *, draw: int = 0, label: str = "A", **found: Any
) -> Record:
    """One answer."""
    return Record(
        task=task, draw=draw, question=question, cell=cell.key, label=label, masks=cell.arrangement.masks, columns=100,
        found={"answer": answer, "correct": answer == label, **found},
    )  # fmt: skip


def _attributed(rng: Random, cell: Cell) -> dict[str, object]:
    num = cell.arrangement.relevant + cell.arrangement.distractors
    kinds = ["relevant"] * cell.arrangement.relevant + ["distractor"] * cell.arrangement.distractors
    rng.shuffle(kinds)
    examples = [0.2 + 0.8 * (place / num) ** 2 * rng.random() for place in range(num)]
    return {
        "masks": 0.2 + 0.1 * rng.random(), "answer_mask": 1.0, "last": 0.05, "rest": 0.02, "mask_share": 0.25,
        "examples": [norm / max(examples) for norm in examples], "kinds": kinds,
    }  # fmt: skip
