"""Tokens per second of Fast-dLLM's caches: the whole decode, every token written, the same number of forwards.

LLaDA's quota opens the tokens, so that the plans differ in the columns they recompute and in nothing else.
"""

import torch
from _measure import arguments, interleaved, prompts, random_model, ratio, report

from unveil.canvas import Canvas
from unveil.sampling.recipes import fast_dllm

ROWS, PROMPT, NEW, BLOCK, STEPS = 8, 64, 256, 32, 16
MODEL = {"vocabulary": 4096, "width": 256, "layers": 6, "heads": 4, "head_width": 64, "feed": 704, "columns": 320}
TARGETS = {"none": 1.0, "prefix": 1.5, "dual": 4.0}


@torch.no_grad()
def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=3)
    model = random_model(**MODEL)
    canvas = Canvas.blank(prompts(model, ROWS, PROMPT), NEW, mask_id=model.outline.blank_id)
    samplers = {plan: fast_dllm(NEW, block=BLOCK, steps=STEPS * NEW // BLOCK, cache=plan) for plan in TARGETS}
    decodes = {plan: (lambda sampler=sampler: sampler.decode(model, canvas)) for plan, sampler in samplers.items()}
    seconds = interleaved(decodes, given.repeat)
    rows = [
        {
            "cache": plan,
            "tokens per second": ROWS * NEW / sorted(seconds[plan])[given.repeat // 2],
            "times as fast as none": (gain := ratio(seconds["none"], seconds[plan])),
            "target": target,
            "reached": gain >= target,
        }
        for plan, target in TARGETS.items()
    ]
    sizes = {"rows": ROWS, "prompt": PROMPT, "new": NEW, "block": BLOCK, "steps_a_block": STEPS, **MODEL}
    report("caches", given, rows, sizes)


if __name__ == "__main__":
    main()
