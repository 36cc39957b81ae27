"""Every cell asked of every source's questions. Answers are kept line by line: a run that was cut off goes on."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from unveil.decoding.model import Model
from unveil.diagnostics.context.cells import Cell, Reading, Record
from unveil.diagnostics.context.few_shot.shots import FewShot
from unveil.diagnostics.context.rows import ChatTemplate, Encode, Row, row
from unveil.files import append_line, read_jsonl
from unveil.legal import OPTIONS, check
from unveil.models.attention import Bidirectional

WINDOW = 32  # questions whose rows, of all cells, are in memory together
TEXTS, CHATS = 1 << 16, 1 << 12  # how many are remembered


class Key(NamedTuple):
    """What was asked; an answer to it is not asked for again."""

    task: str
    draw: int
    question: int
    cell: str
    prompt: str  # a digest: the source's data or settings and the chat may have changed


class Asked(NamedTuple):
    """A question in a cell."""

    record: Record  # nothing found yet
    reading: Reading
    row: Row

    @property
    def key(self) -> Key:
        """Of the answer."""
        digest = hashlib.sha256(json.dumps([self.row.ids, self.row.label]).encode()).hexdigest()[:16]
        return Key(self.record.task, self.record.draw, self.record.question, self.record.cell, digest)


Ask = Callable[[Cell, int, int], Asked]  # of a cell, a draw and a question


def measure(
    model: Model,
    sources: Sequence[FewShot],
    cells: Sequence[Cell],
    *,
    draws: int | Literal["fresh"] = 1,
    limit: int = 50,
    chat: ChatTemplate | None = None,
    tokens: int = 16384,
    items: Path | None = None,
    on_item: Callable[[int, int], None] | None = None,
) -> list[Record]:
    """The first `limit` questions of each source in each of the cells, equal cells once, for each draw of examples.

    `draws` examples are drawn for all questions, or fresh ones for each. A batch has at most `tokens` columns, padding
    included, or one row; no row depends on its batch. `items` is a JSON-lines file with a line for each answer; what it
    has is not asked for again, whatever was added. `on_item(done, total)` is called as answers come. ValueError for
    nothing to ask, sources of one name, an items file of another model, and, before anything is asked, where a source's
    first question does not fit the model in some cell.
    """
    _check(sources, cells, draws, limit, tokens)
    cells = list({cell.key: cell for cell in cells}.values())
    windows, asks = _windows(draws, limit), _asks(model, sources, limit, chat)
    for ask, cell in product(asks, cells):
        ask(cell, *windows[0][0])
    run = _run_id(model)
    known = _known(items, run)
    records: list[Record] = []
    for ask, window in product(asks, windows):
        asked = {one.key: one for one in (ask(cell, *pair) for cell, pair in product(cells, window))}
        todo = [(key, one) for key, one in asked.items() if key not in known]
        done = len(records) + len(asked) - len(todo)
        for number, (key, record) in enumerate(_answers(model, todo, tokens), done + 1):
            known[key] = record.found
            if items is not None:
                append_line(items, json.dumps({"run": run, "prompt": key.prompt, **asdict(record)}))
            if on_item is not None:
                on_item(number, len(sources) * len(cells) * sum(map(len, windows)))
        records += [replace(one.record, found=known[key]) for key, one in asked.items()]
    return records


def _check(sources: Sequence[FewShot], cells: Sequence[Cell], draws: int | str, limit: int, tokens: int) -> None:
    for name, given in (("sources", sources), ("cells", cells)):
        if not given:
            raise ValueError(f"no {name}: give at least one")
    check(OPTIONS, draws=draws, limit=limit, tokens=tokens)
    names = [source.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two sources are called {min(twice)}: leave one out")


def _windows(draws: int | Literal["fresh"], limit: int) -> list[list[tuple[int, int]]]:
    """Draws and questions, a few at a time."""
    pairs = [(n, n) for n in range(limit)] if draws == "fresh" else list(product(range(draws), range(limit)))
    return [pairs[first : first + WINDOW] for first in range(0, len(pairs), WINDOW)]


def _asks(model: Model, sources: Sequence[FewShot], limit: int, chat: ChatTemplate | None) -> list[Ask]:
    encode, chat = lru_cache(TEXTS)(model.tokenizer.encode), chat and _remembered(chat)
    return [_ask(model, source, limit, chat, encode) for source in sources]


def _ask(model: Model, source: FewShot, limit: int, chat: ChatTemplate | None, encode: Encode) -> Ask:
    questions, shots = source.questions(limit), lru_cache(source.shots)

    def ask(cell: Cell, draw: int, question: int) -> Asked:
        a = cell.arrangement
        examples = shots(a.relevant, a.distractors, draw)
        made = row(model, source, examples, questions[question], a, chat=chat, encode=encode)
        record = Record(
            task=source.name, draw=draw, question=question, cell=cell.key, label=made.label, masks=made.masks,
            columns=len(made.ids), found={},
        )  # fmt: skip
        return Asked(record, cell.reading, made)

    return ask


def _remembered(chat: ChatTemplate) -> ChatTemplate:
    """The same; examples are the same for many questions, and rendered as often as there are examples."""

    @lru_cache(CHATS)
    def text(messages: tuple[tuple[str, str], ...], ask: bool) -> str:
        return chat([{"role": role, "content": content} for role, content in messages], ask)

    return lambda messages, ask: text(tuple((each["role"], each["content"]) for each in messages), ask)


def _answers(model: Model, todo: Sequence[tuple[Key, Asked]], tokens: int) -> Iterator[tuple[Key, Record]]:
    """Rows of like length together, of all cells; where attention looks back only, those with like beginnings."""
    order: Callable[[list[int]], Any] = len if isinstance(model.denoiser.outline.rule, Bidirectional) else list
    for reading in dict.fromkeys(one.reading for _, one in todo):
        mine = sorted((pair for pair in todo if pair[1].reading == reading), key=lambda pair: order(pair[1].row.ids))
        for batch in _batches(mine, tokens):
            found = reading(model, [one.row for _, one in batch])
            for (key, one), it in zip(batch, found, strict=True):
                yield key, replace(one.record, found=it)


def _batches(todo: Sequence[tuple[Key, Asked]], tokens: int) -> Iterator[list[tuple[Key, Asked]]]:
    batch: list[tuple[Key, Asked]] = []
    longest = 0
    for key, one in todo:
        longest = max(longest, len(one.row.ids))
        if batch and longest * (len(batch) + 1) > tokens:
            yield batch
            batch, longest = [], len(one.row.ids)
        batch.append((key, one))
    if batch:
        yield batch


def _run_id(model: Model) -> str:
    return hashlib.sha256(json.dumps([model.revision, str(model.dtype)]).encode()).hexdigest()[:12]


def _known(items: Path | None, run: str) -> dict[Key, dict[str, Any]]:
    if items is None or not items.exists():
        return {}
    known = {}
    for number, line in enumerate(read_jsonl(items, drop_incomplete=True), 1):
        if line.get("run") != run or not {*Key._fields, "found"} <= line.keys():
            raise ValueError(f"{items}, line {number} belongs to another model: name another file, or remove it")
        known[Key(*(line[name] for name in Key._fields))] = line["found"]
    return known
