"""A report as files: a page of HTML that needs no other file, Markdown, pictures, tables. All text is escaped."""

import csv
import re
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

from unveil.diagnostics.context.plots import plot
from unveil.diagnostics.context.probes import Probe
from unveil.diagnostics.context.report import Report
from unveil.diagnostics.context.tables import Line, Table
from unveil.files import write_json, write_text

Rows = list[list[str]]  # the first is the header

PAPER = "Piskorz et al. 2025, Masks Can Be Distracting, arXiv 2511.21338"
LONG = 40  # lines above which Markdown leaves a table to its CSV file
CARD = ("probe", "what", "value", "95 % interval", "questions", "tasks", "meaning")
NAMES = {
    "series": "line", "accuracy": "right, %", "accuracy_few": "right with few examples, %",
    "accuracy_masks": "right with most masks, %", "change": "change by masks, points", "n": "answers",
    "test_points": "questions", "confidence": "confidence, %", "entropy": "entropy, nats", "columns": "tokens",
    "nfe": "forwards", "task_low": "95 % over tasks", "point_low": "95 % over questions",
}  # fmt: skip
SHARES = {"accuracy", "accuracy_few", "accuracy_masks", "change", "confidence", "task_low", "point_low"}
STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fff; max-width: 58rem; margin: 2.5rem auto;
  padding: 0 1.2rem }
h1 { font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere } h2 { font-size: 1.25rem; margin-top: 2.8rem }
.aside { color: #666; font-size: .85rem; font-weight: normal } img { max-width: 100% }
table { border-collapse: collapse; font-size: .85rem; margin: .8rem 0; display: block; overflow-x: auto }
th { text-align: left; border-bottom: 2px solid #4477aa; vertical-align: bottom }
th, td { padding: .3rem .7rem .3rem 0 } td { border-bottom: 1px solid #e4e4e4; font-variant-numeric: tabular-nums }
.card { background: #f3f6fa; border-left: 4px solid #4477aa; padding: .2rem 1.2rem .6rem; margin: 1.2rem 0 }
pre { background: #f6f6f6; padding: .8rem 1rem; font-size: .85rem; overflow-x: auto }
summary { cursor: pointer; color: #4477aa } dt { font-weight: 600 }
dd { margin: 0 0 .4rem 1rem; overflow-wrap: anywhere }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(report: Report, folder: Path) -> Path:
    """Write report.html (which needs no other file), report.md, report.json, and a PNG and a CSV of each probe.

    Returns the path of report.html. Files of the same names are replaced. Errors: as `replacing`.
    """
    pictures = {}
    for probe in report.probes:
        picture, table = folder / f"{probe.name}.png", report.tables[probe.name]
        plot(probe, table, picture, chance=report.chance[probe.name])
        pictures[probe.name] = picture.read_bytes()
        write_text(folder / f"{probe.name}.csv", _csv(table))
    write_json(folder / "report.json", report.to_json())
    write_text(folder / "report.md", markdown_page(report))
    page = folder / "report.html"
    write_text(page, html_page(report, pictures))
    return page


def html_page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """The page; `pictures` are PNGs by name of the probe."""
    title = escape(f"How {report.model} reads its context")
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>{STYLE}</style>\n'
        f"<h1>{title}</h1>\n<p>{escape(_opening(report))}</p>\n<pre>{escape(report.example)}</pre>\n"
        f'<div class="card">\n<h2>Report card</h2>\n{_html_table(_card(report))}<p>{escape(report.how)}</p>\n</div>\n'
        + "".join(_section(report, probe, pictures[probe.name]) for probe in report.probes)
        + f"<h2>How it was measured</h2>\n<p>{escape(_intervals())}</p>\n<dl>\n"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in _settings(report))
        + "</dl>\n</html>\n"
    )


def markdown_page(report: Report) -> str:
    """The page; pictures and tables are files beside it."""
    text = [f"# {_marked(f'How {report.model} reads its context')}", _marked(_opening(report))]
    text += ["\n".join(f"    {line}" for line in report.example.splitlines()), "## Report card"]
    text += [_markdown_table(_card(report)), _marked(report.how)]
    for probe in report.probes:
        table = report.tables[probe.name]
        text += [f"## {probe.title}", f"{_explained(report, probe)} ({_source(probe)}.)"]
        text += [f"![{probe.title}]({probe.name}.png)"]
        text += [f"Numbers (x: {_marked(probe.axis)}): [{probe.name}.csv]({probe.name}.csv)"]
        text += [_markdown_table(rows_of(table))] if len(table) <= LONG else []
    text += ["## How it was measured", _marked(_intervals())]
    text += ["\n".join(f"- {_marked(name)}: {_marked(value)}" for name, value in _settings(report))]
    return "\n\n".join(text) + "\n"


def rows_of(table: Table) -> Rows:
    """A table to be read: numbers rounded, shares as percent, the ends of an interval in one cell."""
    columns = [name for name in table[0] if name != "probe" and not name.endswith("_high")]
    header = [NAMES.get(name, name.replace("says_", "says ") + ", %" * name.startswith("says_")) for name in columns]
    return [header, *([_cell(line, name) for name in columns] for line in table)]


def _cell(line: Line, name: str) -> str:
    share = "accuracy" in line and (name in SHARES or name.startswith("says_") or (name == "x" and "change" in line))
    if name.endswith("_low"):
        ends = [_number(line[end], share) for end in (name, name.replace("_low", "_high"))]
        return "-" if line[name] is None else " to ".join(ends)
    return _number(line[name], share)


def _number(value: Any, share: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{100 * value:.1f}" if share else f"{value:g}" if value == round(value) else f"{value:.3g}"
    return str(value)


def _card(report: Report) -> Rows:
    pairs = [(name, found) for name, of in report.card.items() for found in of]
    shown = [[name, f.name, *f.shown, str(f.test_points), str(f.tasks), f.meaning] for name, f in pairs]
    return [list(CARD), *shown]


def _opening(report: Report) -> str:
    return (
        f"The probes follow a paper, {PAPER}. "
        "The model answers questions whose rule is not stated: some examples in the prompt show it, others follow "
        "another rule and distract. What varies is where things stand and what follows the question; a model that "
        "reads its whole prompt, and only what matters in it, answers always alike. A useful example, a distracting "
        "one (where there are such) and a question, in plain text and cut short:"
    )


def _intervals() -> str:
    return (
        "Intervals are of 95 %. In pictures and tables: over tasks Student's, which says what other tasks might give; "
        "over questions Wilson's (Student's where it is not about right answers), which says what other questions of "
        "these tasks might give. In the report card: bootstrap over tasks and over the questions within them, with the "
        "same questions compared under all settings."
    )


def _settings(report: Report) -> list[tuple[str, str]]:
    settings = [("model", report.model), ("revision", report.revision)]
    settings += [(name, _text(value)) for name, value in report.settings.items()]
    return settings + [(f"probe {probe.name}", repr(probe)) for probe in report.probes]


def _text(value: Any) -> str:
    return "; ".join(f"{name}: {of}" for name, of in value.items()) if isinstance(value, Mapping) else str(value)


def _explained(report: Report, probe: Probe) -> str:
    chance = report.chance[probe.name]
    guess = "" if chance is None else f" A guess is right in {100 * chance:.0f} %."
    return f"{probe.varied} {probe.shows}{guess}"


def _section(report: Report, probe: Probe, picture: bytes) -> str:
    table = report.tables[probe.name]
    source = f"data:image/png;base64,{b64encode(picture).decode()}"
    aside = f"{probe.name}: {_source(probe)}"
    return (
        f'<h2>{escape(probe.title)} <span class="aside">{escape(aside)}</span></h2>\n'
        f"<p>{escape(_explained(report, probe))}</p>\n"
        f'<img alt="{escape(probe.title)}" src="{source}">\n'
        f"<details><summary>numbers (x: {escape(probe.axis)})</summary>\n{_html_table(rows_of(table))}</details>\n"
    )


def _source(probe: Probe) -> str:
    return f"the paper's {probe.source}" if probe.source else "our own"


def _html_table(rows: Rows) -> str:
    tags = ["th", *["td"] * (len(rows) - 1)]
    lines = ["".join(f"<{tag}>{escape(x)}</{tag}>" for x in row) for tag, row in zip(tags, rows, strict=True)]
    return "<table>\n" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</table>\n"


def _markdown_table(rows: Rows) -> str:
    header, *lines = (f"| {' | '.join(map(_marked, row))} |" for row in rows)
    return "\n".join([header, f"|{'---|' * len(rows[0])}", *lines])


def _marked(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&~])", r"\\\1", " ".join(text.split()))


def _csv(table: Table) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in table for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
