"""The library's front: what the program's verbs do, as functions with the same names and settings.

Flags are keyword arguments here. A `model` is a name, a folder, a hub repository, or a `Model` that is loaded already;
for the others, the options of `load` (device, dtype, adapter, ...) may follow. Every function returns a value that
prints as the verb's tables, and writes files only where it is told to. Raises ValueError for bad input.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from unveil.checkpoints.adapters import adapter_folder
from unveil.checkpoints.export import export as write_layout
from unveil.checkpoints.folder import Folder
from unveil.decoding.loading import Loading, load, with_loading
from unveil.decoding.model import Answer, Model
from unveil.decoding.prompt import until
from unveil.decoding.spec import read_sampler
from unveil.diagnostics.context.diagnosis import ITEMS, Diagnosis
from unveil.diagnostics.context.page import write_report
from unveil.diagnostics.context.report import Report
from unveil.diagnostics.steps.trace import Trace
from unveil.evaluation import frontier_run
from unveil.evaluation import verify as verifying
from unveil.evaluation.compare import Comparison, Grader, read_judged
from unveil.evaluation.compare import compare as compare_judged
from unveil.evaluation.frontier import families_of, span_from
from unveil.evaluation.frontier_report import Frontier
from unveil.evaluation.items import check_file, items_beside
from unveil.evaluation.plots import plot_comparison
from unveil.evaluation.result import Results
from unveil.evaluation.run import check_fit, evaluate_each
from unveil.evaluation.speed import DEFAULTS, Speeds, measure_each
from unveil.files import StrPath, check_output, held, path_of, write_json, write_text
from unveil.models.tensors import dtype_of
from unveil.processes import launched
from unveil.sampling.trajectory import Trajectory
from unveil.settings import listed
from unveil.tasks import task as named_task
from unveil.tasks.benchmarks.programs import allow_code
from unveil.tasks.task import DEFAULT_LIMIT, Task, problems_of
from unveil.terminal import speaks

__all__ = ["bench", "compare", "decode", "diagnose", "evaluate", "export", "frontier", "load", "trace", "verify"]


@with_loading
def decode(
    model: StrPath | Model,
    prompts: Sequence[str] = (),
    *,
    infill: str | None = None,
    chat: bool | None = None,
    prefix: str = "",
    stop: Sequence[str] = (),
    sampler: str = "llada",
    new_tokens: int | None = None,
    guidance: float = 0.0,
    seed: int = 0,
    batch: int = 16,
    trace: StrPath | None = None,
    **loading: Any,
) -> list[Answer]:
    """Answer or continue prompts, or fill the holes of the text `infill`; answers in the order of the prompts.

    `chat`: ask in the model's chat template, or (False) with the text alone; by default a chat where there is one.
    `trace` is a file for every canvas of the decode of one prompt; `unveil.trace` reads it.
    """
    if isinstance(prompts, str) or (infill is None) == (not prompts):
        raise ValueError("give a list of prompts, or a template to infill: one of the two")
    if trace is not None and len(prompts) > 1:
        raise ValueError(f"a trace records one prompt and there are {len(prompts)}: give one")
    check_output(trace)
    until("", stop)  # refused now, not after the first answer
    read_sampler(sampler)
    loaded = _model(model, loading, chat=chat)
    asked = [loaded.asked(text, prefix, chat=chat) for text in prompts]
    rows = loaded.canvases(asked, new_tokens=new_tokens, seed=seed) or [loaded.template(infill or "", seed=seed)]
    steps: list[Any] = []
    see = [steps.append] if trace is not None else []
    finished = [row for row, _ in loaded.in_order(rows, sampler, batch=batch, guidance=guidance, see=see)]
    if trace is not None:
        Trajectory.record(steps, loaded.sampler(sampler, rows[0])).worded(loaded.tokenizer.decode).save(Path(trace))
    if infill is not None:
        return [loaded.answer(row)._replace(text=loaded.text(row)) for row in finished]
    return [loaded.answer(row, stop) for row in finished]


@with_loading
def evaluate(
    model: StrPath | Model,
    task: str | Task,
    *,
    data: StrPath | None = None,
    samplers: Sequence[str] = ("llada",),
    limit: int | None = None,
    seed: int = 0,
    batch: int = 32,
    guidance: float = 0.0,
    allow_code_execution: bool = False,
    chat: bool | None = None,
    stop: Sequence[str] | None = None,
    json: StrPath | None = None,
    **loading: Any,
) -> Results:
    """Accuracy (with a 95 % interval) and forwards of a model on a task, a result for each sampler.

    `json` is a file for the results; beside it every item is kept as soon as it is done, and the same call, stopped,
    goes on from these. Among several processes each takes its share of the problems. An answer is cut before the first
    of the `stop` texts and then judged; default: the task's own where the model is asked with text alone.
    """
    out, source = path_of(json), path_of(data)
    specs, chosen = listed(samplers), allow_code(named_task(task), allow_code_execution)
    check_output(out)
    problems = problems_of(chosen, source, limit, seed)
    check_fit(specs, chosen, stop)
    items: list[Path | None] = [None] * len(specs) if out is None else [*items_beside(out, len(specs))]
    with launched() as processes, held(out, ours=processes.main):
        check_file(out, processes)
        results = evaluate_each(
            _model(model, loading, processes.device, chat), chosen, problems, specs, items, seed=seed, batch=batch,
            guidance=guidance, chat=chat, stop=stop, data=source, processes=processes,
        )  # fmt: skip
        if out is not None and speaks():
            write_json(out, results.to_json())
    return results


def compare(
    files: Sequence[StrPath], *, grader: Grader = "strict", json: StrPath | None = None, plot: StrPath | None = None
) -> Comparison:
    """Results on the same problems against the first of them; `files` are what `evaluate` wrote as `json`."""
    check_output(json)
    check_output(plot)
    found = compare_judged([one for file in listed(files) for one in read_judged(Path(file))], grader)
    if json is not None:
        write_json(json, found.to_json())
    if plot is not None:
        plot_comparison(found, Path(plot))
    return found


@with_loading
def frontier(
    model: StrPath | Model,
    task: str | Task,
    *,
    samplers: Sequence[str] = (),
    out: StrPath | None = None,
    budgets: Sequence[float] = (),
    range: str | None = None,
    tune: bool = False,
    tune_limit: int = DEFAULT_LIMIT,
    tune_seed: int = 1,
    blocks: str | None = None,
    data: StrPath | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch: int = 32,
    guidance: float = 0.0,
    allow_code_execution: bool = False,
    stop: Sequence[str] | None = None,
    on_search: Any = lambda search: None,
    **loading: Any,
) -> Frontier:
    """Accuracy against forwards for samplers and grids of their settings; searched first, if `tune`.

    `out` is a folder for frontier.png, .csv, .json and every item; the same call, stopped, goes on from there.
    `stop` is as for `evaluate`; `on_search` hears of the search when it has ended.
    """
    chosen, source = allow_code(named_task(task), allow_code_execution), path_of(data)
    families, span = families_of([*listed(samplers), *frontier_run.heuristics(tune, blocks, chosen)]), span_from(range)
    check_fit(frontier_run.settings_of(families), chosen, stop)
    problems = problems_of(chosen, source, limit, seed)
    validation = frontier_run.searched_on(chosen, tune_limit, tune_seed, problems) if tune else []
    with TemporaryDirectory() as scratch, launched() as processes:
        folder = frontier_run.folder_of(path_of(out), scratch, processes)
        with held(folder, ours=processes.main):
            found = frontier_run.frontier(
                _model(model, loading, processes.device), chosen, problems, families, folder, validation=validation,
                tune_seed=tune_seed, seed=seed, data=source, span=span, budgets=budgets, batch=batch,
                guidance=guidance, stop=stop, processes=processes, on_search=on_search,
            )  # fmt: skip
            if out is not None and speaks():
                found.write(folder)
    return found


@with_loading
def diagnose(
    model: StrPath | Model,
    *,
    probes: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    masks: Sequence[int] | None = None,
    limit: int = 50,
    draws: int | Literal["fresh"] = "fresh",
    pools: StrPath | None = None,
    letters: str = "balanced",
    hotpotqa: StrPath | None = None,
    chat: bool = False,
    tokens: int = 16384,
    out: StrPath | None = None,
    **loading: Any,
) -> Report:
    """How far a model reads its prompt and what appended masks cost it.

    `out` is a folder for the report and every answer; the same call, stopped or with more probes, tasks or questions,
    goes on from there. The other settings are those of Diagnosis.
    """
    diagnosis = Diagnosis(
        probes=probes, tasks=tasks, masks=masks, limit=limit, draws=draws, pools=path_of(pools), letters=letters,
        hotpotqa=path_of(hotpotqa), chat=chat,
    )  # fmt: skip
    diagnosis.check()
    if chat and not isinstance(model, Model):  # known before a large model is loaded
        Folder.named(model, loading.get("revision")).asked_in_chat()
    loaded = _model(model, loading)
    if out is None:
        return diagnosis.of(loaded, tokens=tokens)
    diagnosis.left_out(loaded)  # a probe that does not fit is refused before there is a folder
    Path(out).mkdir(parents=True, exist_ok=True)
    with held(out):
        report = diagnosis.of(loaded, tokens=tokens, items=Path(out) / ITEMS)
        write_report(report, Path(out))
    return report


@with_loading
def bench(
    model: StrPath | Model,
    *,
    samplers: Sequence[str] = DEFAULTS,
    prompt_tokens: int | None = None,
    new_tokens: int | None = None,
    batch: int = 8,
    repeat: int = 5,
    seed: int = 0,
    json: StrPath | None = None,
    **loading: Any,
) -> Speeds:
    """Tokens per second on random prompts, and the share of time outside the model's forward, for each sampler."""
    specs = listed(samplers)
    check_output(json)
    for spec in specs:
        read_sampler(spec)  # before a large model is loaded
    speeds = measure_each(
        _model(model, loading), specs, prompt_tokens=prompt_tokens, new_tokens=new_tokens, batch=batch, repeat=repeat,
        seed=seed,
    )  # fmt: skip
    if json is not None:
        write_json(json, speeds.to_json())
    return speeds


def verify(folder: StrPath) -> verifying.Report:
    """Whether a checkpoint here gives the logits, tokens and forwards that are recorded in its folder."""
    return verifying.verify(Path(folder))


def export(
    model: StrPath,
    folder: StrPath,
    layout: str,
    *,
    dtype: str | None = None,
    adapter: StrPath | None = None,
    shard_size: str = "5GB",
    revision: str | None = None,
) -> Folder:
    """Write a model, with an adapter added if wanted, to a new folder in another published layout."""
    kind = None if dtype is None else dtype_of(dtype)
    added = None if adapter is None else adapter_folder(str(adapter))
    write_layout(Folder.named(model, revision), Path(folder), layout, dtype=kind, adapter=added, shard=shard_size)
    return Folder(Path(folder))


def trace(file: StrPath, *, html: StrPath | None = None) -> Trace:
    """How a recorded decode went, forward by forward; `html` is a file for a page to scrub through."""
    check_output(html)
    if html is not None and Path(html).resolve() == Path(file).resolve():
        raise ValueError(f"html={html} is the trace itself: name another file")
    found = Trace.load(Path(file))
    if html is not None:
        write_text(html, found.page())
    return found


def _model(model: StrPath | Model, loading: Any, device: str | None = None, chat: bool | None = None) -> Model:
    """The model, loaded unless it is, each of several processes on its own device; raw if there is to be no chat."""
    options = Loading(**loading)
    if not isinstance(model, Model):
        model = replace(options, device=options.device or device).model(model)
    elif given := [name for name, value in asdict(options).items() if value not in (None, False)]:
        raise ValueError(f"{', '.join(given)}: this model is loaded already, leave that out or give the model's name")
    return model.raw() if chat is False else model
