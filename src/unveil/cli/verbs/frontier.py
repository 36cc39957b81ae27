"""unveil frontier: accuracy against forwards for samplers and grids of their settings; searched first, if wanted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.terminal import out, plain, speaks

if TYPE_CHECKING:
    from unveil.evaluation.frontier import Search

Samplers = Annotated[
    list[str] | None,
    typer.Option(
        "--sampler",
        metavar="SPEC",
        help=f"NAME or NAME:key=value,...; names are {', '.join(options.SAMPLERS)}. A setting may be a grid, in "
        "quotes: 'fast_dllm:threshold=0.3|0.5|0.9,block=8|32' is six samplers. Repeat the option for several.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        file_okay=False,
        help="Folder for frontier.png, .csv, .json and every item; it is made if need be. The same command, "
        "interrupted or with more samplers, goes on from the items there.",
        show_default=False,
    ),
]
Budgets = Annotated[
    list[float] | None,
    typer.Option(
        "--budget",
        metavar="N",
        **options.legal("budgets"),
        help="Also show each family's best setting with at most N forwards. Repeat the option for several.",
        show_default=False,
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW-HIGH",
        help="Forwards over which areas are taken, such as 2-32, so that they can be compared with another command's. "
        "Default: from the fastest setting to the slowest.",
        show_default=False,
    ),
]
Tune = Annotated[
    bool,
    typer.Option(
        "--tune",
        help="First search on generated validation problems, none of them a test problem: the samplers given, and "
        "fast_dllm's threshold and factor and eb_sampler's gamma with every block size. Only the efficient settings of "
        "each family go on to the test problems.",
    ),
]
TuneLimit = Annotated[
    int, typer.Option("--tune-limit", **options.legal("tune_limit"), help="How many validation problems --tune uses.")
]
TuneSeed = Annotated[int, typer.Option("--tune-seed", **options.legal("tune_seed"), help="Their seed.")]
BlockSizes = Annotated[
    str | None,
    typer.Option(
        "--blocks",
        metavar="LIST",
        help="Block sizes that --tune tries with the heuristics, such as 8,32. Default: 8, 16, 32 and so on to the "
        "whole canvas.",
        show_default=False,
    ),
]


@options.loads
def frontier(
    model: options.ModelName,
    task: options.TaskSpec,
    out_dir: Out,
    sampler: Samplers = None,
    budget: Budgets = None,
    range_: Range = None,
    tune: Tune = False,
    tune_limit: TuneLimit = 200,
    tune_seed: TuneSeed = 1,
    blocks: BlockSizes = None,
    data: options.Data = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    batch: options.Batch = 32,
    guidance: options.Guidance = 0.0,
    code: options.AllowCode = False,
    stop: options.Stops = None,
    *,
    loading: dict[str, Any],
) -> None:
    """Measure accuracy against forwards for samplers and grids: table, plot, areas, the best setting for a budget.

    Among several processes each takes its share of the problems, as in `unveil evaluate`.

    Example: unveil frontier lab-sudoku --task sudoku --sampler 'fast_dllm:threshold=0.3|0.6|0.9' --sampler
    'llada:steps=1|2|5|10' --budget 2 --out frontier
    """
    from unveil import api

    kept = f"What was done is kept in {out_dir}. The same command goes on from there."
    with keeping(kept):
        found = api.frontier(
            model, task, samplers=sampler or [], out=out_dir, budgets=budget or [], range=range_, tune=tune,
            tune_limit=tune_limit, tune_seed=tune_seed, blocks=blocks, data=data, limit=limit, seed=seed, batch=batch,
            guidance=guidance, allow_code_execution=code, stop=stop or None, on_search=_searched, **loading,
        )  # fmt: skip
    if not speaks():
        return
    for number, shown in enumerate(found.tables()):
        apart = number > 0 and not isinstance(shown, str)
        out().print(*([""] if apart else []), shown, sep="\n", soft_wrap=isinstance(shown, str))
    names = ", ".join(str(out_dir / f"frontier.{end}") for end in ("png", "csv", "json"))
    out().print(plain(f"\nwritten: {names}"), soft_wrap=True)


def _searched(search: "Search") -> None:
    from unveil.evaluation.frontier_report import search_table

    if speaks():
        out().print(search_table(search), "")
