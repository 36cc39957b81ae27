"""A whole diagnosis: the probes that fit a model are asked of it, and a report is made of its answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from unveil.decoding.model import Model
from unveil.diagnostics.context.cells import Cell, Record
from unveil.diagnostics.context.few_shot.shots import FewShot
from unveil.diagnostics.context.few_shot.suite import Letters, RuleTask, rule_task, suite
from unveil.diagnostics.context.probes import Probe, chosen
from unveil.diagnostics.context.probes.elsewhere import Texts
from unveil.diagnostics.context.report import Report, report_of
from unveil.diagnostics.context.run import measure
from unveil.legal import OPTIONS, check
from unveil.settings import listed, one_of
from unveil.terminal import bars, err

ITEMS = "items.jsonl"  # in the folder of a diagnosis: a line for every answer


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is asked: probes by name, tasks by name, and how; checked against each other before a model is loaded.

    `probes`: names, or all; None for the quick ones. `tasks`: T01 to T16, None for all. `masks`: the numbers of masks
    of the probes that vary them, None for each probe's own. `limit`: questions a task. `draws`: "fresh" examples for
    each question, or so many draws for all of them. `pools`: a JSON file of words. `letters`: balanced or random, which
    is right. `hotpotqa`: the file of the probe of that name. `chat`: ask in the model's chat template.
    """

    probes: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    masks: Sequence[int] | None = None
    limit: int = 50
    draws: int | Literal["fresh"] = "fresh"
    pools: Path | None = None
    letters: str = "balanced"
    hotpotqa: Path | None = None
    chat: bool = False

    def wanted(self) -> list[Probe]:
        """The probes. ValueError for names, numbers and files that do not fit."""
        grid = None if self.masks is None else tuple(sorted({*self.masks}))
        return with_texts(chosen(self._names, grid, chat=self.chat), self.hotpotqa)

    @property
    def _names(self) -> list[str] | None:
        return None if self.probes is None else listed(self.probes)

    def sources(self) -> list[RuleTask]:
        """The tasks. ValueError as `rule_task`."""
        return tasks_of(self.tasks, self.pools, self.letters)

    def check(self) -> None:
        """ValueError for whatever can be known before a model is loaded."""
        check(OPTIONS, draws=self.draws, limit=self.limit)
        check_questions(self.wanted(), self.sources(), self.limit)

    def left_out(self, model: Model) -> list[str]:
        """The probes that say nothing of this model, for they need one that reads [MASK]."""
        fit = {one.name for one in chosen(self._names, causal=model.denoiser.outline.causal, chat=self.chat)}
        return [one.name for one in self.wanted() if one.name not in fit]

    def of(self, model: Model, *, tokens: int = 16384, items: Path | None = None) -> Report:
        """Ask the model, `tokens` columns at a time, and report; answers are kept in `items`, a JSON-lines file.

        What is in the file is not asked again; probes that are left out are told. ValueError for a chat with a model
        that has no template, and as `measure`.
        """
        left, tasks = self.left_out(model), self.sources()
        if left:
            why = "left out, for the model is causal and they need one that reads [MASK]"
            err().print(f"{why}: {', '.join(left)}", soft_wrap=True)
        probes = [one for one in self.wanted() if one.name not in left]
        if self.chat and model.chat is None:
            raise ValueError(f"{model.name} has no chat template: ask without chat")
        chat = model.chat if self.chat else None
        records = answers(model, tasks, probes, items, limit=self.limit, draws=self.draws, chat=chat, tokens=tokens)
        settings = {
            "tasks": {one.name: one.describe for one in tasks}, "limit": self.limit, "draws": self.draws,
            "letters": self.letters, "pools": str(self.pools or "shipped"), "chat": self.chat,
            "dtype": str(model.dtype).removeprefix("torch."), "device": str(model.device), "adapter": model.adapter,
            "bits": model.bits,
        }  # fmt: skip
        return report_of(
            probes, records, tasks, model=model.name, revision=model.revision, settings=settings, chat=self.chat
        )


def tasks_of(names: Sequence[str] | None, pools: Path | None, letters: str) -> list[RuleTask]:
    """The tasks of these names, each once; without names all. ValueError as `rule_task`."""
    words: Any = (None if pools is None else str(pools), one_of("letters", letters, get_args(Letters)))
    return [rule_task(name, *words) for name in dict.fromkeys(listed(names))] if names else list(suite(*words))


def with_texts(probes: Sequence[Probe], hotpotqa: Path | None) -> list[Probe]:
    """The same probes, with the file that the one on texts reads. ValueError for a file that none reads."""
    if hotpotqa is not None and not any(isinstance(probe, Texts) for probe in probes):
        raise ValueError("--hotpotqa names a file, but no probe reads it: add --probe hotpotqa")
    path = None if hotpotqa is None else str(hotpotqa)
    return [replace(probe, path=path) if isinstance(probe, Texts) else probe for probe in probes]


def check_questions(probes: Sequence[Probe], tasks: Sequence[RuleTask], limit: int) -> None:
    """ValueError, before a large model is loaded, if a probe has not so many questions or lacks what they come from."""
    for probe in probes:
        for source in probe.sources(tasks):
            source.questions(min(limit, probe.num_questions or limit))


def answers(
    model: Model, tasks: Sequence[RuleTask], probes: Sequence[Probe], items: Path | None, *, limit: int, **more: Any
) -> list[Record]:
    """The records of all cells of the probes, with a bar; cells that need fewer questions are asked fewer."""

    groups: dict[tuple[int, tuple[FewShot, ...]], dict[str, Cell]] = {}
    for probe in probes:
        cells = groups.setdefault((min(limit, probe.num_questions or limit), tuple(probe.sources(tasks))), {})
        cells.update({point.cell.key: point.cell for point in probe.points()})
    records = []
    with bars() as progress:
        for number, ((count, sources), cells) in enumerate(groups.items(), 1):
            about = f"{number}/{len(groups)} {len(cells)} settings, {count} questions a task"
            bar = progress.add_task(about, total=None)
            records += measure(
                model, sources, list(cells.values()), limit=count, items=items,
                on_item=lambda done, total, bar=bar: progress.update(bar, completed=done, total=total),  # type: ignore[misc]
                **more,
            )  # fmt: skip
            progress.remove_task(bar)
    return records
