"""What a learned policy adds to a step, as a multiple of a forward without cache: a prompt and 64 masks in every row.

`adds`, which the targets are about, is the policy's own time, right after a forward as in a step. `in a step` is the
same from outside: a step with the policy over one by confidence that reads the same columns, less 1. Where some masks
are open, a policy reads those columns too (it sees how sure the model is of what was written), which samplers without
one need not: `with reading` is the step over one by confidence that reads masks alone, less 1.
"""

from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from _measure import arguments, interleaved, prompts, random_model, ratio, report
from torch import Tensor

from unveil.canvas import Canvas
from unveil.decoding.loading import load
from unveil.models.transformer import Transformer
from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings
from unveil.policies.learned import Learned
from unveil.sampling.random_picks import CoinsOrBest
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Confidence, Score
from unveil.tasks.puzzles.sums import Sums

NEW, PROMPT, NOISE, SHIPPED = 64, 64, 9, "lab-puzzles"
WIDE = {"vocabulary": 126464, "width": 512, "layers": 6, "heads": 8, "head_width": 64, "feed": 1408}
CASES: list[dict[str, Any]] = [
    {"model": SHIPPED, "rows": 16, "left": 1.0, "target": 0.1},
    {"model": SHIPPED, "rows": 16, "left": 0.5, "target": 0.1},
    {"model": "wide", "rows": 1, "left": 1.0, "target": 0.02},
    {"model": "wide", "rows": 1, "left": 0.5, "target": 0.02},
]


@dataclass(frozen=True, kw_only=True)
class Reading(Confidence):
    """The confidence, after reading what the policy reads."""

    def view(self, canvas: Canvas, here: Tensor, eligible: Tensor) -> Tensor:
        """Decided columns too."""
        return here


def blank(name: str, rows: int) -> tuple[Transformer, Canvas]:
    """A model, and prompts with their masks: of `sums` for the shipped one, random ones of 64 tokens for the other."""
    seeds = list(range(rows))
    if name == "wide":
        wide = random_model(**WIDE, columns=PROMPT + NEW)
        return wide, Canvas.blank(prompts(wide, rows, PROMPT), NEW, mask_id=wide.outline.blank_id, seed=seeds)
    model = load(name, device="cpu")
    texts = [model.tokenizer.encode(problem.prompt) for problem in Sums().generate(rows, seed=0)]
    return model.denoiser, Canvas.blank(texts, NEW, mask_id=model.denoiser.outline.blank_id, seed=seeds)


def measure(case: dict[str, Any], repeat: int) -> dict[str, Any]:
    """One line of the table."""
    model, canvas = blank(case["model"], case["rows"])
    left = canvas.undecided & (canvas.uniform(NOISE) < case["left"])
    canvas = Canvas.corrupt(canvas.tokens, left, start=canvas.start, end=canvas.end, mask_id=canvas.mask_id)
    learned = Learned(net=ConfidencePolicy(ConfidenceSettings()).requires_grad_(False))
    scores: dict[str, Score] = {"step": learned, "reading": Reading(), "masks alone": Confidence()}
    samplers = {name: Sampler(unmask=Select(score=score, pick=CoinsOrBest())) for name, score in scores.items()}
    steps = {name: lambda sampler=sampler: sampler.step(model, canvas, None) for name, sampler in samplers.items()}
    want, proposal = samplers["reading"].want(canvas), steps["reading"]().proposal
    forward = lambda: model(canvas, canvas.inside, canvas.undecided, None, want)  # noqa: E731
    seconds = interleaved({"forward": forward, "policy": lambda: learned(proposal, canvas), **steps}, repeat)
    adds = ratio(seconds["policy"], seconds["forward"])
    return {
        **{name: case[name] for name in ("model", "rows", "left")},
        **{f"{name} ms": 1000 * median(seconds[name]) for name in ("forward", "policy", "step")},
        "adds": adds,
        "in a step": ratio(seconds["step"], seconds["reading"]) - 1,
        "with reading": ratio(seconds["step"], seconds["masks alone"]) - 1,
        "target": case["target"],
        "reached": adds <= case["target"],
    }


@torch.no_grad()
def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=15)
    rows = [measure(case, given.repeat) for case in CASES]
    report("policy", given, rows, {"new": NEW, "prompt": PROMPT, "wide": WIDE, "cases": CASES})


if __name__ == "__main__":
    main()
