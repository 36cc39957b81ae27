"""A trace prints a line for each forward, and its page is that of the recording, wherever it comes from."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.toy import PROMPTS, blank, toy
from unveil.diagnostics.steps.trace import Trace, forwards, forwards_table, summary, trace_page
from unveil.sampling import recipes
from unveil.sampling.trajectory import Trajectory


def recorded(rows: int) -> Trajectory:
    """Tokens that return to [MASK], in rows that differ."""
    sampler = recipes.remdm(8, steps=6, eta=0.3)
    with torch.no_grad():
        steps = sampler.stream(toy(gain=0.5), blank(PROMPTS[:rows], 8, seed=list(range(1, rows + 1))))
        return Trajectory.record(steps, sampler)


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace(trajectory=recorded(3))


def lines_of(text: str) -> list[list[str]]:
    """The cells of the lines that stand for a forward."""
    return [line.split() for line in text.splitlines() if re.match(r" *\d+ +\d+ +\d", line)]


def test_it_prints_every_forward_of_every_row(trace: Trace) -> None:
    trajectory = trace.trajectory
    head, *parts = str(trace).split("row ")
    assert head == "" and [part[0] for part in parts] == ["0", "1", "2"]
    assert str(trace).endswith(trajectory.sampler)
    for row, part in enumerate(parts):
        lines, spent = lines_of(part), forwards(trajectory, row)
        assert summary(trajectory, row) in part and len(lines) == spent
        for step, (number, *counts, each, sure) in enumerate(lines):
            choices = {name: trajectory.choices[name][step, row] for name in ("unmask", "revise", "remask")}
            revised = trajectory.revised[step, row]
            assert [int(number), *map(int, counts)] == [
                step + 1, int(choices["unmask"].sum()), int(revised.sum()), int(choices["remask"].sum())
            ]  # fmt: skip
            canvas = trajectory.canvas(step + 1)
            done = int(trajectory.canvas(0).num_undecided[row] - canvas.num_undecided[row])
            assert each == f"{done / (step + 1):.2f}"
            written = canvas.confidence[row, choices["unmask"] | choices["revise"]]
            assert sure == (f"{float(written.mean()):.3f}" if len(written) else "-")


def test_one_row_needs_no_title() -> None:
    alone = Trace(trajectory=recorded(1))
    table, line, sampler = alone.tables()
    assert "row" not in str(alone) and (line, sampler) == (summary(alone.trajectory, 0), alone.trajectory.sampler)
    assert table.row_count == forwards_table(alone.trajectory, 0).row_count == forwards(alone.trajectory, 0)


def test_what_a_file_holds_is_the_same_trace(trace: Trace, tmp_path: Path) -> None:
    trace.trajectory.save(tmp_path / "a.trace")
    loaded = Trace.load(tmp_path / "a.trace")
    assert str(loaded) == str(trace) and loaded.page() == trace.page() == trace_page(trace.trajectory)


def test_the_page_is_written_whole_or_not_at_all(trace: Trace, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text("older")
    trace.write_page(page)
    assert page.read_text("utf-8") == trace.page() and [path.name for path in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(OSError, match="Make the folder .* first, or name another file"):
        trace.write_page(tmp_path / "no" / "a.html")


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="is a safetensors file but no trajectory"):
        Trace.load(tmp_path / "other")
    with pytest.raises(ValueError, match="is not a whole trajectory file .* record it again"):
        Trace.load(tmp_path / "absent")


def test_a_recording_cannot_command_the_terminal() -> None:
    wild = Trace(trajectory=replace(recorded(1), sampler="\x1b[2J\u202e[bold]x"))
    assert str(wild).endswith("\ufffd[2J\ufffd[bold]x") and "\x1b" not in str(wild) and "\u202e" not in wild.page()
