"""What unveil frontier shows and writes: tables, the plot, CSV and JSON."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unveil.cli.show import out, plain, spaced, table

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.evaluation.frontier import Area, AtBudget, Family, Measured, Search, Span
    from unveil.evaluation.statistics import Difference

AREA = "mean over log(forwards) of the best accuracy reached with at most so many forwards, 0 where nothing is so fast"
COLUMNS = (
    "problems", "family", "kept", "sampler", "unmask", "n", "accuracy", "ci_low", "ci_high", "nfe_mean", "num_masks",
    "block", "steps", "incomplete", "tokens_per_forward", "tokens_per_second", "seed", "batch", "model", "revision",
)  # fmt: skip


def report(
    out_dir: Path,
    families: "Sequence[Family]",
    results: "Mapping[str, Measured]",
    *,
    test: str,
    span: "Span | None",
    budgets: Sequence[float],
    search: "Search | None",
) -> None:
    """Show and write what was measured; `test` says on which problems."""
    from unveil.evaluation.frontier import areas, at_budget, span_of

    grouped = {family.name: [results[spec] for spec in family.settings] for family in families}
    span = span or span_of([one.point for one in results.values()])
    under = areas(grouped, span) if span.low < span.high else []
    by = None if search is None else {spec: one.point for spec, one in search.tried.items()}
    found = [line for budget in budgets for line in at_budget(grouped, budget, by)]
    out().print(points_table(grouped, test))
    if under:
        out().print("", areas_table(under, span), f"area: {AREA}", sep="\n")
    if found:
        chosen = "the same problems, so a little flattered" if search is None else "the validation problems"
        out().print("", budgets_table(found, f"Best setting within a budget on {chosen}"), sep="\n")
    about = _about(families, results, test, search) | {
        "area": {"low": span.low, "high": span.high, "definition": AREA, "families": [_area(one) for one in under]},
        "budgets": [_at_budget(one) for one in found],
        "results": [_result(one) for one in results.values()],
    }
    _write(out_dir, about, families, results, search)


def search_table(search: "Search") -> "Table":
    """What was tried and what was kept, a line a family."""
    num_kept = len({spec for family in search.kept for spec in family.settings})
    title = (
        f"Searched: {len(search.tried)} settings on {search.num_problems} generated problems, validation split, seed "
        f"{search.seed}, none of them a test problem; the {num_kept} efficient ones go on"
    )
    shown = table("family", "<tried", "<kept", title=title)
    for family, kept in zip(search.families, search.kept, strict=True):
        tried = f"{len(family.settings)}: " + "; ".join(family.grids)
        shown.add_row(spaced(family.name), spaced(tried), f"{len(kept.settings)}: " + _places(kept))
    return shown


def _places(family: "Family") -> str:
    """The settings of a family by what varies in it."""
    from unveil.decoding.spec import grid_items

    places = []
    for spec in family.settings:
        _, items = grid_items(spec)
        places.append("/".join(value for key, _, (value,) in items if key in family.varying) or spec)
    return plain("  ".join(places))


def points_table(grouped: "Mapping[str, Sequence[Measured]]", test: str) -> "Table":
    """A line a setting, those of a family fastest first."""
    first = next(iter(grouped.values()))[0].result
    title = f"{first['task']} with {first['model']}: {test}, {first['num_masks']} masks"
    shown = table(
        "sampler", "correct", "95 %\ninterval", "forwards", "steps", "block", "<unmasks by",
        title=plain(title) + (f", guidance {first['guidance']}" if first["guidance"] else ""),
    )  # fmt: skip
    for family in grouped.values():
        for one in sorted(family, key=lambda one: one.point):
            steps = one.result["steps"]
            shown.add_row(
                spaced(one.sampler), *_accuracy(one), "-" if steps is None else str(steps), str(one.result["block"]),
                plain(rule_of(one)),
            )  # fmt: skip
    return shown


def _accuracy(one: "Measured") -> tuple[str, str, str]:
    low, high = 100 * one.result["ci_low"], 100 * one.result["ci_high"]
    return f"{one.point.accuracy:.1%}", f"{low:.1f}-{high:.1f}", f"{one.point.forwards:.2f}"


def rule_of(one: "Measured") -> str:
    """The rule that opens masks, such as "Threshold(bar=0.9) on Confidence"."""
    return str(one.result["record"]["unmask"])


def areas_table(under: "Sequence[Area]", span: "Span") -> "Table":
    """A line a family."""
    shown = table(
        "family", "area", "95 %\ninterval", "behind the largest, points (paired 95 %)",
        title=f"Area from {span.low:.4g} to {span.high:.4g} forwards",
    )  # fmt: skip
    for one in under:
        interval = f"{100 * one.ci_low:.1f}-{100 * one.ci_high:.1f}"
        shown.add_row(spaced(one.family), f"{one.area:.1%}", interval, _points(one.behind))
    return shown


def budgets_table(found: "Sequence[AtBudget]", title: str) -> "Table":
    """A line for each budget and family."""
    shown = table(
        "budget", "<family", "<best setting", "correct", "95 %\ninterval", "forwards",
        "behind the best, points (paired 95 %)", title=title,
    )  # fmt: skip
    for line in found:
        setting = (
            ("none is so fast", "", "", "") if line.best is None else (spaced(line.best.sampler), *_accuracy(line.best))
        )
        shown.add_row(f"{line.budget:g}", spaced(line.family), *setting, _points(line.behind))
    return shown


def _points(behind: "Difference | None") -> str:
    if behind is None:
        return "-"
    mean, low, high = (round(100 * share, 1) + 0.0 for share in behind)  # no -0.0
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _about(
    families: "Sequence[Family]", results: "Mapping[str, Measured]", test: str, search: "Search | None"
) -> dict[str, Any]:
    """What was compared, on what."""
    first = next(iter(results.values())).result
    told: dict[str, Any] = {name: first[name] for name in ("task", "difficulty", "model", "revision", "num_masks")}
    told["test"] = {"problems": test, "n": first["n"], "seed": first["seed"]}
    told["families"] = [family._asdict() for family in families]
    told["search"] = None
    if search is not None:
        told["search"] = {
            "problems": f"{search.num_problems} generated problems, validation split, none of them a test problem",
            "n": search.num_problems,
            "seed": search.seed,
            "tried": {family.name: family.settings for family in search.families},
            "kept": {family.name: family.settings for family in search.kept},
            "results": [_result(one) for one in search.tried.values()],
        }
    return told


def _result(one: "Measured") -> dict[str, Any]:
    return {**one.result, "unmask": rule_of(one)}


def _area(one: "Area") -> dict[str, Any]:
    return {**one._asdict(), "behind": None if one.behind is None else one.behind._asdict()}


def _at_budget(line: "AtBudget") -> dict[str, Any]:
    names = ("sampler", "accuracy", "ci_low", "ci_high", "nfe_mean")
    best = None if line.best is None else {name: line.best.result[name] for name in names}
    behind = None if line.behind is None else line.behind._asdict()
    return {"budget": line.budget, "family": line.family, "best": best, "behind": behind}


def _write(
    out_dir: Path,
    about: dict[str, Any],
    families: "Sequence[Family]",
    results: "Mapping[str, Measured]",
    search: "Search | None",
) -> None:
    """frontier.json, frontier.csv and frontier.png."""
    from unveil.evaluation.frontier import plotted
    from unveil.evaluation.frontier_plot import plot_frontier
    from unveil.files import write_json, write_text

    write_json(out_dir / "frontier.json", about)
    write_text(out_dir / "frontier.csv", _csv(families, results, search))
    drawn = [one for family in families for one in plotted(family, [results[spec].result for spec in family.settings])]
    title = f"{about['task']} with {about['model']}: {about['test']['n']} problems, {about['num_masks']} masks"
    plot_frontier(drawn, out_dir / "frontier.png", title=title)
    names = ", ".join(str(out_dir / f"frontier.{end}") for end in ("png", "csv", "json"))
    out().print(plain(f"\nwritten: {names}"), soft_wrap=True)


def _csv(families: "Sequence[Family]", results: "Mapping[str, Measured]", search: "Search | None") -> str:
    """A row a setting: those tested, then those tried on the validation problems."""
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for family in families:
        for spec in family.settings:
            rows.writerow({**_result(results[spec]), "problems": "test", "family": family.name, "kept": True})
    for family, kept in zip(search.families, search.kept, strict=True) if search else ():
        for spec in family.settings:
            more = {"problems": "validation", "family": family.name, "kept": spec in kept.settings}
            rows.writerow({**_result(search.tried[spec]), **more})  # type: ignore[union-attr]
    return text.getvalue()
