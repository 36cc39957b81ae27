"""A round of `unveil train policy`: how much the model computes, and what the update adds.

16 prompts of `sums` x 8 answers on 64 masks, one block, drawn by an untrained policy that opens a mask with probability
0.3: of the paper's size (331,265 parameters), and of the shipped one's (85,761). `columns`: those that the model's
layers computed over those of all live rows in all their forwards (a first forward that copies share makes it less than
1). `update`: the seconds of two updates over those of the round.
"""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _measure import SEED, arguments, report
from torch import Tensor, nn

from unveil.decoding.loading import load
from unveil.decoding.model import Model
from unveil.policies.confidence import ConfidenceSettings
from unveil.training.policy import PolicyTraining
from unveil.training.rounds import Answering
from unveil.training.session import Session

PROMPTS, COPIES, COLUMNS, UPDATE = 16, 8, 1.15, 0.1
SIZES: list[dict[str, Any]] = [{}, {"width": 64, "feed_width": 256}]


def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=5)
    rows = [row(ConfidenceSettings(rate=0.3, **sizes), given.repeat) for sizes in SIZES]
    report("rounds", given, rows, {"task": "sums", "seed": SEED})


def row(network: ConfidenceSettings, repeat: int) -> dict[str, Any]:
    """One line of the table."""
    recipe = PolicyTraining(base="lab-puzzles", task="sums", prompts=PROMPTS, copies=COPIES, network=network)
    model = load(recipe.base, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        session = Session.small(recipe.net(), recipe.training, Path(folder))
        update, times = recipe.update(session, model), list[dict[str, float]]()
        for number in range(repeat + 1):
            times.append(update(number))
        columns = measured(recipe, session, model)
    share = median(one["update_seconds"] / (one["update_seconds"] + one["decode_seconds"]) for one in times[1:])
    return {
        "width": network.width, "forwards": median(one["forwards"] for one in times[1:]),
        "seconds": median(one["decode_seconds"] + one["update_seconds"] for one in times[1:]),
        "columns": columns, "columns target": COLUMNS, "update": share, "update target": UPDATE,
        "reached": columns <= COLUMNS and share <= UPDATE,
    }  # fmt: skip


def measured(recipe: PolicyTraining, session: Session, model: Model) -> float:
    """Columns computed, over columns of live rows."""
    computed = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal computed
        computed += len(inputs[0])

    answering = Answering(
        session=session, model=model, sampler=recipe.sampler(session.model, recipe.pick, recipe.alpha[0]),
        num_masks=recipe.problems.task.num_masks, problems=recipe.problems.round, batch=recipe.batch,
    )  # fmt: skip
    hook = model.denoiser.layers[0].key.register_forward_pre_hook(count)
    with torch.no_grad():
        rollouts = answering.answered(answering.asked(0), recipe.copies)
    hook.remove()
    live = sum(int(row.nfe) * int(row.end) for row in rollouts.finished)
    return computed / live


if __name__ == "__main__":
    main()
