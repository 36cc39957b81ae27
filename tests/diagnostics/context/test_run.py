"""A run asks every cell of every question once; batches, interruptions and what else is asked change no answer."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.diagnostics.context.small import CODEC, Animals, cell, same, small
from tests.toy import columns_computed
from unveil.diagnostics.context.attribution import Attribution
from unveil.diagnostics.context.cells import Record
from unveil.diagnostics.context.readings import Decoded, FirstMask
from unveil.diagnostics.context.run import measure
from unveil.models.attention import BlockCausal, Causal

MODEL = small()
SOURCES = [Animals(), Animals(name="beasts", say=">", system="note")]
MASKS = [cell(FirstMask(), masks=masks) for masks in (2, 5, 30)]
CELLS = [*MASKS, cell(Attribution()), cell(Decoded(steps=2, remasking="random"), masks=5), MASKS[0]]
LIMIT, DRAWS = 3, 2


def run(**change: Any) -> list[Record]:
    given = {"model": MODEL, "sources": SOURCES, "cells": CELLS, "draws": DRAWS, "limit": LIMIT} | change
    return measure(given.pop("model"), given.pop("sources"), given.pop("cells"), **given)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return run()


def test_every_cell_is_asked_of_every_question_once(records: list[Record]) -> None:
    asked = [(one.task, one.cell, one.draw, one.question) for one in records]
    keys = [each.key for each in CELLS[:-1]]
    assert asked == [
        (source.name, key, draw, question)
        for source in SOURCES
        for key in keys
        for draw in range(DRAWS)
        for question in range(LIMIT)
    ]
    for one in records:
        shot = SOURCES[0].questions(LIMIT)[one.question]
        assert one.label == shot.answer and set("answer correct confidence nfe".split()) <= one.found.keys()
    plain = [one for one in records if one.task == "animals" and one.cell in keys[:3]]
    assert [one.masks for one in plain] == [2] * 6 + [5] * 6 + [30] * 6
    assert [one.columns - one.masks for one in plain] == [7 * 11 + 6] * 18
    assert len({one.found["confidence"] for one in plain}) == 18


@pytest.mark.parametrize("rule", [None, Causal(), BlockCausal(size=4)], ids=["bidirectional", "causal", "blocks"])
def test_a_record_never_depends_on_its_batch(rule: Any) -> None:
    model = small(rule=rule)
    one_by_one, seven, all_at_once = (run(model=model, tokens=tokens) for tokens in (1, 7 * 114, 1 << 20))
    assert same(one_by_one, seven) and same(one_by_one, all_at_once)


def test_numbers_of_masks_share_batches_within_the_budget() -> None:
    model = small()
    counts = columns_computed(model.denoiser)
    columns = [7 * 11 + 6 + masks for masks in (2, 5, 30) for _ in range(4)]
    run(model=model, sources=SOURCES[:1], cells=MASKS, limit=4, draws=1)
    assert counts == [sum(columns)]
    counts.clear()
    run(model=model, sources=SOURCES[:1], cells=MASKS, limit=4, draws=1, tokens=600)
    assert counts == [sum(columns[:6]), sum(columns[6:11]), sum(columns[11:])]  # padded to 88, 113 and 113


def test_what_causal_rows_share_is_computed_once_in_a_batch_of_all_cells() -> None:
    model = small(rule=Causal())
    counts = columns_computed(model.denoiser)
    run(model=model, sources=SOURCES[:1], cells=MASKS, limit=4, draws=1)
    rest = sum(4 * (6 + masks) for masks in (2, 5, 30))
    assert counts == [7 * 11, rest]
    counts.clear()
    run(model=model, sources=SOURCES[:1], cells=MASKS, limit=4, draws=2, tokens=12 * 113)
    assert counts == [7 * 11, rest] * 2  # a batch has one draw's examples


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> Path:
    """The items file of a run that was not cut off."""
    items = tmp_path_factory.mktemp("run") / "items.jsonl"
    counts: list[tuple[int, int]] = []
    assert same(run(items=items, on_item=lambda *count: counts.append(count)), records)
    assert counts == [(done, len(records)) for done in range(1, len(records) + 1)]
    return items


def again(items: Path, **change: Any) -> tuple[list[Record], int]:
    """The records of a run that finds `items`, and how many it asked for."""
    counts: list[tuple[int, int]] = []
    found = run(items=items, on_item=lambda *count: counts.append(count), **change)
    return found, len(counts)


@settings(max_examples=6)
@given(share=st.floats(0, 1))
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(records: list[Record], whole: Path, share: float) -> None:
    written = whole.read_bytes()
    cut = written[: round(share * len(written))]
    items = whole.with_name("cut.jsonl")
    items.write_bytes(cut)
    counts: list[tuple[int, int]] = []
    found = run(items=items, on_item=lambda *count: counts.append(count))
    assert same(found, records) and len(counts) == len(records) - cut.count(b"\n")
    assert again(items) == (found, 0)
    assert not counts or counts[-1] == (len(records), len(records))


def test_what_was_asked_is_not_asked_again_when_more_is(records: list[Record], tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    first = {"sources": SOURCES[1:], "cells": MASKS[:2], "draws": 1, "limit": 2}
    some, asked = again(items, **first)
    assert asked == len(some) == 4
    more, asked = again(items)
    assert same(more, records) and asked == len(records) - 4
    assert again(items, **first) == (some, 0)


def test_a_task_that_changed_is_asked_again(tmp_path: Path) -> None:
    items, few = tmp_path / "items.jsonl", {"cells": MASKS[:1]}
    old, new = Animals(), Animals(system="note")  # the same name
    first, asked = again(items, sources=[old], **few)
    changed, asked_again = again(items, sources=[new], **few)
    assert asked == asked_again == len(first) and not same(first, changed)
    assert again(items, sources=[old], **few) == (first, 0) and again(items, sources=[new], **few) == (changed, 0)


@pytest.mark.parametrize(
    "other", [{"revision": "other"}, {"denoiser": small(dtype=torch.float32).denoiser}], ids=["name", "dtype"]
)
def test_a_file_of_another_model_is_refused(whole: Path, other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="items.jsonl, line 1 belongs to another model: name another file, or remove"):
        run(model=replace(MODEL, **other), items=whole)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text('{"index": 0}\n')
    with pytest.raises(ValueError, match="line 1 belongs to another model"):
        run(items=items)


def test_fresh_examples_for_each_question() -> None:
    fresh = run(draws="fresh", sources=SOURCES[:1], cells=MASKS[:1])
    fixed = run(draws=LIMIT, sources=SOURCES[:1], cells=MASKS[:1])
    assert [one.draw for one in fresh] == [one.question for one in fresh] == list(range(LIMIT))
    assert same(fresh, [one for one in fixed if one.draw == one.question])


def test_a_window_of_questions_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch, records: list[Record]) -> None:
    monkeypatch.setattr("unveil.diagnostics.context.run.WINDOW", 2)
    found = {(one.task, one.cell, one.draw, one.question): one for one in run()}
    want = [found.pop((one.task, one.cell, one.draw, one.question)) for one in records]
    assert same(want, records) and not found


def test_nothing_is_asked_where_a_later_cell_does_not_fit() -> None:
    model = small()
    counts = columns_computed(model.denoiser)
    with pytest.raises(ValueError, match="^task beasts: a prompt of 2[0-9]+ tokens, 171 of them masks, exceeds the"):
        run(model=model, cells=[*MASKS, cell(FirstMask(), masks=171)])  # "note" and line breaks are too much
    assert counts == []


@dataclass(frozen=True, kw_only=True, eq=False)
class Counting:
    """A tokenizer that counts what it is asked for."""

    texts: list[str]
    front: tuple[int, ...] = ()

    def encode(self, text: str) -> list[int]:
        self.texts.append(text)
        return CODEC.encode(text)

    def decode(self, ids: Any) -> str:
        return CODEC.decode(ids)


def test_every_text_is_tokenised_once() -> None:
    texts: list[str] = []
    run(model=replace(MODEL, tokenizer=Counting(texts=texts)), cells=MASKS)
    assert len(texts) == len(set(texts)) > 10


def test_a_chat_is_rendered_once_for_all_that_begins_with_it() -> None:
    rendered: list[str] = []

    def chat(messages: list[dict[str, str]], ask: bool) -> str:
        rendered.append("|".join(f"{m['role']}:{m['content']}" for m in messages) + "|" + "assistant:" * ask)
        return rendered[-1]

    found = run(chat=chat, cells=MASKS, draws=1)
    assert len(rendered) == len(set(rendered)) == 2 * (7 + 1 + LIMIT)  # a task: examples, the first again, questions
    plain = {one.cell: one.columns for one in run(cells=MASKS, draws=1)}
    assert all(one.columns > plain[one.cell] for one in found)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no cells": ({"cells": []}, "^no cells: give at least one$"),
    "no sources": ({"sources": []}, "^no sources: give at least one$"),
    "no questions": ({"limit": 0}, "^limit=0 is outside its range, from 1 to "),
    "no draws": ({"draws": 0}, "^draws=0 is outside its range, from 1 to "),
    "no tokens": ({"tokens": 0}, "^tokens=0 is outside its range, from 1 to "),
    "one name": ({"sources": [*SOURCES, Animals(say=">")]}, "^two sources are called animals: leave one out$"),
}


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_asked(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(**change)


def test_lines_are_json_that_names_the_run(whole: Path, records: list[Record]) -> None:
    lines = [json.loads(line) for line in whole.read_text().splitlines()]
    assert len({line["run"] for line in lines}) == 1 and len({line["prompt"] for line in lines}) > 1
    assert {(line["task"], line["cell"], line["draw"], line["question"]) for line in lines} == {
        (one.task, one.cell, one.draw, one.question) for one in records
    }
