"""Damaged JSON of every reader of a checkpoint: refused or read, never a traceback, never a hang.

UNVEIL_CASES sets how many cases each reader gets (default 12).
"""

import pytest

from tests.checkpoints.hostile import CASES, READERS, groups, tried


@pytest.mark.slow
@pytest.mark.parametrize("readers", groups(READERS), ids="-".join)
def test_damaged_files_are_read_or_refused(readers: list[str]) -> None:
    tried("tests.checkpoints.hostile", readers, CASES)
