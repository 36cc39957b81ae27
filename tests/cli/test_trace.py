"""unveil trace: the page and the table say what the recording says, and take no text of a model for markup."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.cli.program import PUZZLE, run, words_of
from tests.toy import PROMPTS, blank, toy
from unveil.canvas import DECODED, MASK, PAD, SOFT, SOFT_MASK
from unveil.diagnostics.steps.trace import (
    REMASKED,
    REVISED,
    REWRITTEN,
    UNMASKED,
    forwards,
    page_data,
    summary,
    trace_page,
)
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.picks import Above, Quota
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Gain
from unveil.sampling.trajectory import CHOICES, Trajectory
from unveil.terminal import plain

HOSTILE = "</script><img src=x onerror=alert(1)>"
TEXTS = {0: HOSTILE, 5: "\n", 6: "  ", 7: " two words ", 8: "\u202e\x1b[2J&amp;<!--", 9: "", 10: "a\u2028\n"}


def text_of(ids: list[int]) -> str:
    """Of one token, as a tokenizer's decode."""
    return TEXTS.get(ids[0], f" {ids[0]}")


def soft() -> Trajectory:
    """EvoToken's loop on three rows of different lengths."""
    sampler = Sampler(
        blocks=Blocks(size=8),
        unmask=Select(pick=Quota(steps=4)),
        revise=Select(score=Gain(), pick=Above()),
        evolve=SoftTokens(k=3, lookahead=True),
    )
    with torch.no_grad():
        steps = sampler.stream(toy(gain=0.3), blank(PROMPTS, [16, 8, 19], end_ids=(44,)))
        return Trajectory.record(steps, sampler).worded(text_of)


def hard() -> Trajectory:
    """Tokens that return to [MASK]."""
    sampler = recipes.remdm(8, steps=6, eta=0.3)
    with torch.no_grad():
        return Trajectory.record(sampler.stream(toy(gain=0.5), blank(PROMPTS, 8, seed=[1, 2, 3])), sampler)


@pytest.fixture(scope="module", params=[soft, hard], ids=["soft", "hard"])
def trajectory(request: pytest.FixtureRequest) -> Trajectory:
    return request.param()


class Page(HTMLParser):
    """Tags with their attributes, and the texts of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, text: str) -> None:
        self.texts[self.open] = self.texts.get(self.open, "") + text


def data_in(page: str) -> Any:
    return json.loads(Page(page).texts["data"])


def states_of(history: list[list[Any]], steps: int) -> Iterator[tuple[list[Any], int]]:
    """(state, event) before the first forward and after each, from the states that changed."""
    for step in range(steps + 1):
        entry = [entry for entry in history if entry[0] <= step][-1]
        yield entry[1:5], entry[5] if entry[0] == step else 0


def test_the_page_holds_the_trajectory(trajectory: Trajectory) -> None:
    data = data_in(trace_page(trajectory))
    assert data["mask"] == trajectory.mask_id and tuple(data["ends"]) == trajectory.end_ids
    assert data["sampler"] == trajectory.sampler and len(data["rows"]) == 3
    for row, told in enumerate(data["rows"]):
        steps = told["forwards"]
        assert steps == int(trajectory.canvas(-1).nfe[row]) and told["summary"] == summary(trajectory, row)
        assert len(told["columns"]) == int(trajectory.canvas(0).end[row])
        for column, history in enumerate(told["columns"]):
            for step, ((stage, token, confidence, candidates), event) in enumerate(states_of(history, steps)):
                canvas = trajectory.canvas(step)
                assert (stage, token) == (int(canvas.stage[row, column]), int(canvas.tokens[row, column]))
                assert confidence == pytest.approx(float(canvas.confidence[row, column]), abs=1e-4)
                ids, weights = canvas.soft_ids[row, column], canvas.soft_weights[row, column]
                shown = (weights != 0) & (stage in (SOFT_MASK, SOFT))
                assert [one[0] for one in candidates] == ids[shown].tolist()
                assert [one[1] for one in candidates] == pytest.approx(weights[shown].tolist(), abs=1e-4)
                assert event == event_at(trajectory, step, row, column)


def event_at(trajectory: Trajectory, step: int, row: int, column: int) -> int:
    """Said another way than the page's: from the tokens before and after."""
    if step == 0:
        return 0
    unmask, revise, remask = (bool(trajectory.choices[name][step - 1, row, column]) for name in CHOICES)
    before, after = (int(trajectory.canvas(n).tokens[row, column]) for n in (step - 1, step))
    if remask or not (revise or unmask):
        return REMASKED if remask else 0
    return UNMASKED if unmask else REVISED if before != after else REWRITTEN


def test_all_that_can_happen_happens_here() -> None:
    """Or the tests of this file show nothing."""
    rows = page_data(soft())["rows"] + page_data(hard())["rows"]
    entries = [entry for row in rows for history in row["columns"] for entry in history]
    assert {entry[5] for entry in entries} == {0, UNMASKED, REWRITTEN, REVISED, REMASKED}
    assert {entry[1] for entry in entries} == set(range(PAD)) and len({row["forwards"] for row in rows}) > 2
    assert all(any(entry[5] == REVISED and entry[0] in row["revisions"] for h in row["columns"] for entry in h)
               for row in rows if row["revisions"])  # fmt: skip


def test_summary_counts(trajectory: Trajectory) -> None:
    for row in range(3):
        masks, steps = int(trajectory.canvas(0).undecided[row].sum()), forwards(trajectory, row)
        tokens = [trajectory.canvas(step).tokens[row].tolist() for step in range(len(trajectory) + 1)]
        pairs = [pair for a, b in zip(tokens, tokens[1:], strict=False) for pair in zip(a, b, strict=True)]
        replaced = sum(a != b and trajectory.mask_id not in (a, b) for a, b in pairs)
        assert summary(trajectory, row) == (
            f"{steps} forwards, {masks} tokens, {masks / steps:.2f} tokens per forward, "
            f"{replaced} revision{'' if replaced == 1 else 's'}, {masks} [MASK]s at the start"
        )


def test_masks_that_are_left_are_said() -> None:
    stopped = replace(recipes.llada(8), max_steps=3)
    with torch.no_grad():
        recorded = Trajectory.record(stopped.stream(toy(), blank(PROMPTS[:1], 8)))
    told = "3 forwards, 3 tokens, 1.00 tokens per forward, 0 revisions, 8 [MASK]s at the start, 5 left"
    assert summary(recorded, 0) == told


def test_the_page_loads_nothing(trajectory: Trajectory) -> None:
    page = Page(trace_page(trajectory))
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in [found for _, found in page.tags]
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "base", "form", "object", "embed"), tag
        assert not {"src", "href", "action", "srcset", "style"} & attributes.keys()
        assert not any(re.search(r"https?:|//", value or "") for value in attributes.values())
    assert not re.search(r"url\(|@import|https?:", page.texts["style"])
    assert not re.search(r"fetch|import\(|XMLHttp|Socket|https?:|innerHTML|insertAdj|\beval\b", page.texts["script"])


def test_texts_of_a_model_are_no_markup() -> None:
    tame, wild = soft().worded(lambda ids: "a"), soft()
    page = trace_page(replace(wild, sampler=HOSTILE))
    assert Page(page).tags == Page(trace_page(tame)).tags and page.isascii()
    assert "<img" not in page and "onerror" in page and page.lower().count("</script") == 2
    data = data_in(page)
    assert data["texts"]["0"] == data["sampler"] == HOSTILE and data["texts"]["8"] == "\ufffd\ufffd[2J&amp;<!--"


@given(st.text(st.characters()))
def test_any_text_comes_back(text: str) -> None:
    one = replace(ONE, texts={1: text})
    page = trace_page(one)
    assert data_in(page)["texts"] == {"1": plain(text)} and page.isascii()
    assert not set("<>&") & set(Page(page).texts["data"])


with torch.no_grad():
    ONE = Trajectory.record(recipes.llada(1).stream(toy(), blank([[1]], 1)))


def test_a_confidence_that_is_no_number_is_none() -> None:
    broken = replace(ONE, fields=ONE.fields | {"confidence": torch.full_like(ONE.fields["confidence"], float("nan"))})
    assert data_in(trace_page(broken))["rows"][0]["columns"][0][0][3] is None


def test_an_event_that_changes_nothing_is_told() -> None:
    again = replace(ONE, choices=ONE.choices | {"revise": torch.ones_like(ONE.choices["revise"])})
    before, after = page_data(again)["rows"][0]["columns"][0]
    assert (before[0], after[0]) == (0, 1) and before[1:5] == after[1:5] and after[5] == REWRITTEN


# The script of the page, under Node: the least of a browser's DOM that it needs.
DOM = """
const named = {}, timers = [];
class Element {
  constructor(tag) { Object.assign(this, {tagName: tag.toUpperCase(), children: [], style: {}, heard: {}, of: {}}); }
  set innerHTML(text) { throw Error("markup"); }
  append(...more) {
    if (!more.every(one => one instanceof Element)) throw Error("text");
    this.children.push(...more);
  }
  replaceChildren(...more) { this.children = []; this.append(...more); }
  get lastChild() { return this.children.at(-1); }
  setAttribute(name, value) { this.of[name] = value; }
  addEventListener(name, act) { (this.heard[name] ||= []).push(act); }
  fire(name, more = {}) { for (const act of this.heard[name] || []) act({target: this, preventDefault() {}, ...more}); }
}
const document = new Element("document");
document.createElement = tag => new Element(tag);
document.getElementById = name => named[name];
for (const [name, tag] of Object.entries(IDS)) named[name] = new Element(tag);
named.data.textContent = DATA;
const setInterval = act => timers.push(act), clearInterval = number => { if (number) timers[number - 1] = () => {}; };
const press = (key, target = named.canvas) => document.fire("keydown", {key, target});
const cellsNow = () => named.canvas.children.filter(one => one.tagName === "SPAN").map(box => ({
  kind: box.className, text: box.children[0].textContent, sign: box.children[1].textContent,
  sure: box.children[2].style.width, small: box.children[3].textContent, current: box.of["aria-current"]}));
const linesNow = () => named.history.children.map(
  line => [line.className, ...line.children.map(cell => cell.textContent)]);
const breaks = () => named.canvas.children.filter(one => one.tagName === "BR").map(one => !one.hidden);
"""


def in_node(page: str, script: str) -> Any:
    """What `script` prints, after the script of the page."""
    if shutil.which("node") is None:
        pytest.skip("needs node, which runs the script of the page: it is not installed")
    parsed = Page(page)
    ids = {attributes["id"]: tag for tag, attributes in parsed.tags if "id" in attributes}
    head = f"const IDS = {json.dumps(ids)}, DATA = {json.dumps(parsed.texts['data'])};"
    code = head + DOM + parsed.texts["script"].replace('"use strict";', "") + script
    done = subprocess.run(["node", "-"], input=code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_script_shows_every_forward_of_every_row(trajectory: Trajectory) -> None:
    script = """
    const shown = data.rows.map((_, number) => {
      named.row.fire("change", {target: {value: String(number)}});
      const frames = [cellsNow()];
      for (let i = 0; i < row.forwards + 2; i++) { press("ArrowRight"); if (i < row.forwards) frames.push(cellsNow()); }
      return {frames, last: step, max: named.slider.max, status: named.status.textContent};
    });
    console.log(JSON.stringify(shown));"""
    rows = in_node(trace_page(trajectory), script)
    signs = {0: "", UNMASKED: "+", REWRITTEN: "", REVISED: "↻", REMASKED: "−"}
    for row, shown in enumerate(rows):
        steps = forwards(trajectory, row)
        assert (len(shown["frames"]), shown["last"], shown["max"]) == (steps + 1, steps, steps)
        assert shown["status"].startswith(f"forward {steps} of {steps}, ") and ", 0 masks left" in shown["status"]
        for step, cells in enumerate(shown["frames"]):
            canvas = trajectory.canvas(step)
            assert len(cells) == int(canvas.end[row])
            for column, cell in enumerate(cells):
                stage, event = int(canvas.stage[row, column]), event_at(trajectory, step, row, column)
                assert cell["kind"] == f"cell stage{stage} event{event}" and cell["sign"] == signs[event]
                assert (cell["small"] != "") == (stage in (SOFT_MASK, SOFT))
                sure = float(canvas.confidence[row, column]) if stage in (SOFT, DECODED) else 0
                assert float(cell["sure"].removesuffix("%")) == pytest.approx(100 * sure, abs=0.01)
                if stage not in (MASK, SOFT_MASK):
                    assert cell["text"] == face(trajectory, int(canvas.tokens[row, column]))


def face(trajectory: Trajectory, token: int) -> str:
    """How the page shows a token."""
    if token in trajectory.end_ids:
        return "∎"
    known = {5: "↵", 6: "␣␣", 7: "␣two words␣", 8: "\ufffd\ufffd[2J&amp;<!--", 9: "#9", 10: "a\u2028↵"}
    return known.get(token, TEXTS.get(token, f"␣{token}")) if trajectory.texts else f"#{token}"


def test_a_position_opens_by_click_and_by_focus() -> None:
    trajectory = soft()
    script = """
    const opened = [];
    for (const [event, number] of [["click", 7], ["focus", 9]]) {
      press("ArrowRight");
      named.canvas.children.filter(one => one.tagName === "SPAN")[number].fire(event);
      opened.push([named.title.textContent, step, linesNow(), cellsNow().map(cell => cell.current)]);
    }
    const closed = () => [named.title.textContent, named.history.hidden];
    press("Escape");
    opened.push(closed());
    named.canvas.children.filter(one => one.tagName === "SPAN").at(-1).fire("click");
    named.row.fire("change", {target: {value: "1"}});  // a shorter row
    console.log(JSON.stringify([...opened, closed()]));"""
    *opened, closed, other_row = in_node(trace_page(trajectory), script)
    assert closed == other_row == ["No position chosen", True]
    for (title, step, (head, *lines), current), column in zip(opened, (7, 9), strict=True):
        history = page_data(trajectory)["rows"][0]["columns"][column]
        assert title.startswith(f"Position {column}: ") and current.index("true") == column
        assert head == ["", "forward", "stage", "token", "confidence", "candidates", "event"]
        assert [int(line[1].split("–")[0]) for line in lines] == [entry[0] for entry in history]
        assert [line[0] for line in lines].count("now") == 1
        now = next(line[1] for line in lines if line[0] == "now").split("–")
        assert int(now[0]) <= step <= int(now[-1])
        for line, (_, stage, token, confidence, candidates, event) in zip(lines, history, strict=True):
            assert line[3] == (face(trajectory, token) if stage >= SOFT else "")
            assert line[4] == (f"{confidence:.3f}" if stage in (SOFT, DECODED) else "")
            assert len(re.findall(r"0\.\d\d|1\.00", line[5])) == len(candidates)
            assert line[6].startswith(("", "unmasked", "written again", "revised: ", "masked again")[event])
            assert event != REVISED or re.fullmatch(r"revised: .+ → .+", line[6], re.S)


def test_keys_buttons_slider_and_play() -> None:
    script = """
    const told = [];
    const note = () => told.push([step, named.play.textContent]);
    named.next.fire("click"); note();
    named.slider.fire("input", {target: {value: "5"}}); note();
    named.prev.fire("click"); press("ArrowLeft"); note();
    press(" "); note(); timers.at(-1)(); note();
    press(" "); timers.at(-1)(); note();
    named.play.fire("click"); for (let i = 0; i < 20; i++) timers.at(-1)(); note();
    named.play.fire("click"); note();
    press(" ", named.play); note();
    press("ArrowRight"); note();
    press("ArrowRight", named.slider); note();
    console.log(JSON.stringify(told));"""
    assert in_node(trace_page(soft()), script) == [
        [1, "play"], [5, "play"], [3, "play"], [3, "pause"], [4, "pause"], [4, "play"], [8, "play"], [0, "pause"],
        [0, "pause"], [1, "play"], [1, "play"],
    ]  # fmt: skip


def test_line_breaks_break_and_hard_decodes_have_no_candidates() -> None:
    newline = replace(ONE, texts={token: "\n" for token in range(50)})
    assert in_node(trace_page(newline), "press('ArrowRight'); console.log(JSON.stringify(breaks()));") == [True, True]
    script = "console.log(JSON.stringify([named.listing.hidden, named.chooser.hidden, named.legend.children.length]))"
    assert in_node(trace_page(newline), script) == [True, True, 7]
    assert in_node(trace_page(soft()), script) == [False, False, 9]


# The program.


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    told = run("decode", "lab-sudoku", PUZZLE, "--trace", tmp_path / "t.trace", "--sampler", "llada:steps=10")
    assert told.code == 0 and f"see them: unveil trace {tmp_path / 't.trace'}" in told.err
    return tmp_path / "t.trace"


def test_the_table_has_a_line_for_each_forward(recorded: Path) -> None:
    told = run("trace", recorded)
    trajectory = Trajectory.load(recorded)
    lines = [line.split() for line in told.out.splitlines() if re.match(r"\d+ +\d+ +\d", line)]
    assert told.code == 0 and [line[0] for line in lines] == [str(step) for step in range(1, 11)]
    for step, line in enumerate(lines):
        chosen = trajectory.choices["unmask"][step, 0]
        mean = float(trajectory.canvas(step + 1).confidence[0][chosen].mean())
        done = 19 - int(trajectory.canvas(step + 1).num_undecided)
        assert line[1:] == [str(int(chosen.sum())), "0", "0", f"{done / (step + 1):.2f}", f"{mean:.3f}"]
    assert summary(trajectory, 0) in told.out and "Quota(steps=10" in told.out and "row 0" not in told.out


def test_the_table_counts_revisions_and_returns(tmp_path: Path, trajectory: Trajectory) -> None:
    trajectory.save(tmp_path / "t")
    out = run("trace", tmp_path / "t").out
    for row, part in enumerate(out.split("row ")[1:]):
        lines = [line.split() for line in part.splitlines()[1:] if re.match(r"\d+ +\d+ +\d", line)]
        assert part.startswith(str(row)) and len(lines) == forwards(trajectory, row)
        for place, counted in ((2, trajectory.revised), (3, trajectory.choices["remask"])):
            assert [int(line[place]) for line in lines] == counted[: len(lines), row].sum(1).tolist()
    assert trajectory.revised.any() or trajectory.choices["remask"].any()


def test_the_page_is_written_and_replaced(recorded: Path) -> None:
    page = recorded.with_name("t.html")
    page.write_text("older")
    told = run("trace", recorded, "--html", page)
    assert (told.code, told.out) == (0, "") and "10 forwards in " in told.err
    assert page.read_text() == trace_page(Trajectory.load(recorded))
    assert {path.name for path in page.parent.iterdir()} == {"t.trace", "t.html"}
    texts = data_in(page.read_text())["texts"]
    assert texts["0"] == "\n" and set(texts.values()) <= set("\n=01234") | {""}


def test_a_soft_decode_has_candidates_with_texts(tmp_path: Path) -> None:
    run("decode", "lab-sudoku", PUZZLE, "--trace", tmp_path / "t", "--sampler", "evotoken:steps=10,k=2")
    assert run("trace", tmp_path / "t", "--html", tmp_path / "p").code == 0
    data = data_in((tmp_path / "p").read_text())
    candidates = [found for history in data["rows"][0]["columns"] for entry in history for found in entry[4]]
    assert candidates and {str(token) for token, _ in candidates} <= data["texts"].keys()


def test_a_file_without_texts_shows_ids(tmp_path: Path) -> None:
    replace(soft(), texts={}).save(tmp_path / "t")
    assert run("trace", tmp_path / "t", "--html", tmp_path / "p").code == 0
    assert data_in((tmp_path / "p").read_text())["texts"] == {}


def test_files_that_are_no_trace_are_refused(recorded: Path, tmp_path: Path) -> None:
    whole = recorded.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        recorded.write_bytes(whole[:size])
        told = run("trace", recorded, "--html", tmp_path / "p")
        assert (told.code, told.out) == (2, "") and "is not a whole trajectory file (" in told.err
        assert words_of(told.err).endswith("): record it again") and "Traceback" not in told.err
    assert "is not a whole trajectory file" in run("trace", tmp_path / "absent").err
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    assert "is a safetensors file but no trajectory" in run("trace", tmp_path / "other").err
    assert not (tmp_path / "p").exists()


def test_a_page_needs_a_place_of_its_own(recorded: Path, tmp_path: Path) -> None:
    whole = recorded.read_bytes()
    assert "is the trace itself: name another file" in words_of(run("trace", recorded, "--html", recorded).err)
    assert "there is no folder" in run("trace", recorded, "--html", tmp_path / "no" / "p").err
    assert "is not an ordinary file" in run("trace", recorded, "--html", tmp_path).err
    assert recorded.read_bytes() == whole and load_file(recorded)
