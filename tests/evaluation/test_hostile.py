"""Damaged recordings and results: refused or read, never a traceback, never a hang.

UNVEIL_CASES sets how many cases each reader gets (default 12).
"""

import pytest

from tests.checkpoints.hostile import CASES, groups, tried
from tests.evaluation.hostile import READERS


@pytest.mark.slow
@pytest.mark.parametrize("readers", groups(READERS), ids="-".join)
def test_damaged_files_are_read_or_refused(readers: list[str]) -> None:
    tried("tests.evaluation.hostile", readers, CASES)
