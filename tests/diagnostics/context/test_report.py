"""The report: everything the probes found is in its files, and nothing in them is taken for markup."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tests.diagnostics.context.made_up import LETTERS, OTHER, records_of
from tests.diagnostics.context.small import Animals
from unveil.diagnostics.context.page import html_page, markdown_page, rows_of, write_report
from unveil.diagnostics.context.plots import plot
from unveil.diagnostics.context.probes import OverMasks, Probe, kinds, probe
from unveil.diagnostics.context.probes.appended import Masks
from unveil.diagnostics.context.probes.placement import Orders
from unveil.diagnostics.context.report import Report, report_of

HOSTILE = "<script>alert(1)</script> [x](javascript:y) `|` {{1}}\n# no"
SOURCE = Animals(say="=&<b>", system="Be & be.")


def quick(name: str) -> Probe:
    """With a few points."""
    found = probe(name)
    if isinstance(found, Orders):
        return replace(found, orders=2)
    return replace(found, grid=(2, 200)) if isinstance(found, OverMasks) else found


PROBES = tuple(kinds())
ALL = [quick(name) for name in PROBES]
SOURCES = [replace(SOURCE, name=f"T{number:02}") for number in range(1, 5)]
RECORDS = records_of([found for found in ALL if not found.own])
for one in (found for found in ALL if found.own):
    RECORDS += records_of([one], tasks=[source.name for source in one.sources(SOURCES)])


@pytest.fixture(scope="module")
def report() -> Report:
    """All probes of a made-up model."""
    settings = {"tasks": {"T01": "choose <b>"}, "limit": 10, "draws": "fresh"}
    return report_of(ALL, RECORDS, SOURCES, model=HOSTILE, revision="abc", settings=settings)


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its files."""
    folder = tmp_path_factory.mktemp("report")
    assert write_report(report, folder) == folder / "report.html"
    return folder


def test_every_file_is_there_and_no_other(folder: Path) -> None:
    names = {"report.html", "report.md", "report.json"} | {
        f"{name}.{kind}" for name in PROBES for kind in ("png", "csv")
    }
    assert {path.name for path in folder.iterdir()} == names


def test_the_page_explains_and_shows_every_probe(folder: Path) -> None:
    page = (folder / "report.html").read_text("utf-8")
    text = page.replace("&#x27;", "'")
    for found in ALL:
        assert found.title in text and found.varied in text and found.shows in text and found.source in text
    assert page.count('<img alt="') == page.count('src="data:image/png;base64,') == len(ALL)
    own = sum(found.own for found in ALL)
    assert text.count("A guess is right in 33 %.") == len(ALL) - own and text.count("A guess is right in 50 %.") == own
    assert "Masks: 2, 50, 200, 5 % of the input, 10 % of the input" in text


def test_pages_name_the_paper_once_and_its_figures(folder: Path) -> None:
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text("utf-8").replace("&#x27;", "'")
        assert text.count("arXiv 2511.21338") == 1
        assert all(f"paper's {found.source}" in text for found in ALL if found.source)
        told = re.sub(r"data:image/png;base64,[^\"]*", "", text)
        assert not re.search(r"\bE\d+\b", told), "the paper does not count its experiments"


def test_the_page_needs_no_other_file(folder: Path) -> None:
    page = (folder / "report.html").read_text("utf-8")
    named = re.findall(r'\b(?:src|href)="([^"]*)"', page)
    assert len(named) == len(ALL) and all(name.startswith("data:image/png;base64,") for name in named)
    assert "default-src 'none'" in page


def test_texts_of_others_are_escaped(folder: Path, report: Report) -> None:
    page = (folder / "report.html").read_text("utf-8")
    assert (
        "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        and "choose &lt;b&gt;" in page
        and "<pre>Be &amp; be.\n\n=&amp;&lt;b&gt;" in page
    )
    tags = set(re.findall(r"<(\w+)", page))
    plain = html_page(replace(report, model="plain", settings={}, example=""), dict.fromkeys(PROBES, b""))
    assert tags == set(re.findall(r"<(\w+)", plain))
    assert OTHER not in page, "what a model says is counted, never shown"


def test_markdown_takes_nothing_for_markup(report: Report) -> None:
    page = markdown_page(report)
    assert page.startswith(
        "# How \\<script\\>alert(1)\\</script\\> \\[x\\](javascript:y) \\`\\|\\` \\{\\{1\\}\\} \\# no reads"
    )
    indented = [line for line in page.splitlines() if line.startswith("    ")]
    assert any("=&<b>" in line for line in indented) and "=&<b>" not in page.replace("\n".join(indented), "")
    for found in ALL:
        assert f"]({found.name}.png)" in page and f"]({found.name}.csv)" in page


def test_markdown_tables_are_whole(report: Report) -> None:
    lines = markdown_page(report).splitlines()
    tables = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    whole = [table.splitlines() for table in map(str.strip, tables) if table]
    assert len(whole) == len(ALL) - 1, "the card and all tables but the long two of gradients"
    for table in whole:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1 and table[1].startswith("|---")


def test_json_holds_the_card_the_tables_and_the_settings(folder: Path, report: Report) -> None:
    told = json.loads((folder / "report.json").read_text("utf-8"))
    assert told == json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told["model"] == HOSTILE and told["revision"] == "abc" and told["settings"]["limit"] == 10
    assert told["tables"].keys() == told["probes"].keys() == set(PROBES)
    slope = next(found for found in told["card"] if found["name"] == "locality slope")
    (expected,) = quick("position").findings(RECORDS)
    assert slope == {"probe": "position", **expected.to_json()} and slope["low"] < slope["value"] < slope["high"]


@pytest.mark.parametrize("found", ALL, ids=PROBES)
def test_the_csv_is_the_table(found: Probe, folder: Path) -> None:
    with open(folder / f"{found.name}.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    sources = found.sources(SOURCES)
    mine = [record for record in RECORDS if record.task in {source.name for source in sources}]
    table = found.table(mine, sources[0].labels)
    assert lines == [{name: "" if value is None else str(value) for name, value in line.items()} for line in table]


@pytest.mark.parametrize("name", PROBES)
def test_a_picture_is_drawn(name: str, folder: Path) -> None:
    picture = imread(folder / f"{name}.png")
    assert picture.shape[0] > 500 and picture.shape[1] > 900
    assert len(np.unique((picture[::3, ::3] * 255).astype(np.uint8).reshape(-1, 4), axis=0)) > 20


def test_a_single_task_and_a_single_question_are_enough(tmp_path: Path) -> None:
    for found in (Masks(grid=(2, 50)), quick("gradients"), quick("gradients-infill"), quick("confidence")):
        table = found.table(records_of([found], tasks=1, questions=1), LETTERS)
        plot(found, table, tmp_path / "a.png")
        assert (tmp_path / "a.png").stat().st_size > 1000
        rows_of(table)


def test_tables_are_rounded_to_be_read() -> None:
    table = Masks(grid=(2, 50)).table(records_of([Masks(grid=(2, 50))], tasks=1), LETTERS)
    header, *rows = rows_of(table)
    line = dict(zip(header, rows[0], strict=True))
    assert line["x"] == "2" and line["95 % over tasks"] == "-" and line["questions"] == "10" and line["masks"] == "2"
    assert line["right, %"] == f"{100 * table[0]['accuracy']:.1f}" and line["entropy, nats"] == "1.1"
    assert line["95 % over questions"] == f"{100 * table[0]['point_low']:.1f} to {100 * table[0]['point_high']:.1f}"
    assert {"says A, %", "says other, %", "confidence, %"} <= line.keys()


def test_a_guess_is_told_only_where_it_is_one() -> None:
    sources = [SOURCES[0], replace(SOURCES[1], labels=("A", "B"))]
    found = [Masks(grid=(2, 50))]
    report = report_of(found, records_of(found), sources, model="m", revision="r", settings={})
    assert report.chance == {"masks": None} and "A guess" not in markdown_page(report)


def test_no_folder_is_said(report: Report, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Make the folder .* first, or name another file"):
        write_report(replace(report, probes=ALL[:1]), tmp_path / "none")
