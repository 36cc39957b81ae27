"""What soft tokens cost: a step of EvoToken over one of hard tokens, and an update of trajectory supervision.

`times` of a step is over a step with hard tokens that reads the same columns (decided ones too, and with look-ahead all
later ones), in the middle of a block; `whole` is EvoToken with look-ahead over LLaDA's rule, which reads masks alone.
`times` of an update is forward and backward of a trajectory of four forwards over those of the ordinary loss.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from _measure import SEED, arguments, interleaved, prompts, random_model, ratio, report
from torch import Tensor

from unveil.canvas import SOFT, SOFT_MASK, Canvas
from unveil.decoding.loading import load
from unveil.models.transformer import Transformer
from unveil.objectives.loss import Batch, Objective
from unveil.objectives.masked import MaskedDiffusion
from unveil.objectives.trajectory import TrajectorySupervision
from unveil.sampling import recipes
from unveil.sampling.evolve import HardTokens, SoftTokens
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Confidence
from unveil.tasks.puzzles.sums import Sums

NEW, PROMPT, BLOCK, STEPS, SHIPPED, DEPTH = 64, 64, 32, 32, "lab-puzzles", 4
WIDE = {"vocabulary": 126464, "width": 512, "layers": 6, "heads": 8, "head_width": 64, "feed": 1408}
CASES: list[dict[str, Any]] = [
    {"model": SHIPPED, "rows": 16, "ahead": False, "target": 1.05},
    {"model": SHIPPED, "rows": 16, "ahead": True, "target": 1.05},
    {"model": "wide", "rows": 1, "ahead": False, "target": 1.02},
    {"model": "wide", "rows": 1, "ahead": True, "target": 1.02},
]
UPDATE = {"model": SHIPPED, "rows": 16, "target": 4.4}


@dataclass(frozen=True, kw_only=True)
class Reading(Confidence):
    """The confidence, after reading what soft tokens read."""

    like: SoftTokens

    def view(self, canvas: Canvas, here: Tensor, eligible: Tensor) -> Tensor:
        """The block, or all from it on."""
        return self.like.view(canvas, here)


def blank(name: str, rows: int) -> tuple[Transformer, Canvas]:
    """A model, and prompts with their masks: of `sums` for the shipped one, random ones of 64 tokens for the other."""
    if name == "wide":
        wide = random_model(**WIDE, columns=PROMPT + NEW)
        return wide, Canvas.blank(prompts(wide, rows, PROMPT), NEW, mask_id=wide.outline.blank_id)
    model = load(name, device="cpu")
    texts = [model.tokenizer.encode(problem.prompt) for problem in Sums().generate(rows, seed=SEED)]
    return model.denoiser, Canvas.blank(texts, NEW, mask_id=model.denoiser.outline.blank_id)


@torch.no_grad()
def step(case: dict[str, Any], repeat: int) -> dict[str, Any]:
    """The line of a step."""
    model, canvas = blank(case["model"], case["rows"])
    soft = recipes.evotoken(NEW, steps=STEPS, block=BLOCK, lookahead=case["ahead"])
    assert isinstance(soft.evolve, SoftTokens) and isinstance(soft.unmask, Select)
    hard = replace(soft, evolve=HardTokens(), unmask=replace(soft.unmask, score=Reading(like=soft.evolve)))
    plain = recipes.llada(NEW, steps=STEPS, block=BLOCK)
    canvas = soft.evolve.ready(canvas)
    for _ in range(STEPS // 4):  # to the middle of the first block
        canvas = soft.step(model, canvas, None).after
    stage = canvas.stage.masked_fill(canvas.stage == SOFT_MASK, 0).masked_fill(canvas.stage == SOFT, 3)
    none = replace(canvas, stage=stage, soft_ids=canvas.soft_ids[..., :0], soft_weights=canvas.soft_weights[..., :0])
    steps = {"soft": (soft, canvas), "hard": (hard, none), "plain": (plain, none)}
    seconds = interleaved({name: stepped(model, *given) for name, given in steps.items()}, repeat)
    times = ratio(seconds["soft"], seconds["hard"])
    return {
        "what": "step, look-ahead" if case["ahead"] else "step", "model": case["model"], "rows": case["rows"],
        "ms": 1000 * median(seconds["soft"]), "times": times, "whole": ratio(seconds["soft"], seconds["plain"]),
        "target": case["target"], "reached": times <= case["target"],
    }  # fmt: skip


def stepped(model: Transformer, sampler: Sampler, canvas: Canvas) -> Callable[[], object]:
    """A forward and what follows from it."""
    return lambda: sampler.step(model, canvas, None)


def update(case: dict[str, Any], repeat: int) -> dict[str, Any]:
    """The line of an update."""
    model, canvas = blank(case["model"], case["rows"])
    model.requires_grad_(True).train()
    generator = torch.Generator().manual_seed(SEED)
    tokens = torch.randint(model.outline.blank_id, canvas.tokens.shape, generator=generator)
    batch = Batch(torch.where(canvas.undecided, tokens, canvas.tokens), canvas.start, canvas.end)
    trajectory = TrajectorySupervision(sizes=(BLOCK,), opens=(2,), depth=DEPTH)

    def learn(objective: Objective[Any]) -> None:
        model.zero_grad()
        for loss in objective.losses(model, objective.corrupt(batch, model.outline.blank_id, SEED)):
            loss.backward()

    parts = {"trajectory": lambda: learn(trajectory), "plain": lambda: learn(MaskedDiffusion())}
    seconds = interleaved(parts, repeat)
    times = ratio(seconds["trajectory"], seconds["plain"])
    return {
        "what": f"update, {DEPTH} forwards", "model": case["model"], "rows": case["rows"],
        "ms": 1000 * median(seconds["trajectory"]), "times": times, "whole": times, "target": case["target"],
        "reached": times <= case["target"],
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=15)
    rows = [*(step(case, given.repeat) for case in CASES), update(UPDATE, given.repeat)]
    report("evolution", given, rows, {"new": NEW, "prompt": PROMPT, "block": BLOCK, "wide": WIDE, "cases": CASES})


if __name__ == "__main__":
    main()
