"""What every test shares: one thread, the benchmark data, and repeatable property tests."""
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for programs that tests start

# Timings vary on shared machines; in CI every run draws the same examples.
settings.register_profile("unveil", deadline=None)
settings.register_profile("unveil-ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("unveil-ci" if os.environ.get("CI") else "unveil")


def data_folder(named: str | None, default: Path) -> Path:
    """The benchmark data: `named` if given (a wrong name fails), else `default` (absent: skip)."""
    if named:
        if not Path(named).is_dir():
            pytest.fail(f"UNVEIL_DATA={named!r} is not a folder; unset it or name the folder with sudoku/ and parity/")
        return Path(named)
    if not default.is_dir():
        pytest.skip("needs the benchmark data: ../shared/data is absent and UNVEIL_DATA names no other folder")
    return default


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with the benchmark and parity files."""
    return data_folder(os.environ.get("UNVEIL_DATA"), ROOT.parent / "shared" / "data")
