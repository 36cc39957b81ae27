"""Memory while a checkpoint is loaded on a CPU: 1.1 GB of bfloat16 in LLaDA's layout and four shards, random weights.

Each case is loaded by a program of its own, and this one reads that program's memory from Linux's /proc every two
milliseconds. `anonymous` is the most that it held and no file backs, beyond what it held when all was imported;
`share` is that over the bytes of the loaded weights. `mapped` are pages of files: weights that stay as stored are not
copied but used from the file, whose pages the system may drop and read again; `share` is nearly zero then.
"""

import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from select import select
from statistics import median
from typing import Any

import torch
from _measure import arguments, random_model, report

from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.quantise import packing
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint

MODEL = {"vocabulary": 126464, "width": 1024, "layers": 20, "heads": 8, "head_width": 128, "feed": 3072, "columns": 64}
SHARD, EVERY, TARGET = "300MB", 0.002, 1.1
CASES: dict[str, tuple[torch.dtype | None, int | None]] = {
    "bfloat16, as stored": (None, None),
    "float32": (torch.float32, None),
    "float16": (torch.float16, None),
    "8 bits, bfloat16": (None, 8),
    "4 bits, bfloat16": (None, 4),
}


def load(folder: Path, case: str) -> None:
    """In a program of its own: load when told so, and say how many bytes the weights are."""
    dtype, bits = CASES[case]
    torch.set_num_threads(1)
    changes = [] if bits is None else [packing(bits)]
    print("ready", flush=True)
    sys.stdin.readline()
    model = load_checkpoint(Folder(folder), dtype=dtype, changes=changes)
    print(sum(x.numel() * x.element_size() for x in chain(model.parameters(), model.buffers())), flush=True)
    sys.stdin.readline()


def pages(program: int) -> tuple[int, int]:
    """Bytes of memory that no file backs, and of files' pages."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{program}/status").read_text().splitlines())
    anonymous, mapped = (int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return anonymous, mapped


def measured(folder: Path, case: str) -> tuple[int, int, int, float]:
    """Bytes of the weights, peaks of anonymous and mapped memory beyond what was held before, and seconds."""
    command = [sys.executable, __file__, "load", str(folder), case]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as program:
        assert program.stdin is not None and program.stdout is not None
        program.stdout.readline()
        before, most = pages(program.pid), (0, 0)
        began = time.perf_counter()
        program.stdin.write("now\n")
        ended = False
        while not ended:
            ended = bool(select([program.stdout], [], [], EVERY)[0])
            held = pages(program.pid)
            most = max(most[0], held[0] - before[0]), max(most[1], held[1] - before[1])
        seconds = time.perf_counter() - began
        weights = int(program.stdout.readline())
        program.stdin.write("end\n")
    return weights, *most, seconds


def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=3)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(random_model(**MODEL), folder, LLADA, dtype=torch.bfloat16, shard=SHARD)
        for case in CASES:
            runs = [measured(folder, case) for _ in range(given.repeat)]
            weights, share = runs[0][0], max(run[1] for run in runs) / runs[0][0]
            rows.append(
                {
                    "loaded as": case,
                    "weights MB": weights / 1e6,
                    "anonymous MB": max(run[1] for run in runs) / 1e6,
                    "mapped MB": max(run[2] for run in runs) / 1e6,
                    "seconds": median(run[3] for run in runs),
                    "share": share,
                    "target": TARGET,
                    "reached": share <= TARGET,
                }
            )
    report("loading", given, rows, {**MODEL, "shard": SHARD})


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        load(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
