"""Rows of a data set from the Hugging Face hub, through `datasets`."""

from collections.abc import Iterable
from typing import Any


def hub_rows(
    name: str, *config: str, split: str, revision: str | None, called: str | None = None, extra: str = "tasks"
) -> Iterable[dict[str, Any]]:
    """All rows of a split. `called` is what errors call the set, `extra` the one of ours that brings `datasets`.

    ValueError, in one sentence, for what cannot be had.
    """
    called = called or name
    try:
        from datasets import load_dataset
    except ImportError:
        raise ValueError(
            f"{called} needs datasets: pip install 'unveil[{extra}]', or download it and give a file"
        ) from None
    rows: Iterable[dict[str, Any]]
    try:
        rows = load_dataset(name, *config, revision=revision, split=split)
    except Exception as error:  # of many kinds, also of the libraries below
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{called} could not be had from the hub ({reason}): check the name, the split and the network, "
            "or download it and give a file"
        ) from None
    return rows
