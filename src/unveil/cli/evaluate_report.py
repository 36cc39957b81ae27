"""What unveil evaluate shows and writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unveil.cli.show import err, out, plain, spaced, table, write_results

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.evaluation.result import Result


def tell(results: "Sequence[Result]") -> None:
    """The tables, and on what they were measured."""
    out().print(results_table(results))
    if results[0].compat is not None:
        out().print("", published_table(results), sep="\n")
    runs = ", ".join(result.record.run for result in results)
    out().print(plain(f"\nrun {runs}: {results[0].record.line()}"), style="dim", soft_wrap=True)


def write(results: "Sequence[Result]", path: Path | None, items: Sequence[Path | None]) -> None:
    """The results, if a file is wanted; the items are there already."""
    if path is not None:
        write_results(path, [result.to_json() for result in results])
        err().print(f"written: {plain(str(path))} and {plain(str(items[0]))}", style="dim", soft_wrap=True)


def results_table(results: "Sequence[Result]") -> "Table":
    """A line per sampler."""
    first = results[0]
    title = f"{first.task} with {first.model}: {first.n} problems, {first.num_masks} masks, seed {first.seed}"
    shown = table(
        "sampler", "correct", "95 %\ninterval", "forwards", "tokens/\nforward", "token-\nforwards", "tokens/\nsecond",
        "steps/\nblock", title=plain(title) + (f", guidance {first.guidance}" if first.guidance else ""),
    )  # fmt: skip
    for result in results:
        shown.add_row(
            spaced(result.sampler),
            f"{result.accuracy:.1%}",
            f"{100 * result.ci_low:.1f}-{100 * result.ci_high:.1f}",
            f"{result.nfe_mean:.2f}",
            f"{result.tokens_per_forward:.2f}",
            f"{result.token_forwards:,.0f}",
            f"{result.tokens_per_second:,.0f}",
            f"{'-' if result.steps is None else result.steps}/{result.block}",
        )
    return shown


def published_table(results: "Sequence[Result]") -> "Table":
    """The same answers by the published rule, a line per sampler."""
    shown = table("sampler", "correct", "95 %\ninterval", "<remarks", title="By the published rule")
    for result in results:
        assert result.compat is not None and result.compat_low is not None and result.compat_high is not None
        remarks = ", ".join(f"{remark} {count}" for remark, count in result.remarks.items())
        interval = f"{100 * result.compat_low:.1f}-{100 * result.compat_high:.1f}"
        shown.add_row(spaced(result.sampler), f"{result.compat:.1%}", interval, plain(remarks) or "-")
    return shown
