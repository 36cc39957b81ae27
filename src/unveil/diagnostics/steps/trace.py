"""A recorded decode, forward by forward: a table, or a page to scrub through."""

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unveil.canvas import PAD, SOFT, SOFT_MASK
from unveil.files import write_text
from unveil.sampling.trajectory import Trajectory
from unveil.terminal import plain, rendered, table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """What each forward of a decode did."""

    trajectory: Trajectory

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """What `unveil decode --trace FILE` wrote. ValueError as Trajectory.load."""
        return cls(trajectory=Trajectory.load(path))

    def tables(self) -> "list[Table | str]":
        """For each row a line a forward, and one for all of them; then the sampler."""
        shown: list[Table | str] = []
        rows = self.trajectory.fields["done"].shape[1]
        for row in range(rows):
            shown.append(forwards_table(self.trajectory, row, title=f"row {row}" if rows > 1 else None))
            shown.append(summary(self.trajectory, row))
        return [*shown, plain(self.trajectory.sampler)]

    def __str__(self) -> str:
        return rendered(*self.tables())

    def page(self) -> str:
        """One page of HTML with every position at every forward; it loads nothing."""
        return trace_page(self.trajectory)

    def write_page(self, path: Path) -> None:
        """Write the page. Errors: as `write_text`."""
        write_text(path, self.page())


def forwards_table(trajectory: Trajectory, row: int, *, title: str | None = None) -> "Table":
    """A line for each forward of a row; confidence is the mean over all that the forward wrote."""
    shown = table("forward", "unmasked", "revised", "remasked", "tokens per forward", "confidence", title=title)
    unmask, revise, remask = (trajectory.choices[name][:, row] for name in ("unmask", "revise", "remask"))
    start = trajectory.canvas(0).num_undecided[row]
    for step in range(forwards(trajectory, row)):
        canvas = trajectory.canvas(step + 1)
        written = canvas.confidence[row, unmask[step] | revise[step]]
        shown.add_row(
            str(step + 1),
            str(int(unmask[step].sum())),
            str(int(trajectory.revised[step, row].sum())),
            str(int(remask[step].sum())),
            f"{int(start - canvas.num_undecided[row]) / (step + 1):.2f}",
            f"{float(written.mean()):.3f}" if len(written) else "-",
        )
    return shown


UNMASKED, REWRITTEN, REVISED, REMASKED = 1, 2, 3, 4  # events, as the page numbers them; 0 is none
DIGITS = 4  # of a confidence or weight
ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}  # no text of a model can end the script that holds it


def trace_page(trajectory: Trajectory) -> str:
    """The page. Its data are JSON in ASCII, and its script writes them as text, never as markup."""
    data = json.dumps(page_data(trajectory), allow_nan=False, separators=(",", ":")).translate(ESCAPED)
    return Path(__file__).with_suffix(".html").read_text("utf-8").replace("{{data}}", data)


def page_data(trajectory: Trajectory) -> dict[str, Any]:
    """What the page shows; texts without characters that reorder what is read."""
    return {
        "sampler": plain(trajectory.sampler),
        "mask": trajectory.mask_id,
        "ends": list(trajectory.end_ids),
        "texts": {str(token): plain(text) for token, text in trajectory.texts.items()},
        "soft": trajectory.fields["soft_ids"].shape[-1] > 0,
        "rows": [
            {
                "summary": summary(trajectory, row),
                "forwards": forwards(trajectory, row),
                "revisions": trajectory.revised[:, row].any(1).nonzero()[:, 0].add(1).tolist(),
                "columns": _columns(trajectory, row),
            }
            for row in range(trajectory.fields["done"].shape[1])
        ],
    }


def forwards(trajectory: Trajectory, row: int) -> int:
    """How many forwards the row took part in: from then on it is done."""
    return int((~trajectory.fields["done"][:-1, row]).sum())


def summary(trajectory: Trajectory, row: int) -> str:
    """One line: forwards, tokens, revisions, masks."""
    spent, masks = forwards(trajectory, row), trajectory.canvas(0).num_undecided[row]
    left = trajectory.canvas(-1).num_undecided[row]
    tokens, revisions = int(masks - left), int(trajectory.revised[:, row].sum())
    line = f"{spent} forwards, {tokens} tokens, {tokens / max(1, spent):.2f} tokens per forward, "
    line += f"{revisions} revision{'' if revisions == 1 else 's'}"
    return f"{line}, {int(masks)} [MASK]s at the start" + (f", {int(left)} left" if left else "")


def _columns(trajectory: Trajectory, row: int) -> list[list[list[Any]]]:
    """For each column of the row its states: [since which forward, stage, token, confidence, candidates, event]."""
    steps = forwards(trajectory, row) + 1
    of = {name: value[:steps, row] for name, value in trajectory.fields.items()}
    inside = of["stage"][0] < PAD
    choices = {name: value[:, row] for name, value in trajectory.choices.items()}
    events = choices["unmask"] * UNMASKED
    for chosen, event in (
        (choices["revise"], REWRITTEN),
        (trajectory.revised[:, row], REVISED),
        (choices["remask"], REMASKED),
    ):
        events = events.masked_fill(chosen, event)
    names = ("stage", "tokens", "confidence", "soft_ids", "soft_weights")
    states = [of[name][:, inside].transpose(0, 1).tolist() for name in names]
    return [_history(*column) for column in zip(*states, events[: steps - 1, inside].T.tolist(), strict=True)]


def _history(
    stages: list[int],
    tokens: list[int],
    confidences: list[float],
    ids: list[list[int]],
    weights: list[list[float]],
    events: list[int],
) -> list[list[Any]]:
    """Only forwards that changed something or had an event have a state of their own."""
    history: list[list[Any]] = []
    states = zip(stages, tokens, confidences, ids, weights, [0, *events], strict=True)
    for step, (stage, token, confidence, soft_ids, soft_weights, event) in enumerate(states):
        mixture = zip(soft_ids, soft_weights, strict=True) if stage in (SOFT_MASK, SOFT) else ()
        candidates = [[candidate, _rounded(weight)] for candidate, weight in mixture if weight != 0]
        state = [stage, token, _rounded(confidence), candidates]
        if event or not history or history[-1][1:5] != state:
            history.append([step, *state, event])
    return history


def _rounded(value: float) -> float | None:
    return round(value, DIGITS) if isfinite(value) else None
