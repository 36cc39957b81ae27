"""What the benchmarks share: random models, interleaved timing, a table, and one JSON line at the end."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from unveil.models.transformer import Architecture, Transformer, initialise

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # tests/plain holds the plainly written loops
SEED = 0


def random_model(
    vocabulary: int, width: int, layers: int, heads: int, head_width: int, feed: int, columns: int
) -> Transformer:
    """Random weights; the last id is [MASK]."""
    architecture = Architecture(
        vocabulary=vocabulary, width=width, layers=layers, heads=heads, kv_heads=heads, head_width=head_width,
        feed_width=feed, mask_id=vocabulary - 1, max_columns=columns,
    )  # fmt: skip
    return initialise(Transformer(architecture), seed=SEED).eval()


def prompts(model: Transformer, rows: int, columns: int) -> list[list[int]]:
    """Random prompts without the mask id."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randint(model.outline.blank_id, (rows, columns), generator=generator).tolist()


def interleaved(parts: dict[str, Callable[[], object]], repeat: int) -> dict[str, list[float]]:
    """Seconds of each part in `repeat` turns, one after another in every turn, after a turn that does not count.

    With one thread it is processor time: other programs on the machine disturb it less.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(repeat + 1):
        for name, part in parts.items():
            began = clock()
            part()
            if turn:
                seconds[name].append(clock() - began)
    return seconds


def ratio(above: list[float], below: list[float]) -> float:
    """The median of the quotients within each turn: what slows the machine down for a while slows both."""
    return median(a / b for a, b in zip(above, below, strict=True))


def arguments(text: str | None, repeat: int) -> argparse.Namespace:
    """--threads, which is set, and --repeat."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=repeat, help="interleaved turns; medians are reported")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    return given


def report(name: str, given: argparse.Namespace, rows: list[dict[str, Any]], sizes: dict[str, Any]) -> None:
    """A table, and the same as one line of JSON."""
    titles = list(rows[0])
    cells = [titles, *([_cell(row[title]) for title in titles] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(titles))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    about = {"threads": given.threads, "repeat": given.repeat, "seed": SEED, "torch": torch.__version__}
    print(json.dumps({"benchmark": name, "rows": rows, "sizes": sizes, **about, "processor": platform.machine()}))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
