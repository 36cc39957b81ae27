"""The share of a step outside the forward: 1 - forward / step, a step of LLaDA's decoding with half of each row given.

The forward is the body, the head, one max and one log-sum-exp over the columns read. It is timed twice: with our own
body and a layout made beforehand (the stricter one, which the targets are about), and as a dense transformer written
plainly (tests/plain/forward.py), which also computes the last layer's columns that nobody reads.
"""

from statistics import median
from typing import Any

import torch
from _measure import arguments, interleaved, prompts, random_model, ratio, report
from torch import Tensor

from tests.plain.forward import Dense
from unveil.canvas import Canvas
from unveil.models.attention import Bidirectional, Layout
from unveil.sampling.recipes import llada

CASES: list[dict[str, Any]] = [  # `block` columns of each row are read
    {"width": 256, "vocabulary": 4096, "rows": 16, "block": 64, "heads": 4, "feed": 704, "target": 0.15},
    {"width": 512, "vocabulary": 126464, "rows": 1, "block": 32, "heads": 8, "feed": 1408, "target": 0.05},
]
LAYERS, HEAD_WIDTH, PROMPT, NEW = 6, 64, 64, 64


def summary(logits: Tensor) -> Tensor:
    """One max and one log-sum-exp; through softmax, because torch.logsumexp takes twice as long on a CPU."""
    return logits.amax(-1) - logits.softmax(-1).amax(-1).log()


def measure(case: dict[str, Any], repeat: int) -> dict[str, Any]:
    """One line of the table."""
    model = random_model(
        case["vocabulary"], case["width"], LAYERS, case["heads"], HEAD_WIDTH, case["feed"], PROMPT + NEW
    )
    canvas = Canvas.blank(prompts(model, case["rows"], PROMPT), NEW, mask_id=model.outline.blank_id)
    sampler = llada(NEW, block=case["block"])
    read = sampler.blocks.here(canvas)
    layout = Layout.of(canvas, canvas.inside, read, shift=0, rule=Bidirectional())
    dense = Dense(model)
    seconds = interleaved(
        {
            "step": lambda: sampler.step(model, canvas, None),
            "forward": lambda: summary(model.head(model.body(canvas, layout, None))),
            "dense": lambda: summary(model.head(dense.hidden(canvas.tokens)[read])),
        },
        repeat,
    )
    outside = 1 - ratio(seconds["forward"], seconds["step"])
    return {
        **{name: case[name] for name in ("width", "vocabulary", "rows")},
        "columns": len(layout.index),
        "read": len(layout.answer),
        **{f"{name} ms": 1000 * median(times) for name, times in seconds.items()},
        "outside": outside,
        "outside, of dense": 1 - ratio(seconds["dense"], seconds["step"]),
        "target": case["target"],
        "reached": outside <= case["target"],
    }


@torch.no_grad()
def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=15)
    rows = [measure(case, given.repeat) for case in CASES]
    report(
        "loop", given, rows, {"layers": LAYERS, "head_width": HEAD_WIDTH, "prompt": PROMPT, "new": NEW, "cases": CASES}
    )


if __name__ == "__main__":
    main()
