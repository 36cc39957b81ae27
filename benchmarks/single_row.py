"""One row: our samplers against the plainly written loops of the same rules (tests/plain), to the same tokens.

The plain loop computes the whole row and every position's logits with a plainly written transformer that has the same
weights. `times` is our time divided by the loop's: below 1 we are faster.
"""

from statistics import median
from typing import Any

import torch
from _measure import arguments, interleaved, prompts, random_model, ratio, report

from tests.plain.forward import Dense
from tests.plain.loops import plain_llada, plain_threshold
from unveil.canvas import Canvas
from unveil.sampling.recipes import fast_dllm, llada

MODELS: dict[str, dict[str, int]] = {
    "width 256": {"vocabulary": 4096, "width": 256, "layers": 6, "heads": 4, "head_width": 64, "feed": 704},
    "lab": {"vocabulary": 16, "width": 128, "layers": 4, "heads": 4, "head_width": 32, "feed": 352},
}
LENGTHS = {"width 256": (64, 64), "lab": (22, 19)}  # prompt, new
BAR = 0.9


def measure(name: str, repeat: int) -> list[dict[str, Any]]:
    """Two lines of the table."""
    prompt, new = LENGTHS[name]
    model = random_model(**MODELS[name], columns=prompt + new)
    dense, ids = Dense(model), prompts(model, 1, prompt)[0]
    canvas, row = Canvas.blank([ids], new, mask_id=model.outline.blank_id), torch.tensor(ids)
    samplers = {"llada": llada(new), "threshold": fast_dllm(new, threshold=BAR)}
    loops = {
        "llada": lambda: plain_llada(dense, row, new, new, new, model.outline.blank_id),
        "threshold": lambda: plain_threshold(dense, row, new, new, BAR, model.outline.blank_id),
    }
    lines = []
    for rule, sampler in samplers.items():
        done, (tokens, forwards) = sampler.decode(model, canvas), loops[rule]()
        assert done.answer(0) == tokens.tolist() and int(done.nfe) == forwards, "not the same rule"
        decode = lambda sampler=sampler: sampler.decode(model, canvas)  # noqa: E731
        seconds = interleaved({"ours": decode, "plain": loops[rule]}, repeat)
        times = ratio(seconds["ours"], seconds["plain"])
        lines.append(
            {"model": name, "rule": rule, "forwards": forwards}
            | {f"{who}, ms a forward": 1000 * median(spent) / forwards for who, spent in seconds.items()}
            | {"times": times, "target": 1.0, "reached": times <= 1.0}
        )
    return lines


@torch.no_grad()
def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=15)
    rows = [*measure("width 256", given.repeat), *measure("lab", 4 * given.repeat)]
    report("single_row", given, rows, {"models": MODELS, "prompt, new": LENGTHS, "bar": BAR})


if __name__ == "__main__":
    main()
