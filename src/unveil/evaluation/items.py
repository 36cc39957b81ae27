"""Finished items, a line each, in files that only grow: whatever stops an evaluation, none of them is lost.

The first of several processes writes into the file itself, every other one into a file beside it. Whenever an
evaluation begins or ends, these are put into the first one: it may go on with any number of processes.
"""

import glob
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unveil.files import append_line, read_jsonl
from unveil.processes import Processes

Item = dict[str, Any]


def items_beside(results: Path, count: int) -> list[Path]:
    """The items of `count` results in one file: out.json has out.items.jsonl, or out.items.1.jsonl and so on."""
    numbers = [""] if count == 1 else [f".{number}" for number in range(1, count + 1)]
    return [results.with_name(f"{results.stem}.items{number}.jsonl") for number in numbers]


def check_file(path: Path | None, processes: Processes) -> None:
    """ValueError for several processes without a file."""
    if path is None and processes.count > 1:
        raise ValueError(f"{processes.count} processes put their items together in a file: give --json FILE")


def read_items(path: Path) -> list[Item]:
    """The items in the order of the problems, of each index the last line. Errors: as `read_jsonl`."""
    found = {item["index"]: item for item in read_jsonl(path, drop_incomplete=True)}
    return [found[index] for index in sorted(found)]


@dataclass(frozen=True, kw_only=True)
class Items:
    """The items of one evaluation, kept line by line; without a path they are only in memory."""

    path: Path | None
    run: str  # lines of another evaluation are refused
    total: int
    processes: Processes = field(default_factory=Processes)
    memory: dict[int, Item] = field(default_factory=dict)  # filled by `add`

    def __post_init__(self) -> None:
        check_file(self.path, self.processes)

    def add(self, item: Item) -> None:
        """Keep one that is finished."""
        self.memory[item["index"]] = item
        if self.path is not None:
            append_line(self.path if self.processes.main else self._part(self.processes.rank), json.dumps(item))

    def together(self) -> dict[int, Item]:
        """All that are finished, by index. Every process must call it; ValueError for items of another evaluation."""
        if self.path is None:
            return dict(self.memory)
        self.processes.wait()  # nobody writes
        if self.processes.main:
            self._collect(self.path)
        self.processes.wait()  # all is in one file
        found = self._read(self.path)
        self.processes.wait()  # everybody has read it
        return found

    def _collect(self, path: Path) -> None:
        """Put the other files into the first one; stopped in between, it is done again and adds no line twice."""
        for part in sorted(path.parent.glob(f"{glob.escape(path.stem)}.process-*.jsonl")):
            known = self._read(path)
            for index, item in self._read(part).items():
                if known.get(index) != item:
                    append_line(path, json.dumps(item))
            part.unlink()

    def _part(self, rank: int) -> Path:
        assert self.path is not None
        return self.path.with_name(f"{self.path.stem}.process-{rank}.jsonl")

    def _read(self, path: Path) -> dict[int, Item]:
        """By index, of each the last line."""
        items = read_jsonl(path, drop_incomplete=True) if path.exists() else []
        for number, item in enumerate(items, 1):
            if item.get("run") != self.run or not 0 <= item.get("index", -1) < self.total:
                raise ValueError(
                    f"{path}, line {number} belongs to another evaluation (other model, data, sampler, seed or limit): "
                    "name another file, or remove it"
                )
        return {item["index"]: item for item in items}
