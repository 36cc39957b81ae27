"""The report: a card of findings, and of each probe a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unveil.diagnostics.context.cells import Record
from unveil.diagnostics.context.few_shot.shots import FewShot
from unveil.diagnostics.context.probes import Probe
from unveil.diagnostics.context.tables import Finding, Table, how
from unveil.terminal import plain, rendered, table

if TYPE_CHECKING:
    from rich.table import Table as RichTable



@dataclass(frozen=True, kw_only=True)
class Report:
    """What the probes found of a model. Its texts may be anybody's: pages escape them."""

    model: str
    revision: str
    how: str  # masks, steps, rule, format
    settings: Mapping[str, Any]  # JSON types: what else is needed to repeat it
    example: str  # a prompt, in plain text and cut short
    chance: Mapping[str, float | None]  # by name of the probe: accuracy of a guess, None where tasks differ in it
    probes: Sequence[Probe]
    tables: Mapping[str, Table]  # by name of the probe
    card: Mapping[str, Sequence[Finding]]  # by name of the probe

    def __str__(self) -> str:
        return rendered(card_table(self), plain(self.how))

    def to_json(self) -> dict[str, Any]:
        """Everything but the example, as JSON types."""
        return {
            "model": self.model,
            "revision": self.revision,
            "how": self.how,
            "settings": dict(self.settings),
            "chance": dict(self.chance),
            "probes": {probe.name: repr(probe) for probe in self.probes},
            "card": [{"probe": name, **found.to_json()} for name, of in self.card.items() for found in of],
            "tables": dict(self.tables),
        }


def report_of(
    probes: Sequence[Probe],
    records: Sequence[Record],
    sources: Sequence[FewShot],
    *,
    model: str,
    revision: str,
    settings: Mapping[str, Any],
    chat: bool = False,
) -> Report:
    """Tables and card of the records of all cells of the probes; `sources` are what probes without their own ask."""
    asked = {probe.name: probe.sources(sources) for probe in probes}
    names = {name: {source.name for source in mine} for name, mine in asked.items()}
    mine = {name: [record for record in records if record.task in known] for name, known in names.items()}
    return Report(
        model=model,
        revision=revision,
        how=how([point.cell for probe in probes for point in probe.points()], chat=chat),
        settings=settings,
        example=_example(asked[probes[0].name][0], probes[0]),
        chance={name: _chance(asking) for name, asking in asked.items()},
        probes=probes,
        tables={probe.name: probe.table(mine[probe.name], _labels(asked[probe.name])) for probe in probes},
        card={probe.name: probe.findings(mine[probe.name]) for probe in probes},
    )


def _labels(sources: Sequence[FewShot]) -> list[str]:
    return list(dict.fromkeys(label for source in sources for label in source.labels))


def _chance(sources: Sequence[FewShot]) -> float | None:
    guesses = {1 / len(source.labels) for source in sources}
    return guesses.pop() if len(guesses) == 1 else None


def _example(source: FewShot, probe: Probe) -> str:
    """The system text, a useful example, a distracting one and the question."""
    groups = source.shots(probe.layout.relevant, probe.layout.distractors, 0)
    shots = "".join(shot.question + shot.answer + shot.ending for group in groups for shot in group[:1])
    (question,) = source.questions(1)
    system = f"{source.system}\n\n" if source.system else ""
    return f"{system}{shots}{question.question}[MASK][MASK]..."


def card_table(report: Report) -> "RichTable":
    """The report card, a line a finding."""
    shown = table(
        "probe", "<what", "value", "95 %\ninterval", "questions", "tasks",
        title=plain(f"How {report.model} reads its context"),
    )  # fmt: skip
    for name, findings in report.card.items():
        for finding in findings:
            shown.add_row(name, finding.name, *finding.shown, str(finding.test_points), str(finding.tasks))
    return shown
