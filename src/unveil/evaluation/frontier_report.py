"""A measured frontier as a value: tables, CSV, JSON and the picture."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unveil.decoding.spec import grid_items
from unveil.evaluation.frontier import (
    Area,
    AtBudget,
    Family,
    Measured,
    Search,
    Span,
    areas,
    at_budget,
    plotted,
    span_of,
)
from unveil.evaluation.plots import plot_frontier
from unveil.evaluation.statistics import Difference
from unveil.files import write_json, write_text
from unveil.terminal import plain, rendered, spaced, table

if TYPE_CHECKING:
    from rich.table import Table

AREA = "mean over log(forwards) of the best accuracy reached with at most so many forwards, 0 where nothing is so fast"
COLUMNS = (
    "problems", "family", "kept", "sampler", "unmask", "n", "accuracy", "ci_low", "ci_high", "nfe_mean", "num_masks",
    "block", "steps", "incomplete", "tokens_per_forward", "tokens_per_second", "seed", "batch", "model", "revision",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Frontier:
    """What was measured of each setting, on which problems, and what follows from it."""

    families: Sequence[Family]
    results: Mapping[str, Measured]  # by sampler
    test: str  # on which problems
    span: Span  # forwards over which areas are taken
    areas: Sequence[Area]  # of each family; none where all settings need the same forwards
    budgets: Sequence[AtBudget]
    search: Search | None  # where settings were searched first

    @classmethod
    def of(
        cls,
        families: Sequence[Family],
        results: Mapping[str, Measured],
        *,
        test: str,
        span: Span | None = None,
        budgets: Sequence[float] = (),
        search: Search | None = None,
    ) -> "Frontier":
        """Areas over `span` (by default from the fastest setting to the slowest), and the best within each budget."""
        grouped = {family.name: [results[spec] for spec in family.settings] for family in families}
        span = span or span_of([one.point for one in results.values()])
        by = None if search is None else {spec: one.point for spec, one in search.tried.items()}
        return cls(
            families=families,
            results=results,
            test=test,
            span=span,
            areas=areas(grouped, span) if span.low < span.high else [],
            budgets=[line for budget in budgets for line in at_budget(grouped, budget, by)],
            search=search,
        )

    def tables(self) -> "list[Table | str]":
        """A line a setting, a line a family, a line for each budget and family."""
        grouped = {family.name: [self.results[spec] for spec in family.settings] for family in self.families}
        shown: list[Table | str] = [points_table(grouped, self.test)]
        if self.areas:
            shown += [areas_table(self.areas, self.span), f"area: {AREA}"]
        if self.budgets:
            flattered = "the same problems, so a little flattered"
            chosen = flattered if self.search is None else "the validation problems"
            shown += [budgets_table(self.budgets, f"Best setting within a budget on {chosen}")]
        return shown

    def __str__(self) -> str:
        return rendered(*self.tables())

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        span = self.span
        return _about(self.families, self.results, self.test, self.search) | {
            "area": {"low": span.low, "high": span.high, "definition": AREA, "families": [*map(_area, self.areas)]},
            "budgets": [_at_budget(one) for one in self.budgets],
            "results": [_result(one) for one in self.results.values()],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write frontier.json, frontier.csv and frontier.png; numbers before pictures. Returns the paths."""
        about, paths = self.to_json(), [folder / f"frontier.{end}" for end in ("png", "csv", "json")]
        write_json(paths[2], about)
        write_text(paths[1], _csv(self.families, self.results, self.search))
        drawn = [
            one
            for family in self.families
            for one in plotted(family, [self.results[spec].result for spec in family.settings])
        ]
        title = f"{about['task']} with {about['model']}: {about['test']['n']} problems, {about['num_masks']} masks"
        plot_frontier(drawn, paths[0], title=title)
        return paths


def search_table(search: Search) -> "Table":
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


def _places(family: Family) -> str:
    """The settings of a family by what varies in it."""
    places = []
    for spec in family.settings:
        _, items = grid_items(spec)
        places.append("/".join(value for key, _, (value,) in items if key in family.varying) or spec)
    return plain("  ".join(places))


def points_table(grouped: Mapping[str, Sequence[Measured]], test: str) -> "Table":
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


def _accuracy(one: Measured) -> tuple[str, str, str]:
    low, high = 100 * one.result["ci_low"], 100 * one.result["ci_high"]
    return f"{one.point.accuracy:.1%}", f"{low:.1f}-{high:.1f}", f"{one.point.forwards:.2f}"


def rule_of(one: Measured) -> str:
    """The rule that opens masks, such as "Threshold(bar=0.9) on Confidence"."""
    return str(one.result["record"]["unmask"])


def areas_table(under: Sequence[Area], span: Span) -> "Table":
    """A line a family."""
    shown = table(
        "family", "area", "95 %\ninterval", "behind the largest, points (paired 95 %)",
        title=f"Area from {span.low:.4g} to {span.high:.4g} forwards",
    )  # fmt: skip
    for one in under:
        interval = f"{100 * one.ci_low:.1f}-{100 * one.ci_high:.1f}"
        shown.add_row(spaced(one.family), f"{one.area:.1%}", interval, _points(one.behind))
    return shown


def budgets_table(found: Sequence[AtBudget], title: str) -> "Table":
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


def _points(behind: Difference | None) -> str:
    if behind is None:
        return "-"
    mean, low, high = (round(100 * share, 1) + 0.0 for share in behind)  # no -0.0
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _about(
    families: Sequence[Family], results: Mapping[str, Measured], test: str, search: Search | None
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


def _result(one: Measured) -> dict[str, Any]:
    return {**one.result, "unmask": rule_of(one)}


def _area(one: Area) -> dict[str, Any]:
    return {**one._asdict(), "behind": None if one.behind is None else one.behind._asdict()}


def _at_budget(line: AtBudget) -> dict[str, Any]:
    names = ("sampler", "accuracy", "ci_low", "ci_high", "nfe_mean")
    best = None if line.best is None else {name: line.best.result[name] for name in names}
    behind = None if line.behind is None else line.behind._asdict()
    return {"budget": line.budget, "family": line.family, "best": best, "behind": behind}


def _csv(families: Sequence[Family], results: Mapping[str, Measured], search: Search | None) -> str:
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
