"""Every benchmark, each in a process of its own: python benchmarks/all.py [--out FILE.json] [--threads N]."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from unveil.files import write_json

HERE = Path(__file__).resolve().parent
NAMES = (
    "loop", "reduction", "caches", "ragged", "single_row", "training", "mask_agnostic", "policy", "rounds", "evolution",
    "published_size", "loading",
)  # fmt: skip


def main() -> None:
    """Run them one after another; write all records as one JSON object where --out says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a JSON file for the results, for example benchmarks/results/cpu.json")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    records = {}
    for name in NAMES:
        print(f"== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), "--threads", str(given.threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
        shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
        *table, record = shown.splitlines()
        print("\n".join(table), flush=True)
        records[name] = json.loads(record)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.out, records)
    missed = [name for name, record in records.items() if not all(row["reached"] for row in record["rows"])]
    print(json.dumps({"reached": [name for name in NAMES if name not in missed], "missed": missed}))


if __name__ == "__main__":
    main()
