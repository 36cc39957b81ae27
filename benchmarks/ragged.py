"""Columns computed for rows of unequal length, as a multiple of the columns of the rows that still decode.

Counted in the layouts of the forwards, not timed. `linear` columns go through the linear layers, which are most of
the work; `attended` are the columns of the padded grid, on which attention alone runs, where that is faster.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from _measure import SEED, arguments, random_model, report
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.attention import Layout
from unveil.models.denoiser import Cache, Prediction, Want, Wrapped
from unveil.sampling.queue import decode_queue
from unveil.sampling.recipes import fast_dllm

BATCH, TARGET = 16, 1.05
MODEL = {"vocabulary": 256, "width": 64, "layers": 2, "heads": 2, "head_width": 32, "feed": 176, "columns": 192}


@dataclass(frozen=True, kw_only=True, eq=False)
class Counting(Wrapped):
    """A denoiser that counts the columns of its forwards."""

    live: list[int] = field(default_factory=list)
    linear: list[int] = field(default_factory=list)
    attended: list[int] = field(default_factory=list)

    def __call__(self, canvas: Canvas, fresh: Tensor, read: Tensor, cache: Cache | None, want: Want) -> Prediction:
        """See Denoiser."""
        a = self.outline
        layout = Layout.of(canvas, fresh, read, shift=a.shift, rule=a.rule)
        self.live.append(int(canvas.end[~canvas.done].sum()))
        self.linear.append(len(layout.index))
        self.attended.append(len(layout.index) + layout.fresh.padding)
        return self.inner(canvas, fresh, read, cache, want)


def measure(num_prompts: int) -> dict[str, Any]:
    """One line of the table: prompts of 16 to 96 tokens, 16 to 96 new ones each."""
    model = Counting(inner=random_model(**MODEL))
    generator = torch.Generator().manual_seed(SEED)
    lengths, news = torch.randint(16, 97, (2, num_prompts), generator=generator).tolist()
    mask_id = model.outline.blank_id
    prompts = [torch.randint(mask_id, (length,), generator=generator).tolist() for length in lengths]
    waiting = [Canvas.blank([prompt], new, mask_id=mask_id) for prompt, new in zip(prompts, news, strict=True)]
    finished = list(decode_queue(fast_dllm(96, threshold=0.9), model, waiting, batch=BATCH))
    assert sorted(number for number, _ in finished) == list(range(num_prompts))
    times = sum(model.linear) / sum(model.live)
    return {
        "prompts": num_prompts,
        "batch": BATCH,
        "forwards": len(model.live),
        "live columns": sum(model.live),
        "linear": times,
        "attended": sum(model.attended) / sum(model.live),
        "target": TARGET,
        "reached": times <= TARGET,
    }


@torch.no_grad()
def main() -> None:
    """Print the table: all rows from the start, then a queue whose rows take the place of finished ones."""
    given = arguments(__doc__, repeat=1)
    report("ragged", given, [measure(BATCH), measure(4 * BATCH)], MODEL)


if __name__ == "__main__":
    main()
