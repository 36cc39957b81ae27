"""Peak memory of the reduction from hidden states to tokens, beyond its input: 256 columns, 126,464 tokens.

`allocated` is the largest sum of what torch's allocator held at once, read from its profiler; the result is counted,
the head's weights and the hidden states are not. All logits at once would take 123 MiB, and every step more as much.
"""

from collections.abc import Callable
from functools import partial

import torch
from _measure import SEED, arguments, interleaved, report
from torch import nn
from torch.profiler import ProfilerActivity, profile

from unveil.models.denoiser import Want
from unveil.models.reduce import reduce

VOCABULARY, WIDTH, COLUMNS, TARGET = 126464, 512, 256, 64 * 1e6
WANTS = {
    "greedy": Want(forbid=(VOCABULARY - 1,)),
    "entropy": Want(forbid=(VOCABULARY - 1,), entropy=True),
    "top 2": Want(forbid=(VOCABULARY - 1,), top=2),
    "temperature 1": Want(forbid=(VOCABULARY - 1,), temperature=1.0),
    "temperature 1, entropy, top 2": Want(forbid=(VOCABULARY - 1,), temperature=1.0, entropy=True, top=2),
    "top_k 50, tempered": Want(forbid=(VOCABULARY - 1,), top_k=50, tempered=True),
    "temperature 1, top_p 0.9": Want(forbid=(VOCABULARY - 1,), temperature=1.0, top_p=0.9),
    "targets": Want(proposals=False, targets=torch.zeros(1, COLUMNS, dtype=torch.int64)),
}


def peak(part: Callable[[], object]) -> int:
    """The most bytes allocated at once while `part` ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = part()
    assert kept is not None and profiler.profiler is not None
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert events, "the profiler saw no allocation"
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@torch.no_grad()
def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=3)
    generator = torch.Generator().manual_seed(SEED)
    head = nn.Linear(WIDTH, VOCABULARY, bias=False)
    head.weight.normal_(0.0, 0.02, generator=generator)
    hidden = torch.empty(COLUMNS, WIDTH).normal_(generator=generator)
    uniforms = torch.rand(COLUMNS, dtype=torch.float64, generator=generator)
    index = torch.arange(COLUMNS)
    parts = {
        name: partial(reduce, hidden, head, want, index=index, vocabulary=VOCABULARY, uniforms=uniforms)
        for name, want in WANTS.items()
    }
    seconds = interleaved({"head alone": lambda: [head(chunk) for chunk in hidden.split(32)], **parts}, given.repeat)
    rows = [
        {
            "wanted": name,
            "allocated MB": (most := peak(part)) / 1e6,
            "seconds": sorted(seconds[name])[given.repeat // 2],
            "head alone": sorted(seconds["head alone"])[given.repeat // 2],
            "target MB": TARGET / 1e6,
            "reached": most <= TARGET,
        }
        for name, part in parts.items()
    ]
    report("reduction", given, rows, {"vocabulary": VOCABULARY, "width": WIDTH, "columns": COLUMNS})


if __name__ == "__main__":
    main()
