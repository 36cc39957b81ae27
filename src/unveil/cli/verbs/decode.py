"""unveil decode: prompts or a template in, text out."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil import catalogue
from unveil.cli import options
from unveil.files import check_output
from unveil.legal import OPTIONS, SAMPLERS, check, ranges
from unveil.terminal import err, out, plain

if TYPE_CHECKING:
    from unveil.canvas import Canvas
    from unveil.decoding.model import Model
    from unveil.sampling.sampler import Sampler, Step


Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PROMPT]...",
        help="Texts to continue, as they are typed: a backslash is a backslash (see --escapes); - reads one prompt "
        "from standard input.",
        show_default=False,
    ),
]
Infill = Annotated[
    str | None,
    typer.Option(
        "--infill",
        metavar="TEXT",
        help=r"Fill the holes of this text instead: \[MASK] is one token, \[MASK:5] five. - as for prompts.",
        show_default=False,
    ),
]
Prefix = Annotated[
    str,
    typer.Option(
        "--prefix",
        metavar="TEXT",
        help="How every answer begins: given to the model, in a chat as the assistant's, and not printed.",
        show_default=False,
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="TEXT",
        help="Cut an answer before this text. Repeat the option for several.",
        show_default=False,
    ),
]
Escapes = Annotated[
    bool,
    typer.Option(
        "--escapes",
        help=r"In prompts, --infill, --prefix and --stop read \n as a line break, \t as a tab, \\ as a backslash.",
    ),
]
Watch = Annotated[bool, typer.Option("--watch", help="Show the canvas while it fills, one prompt after the other.")]
Delay = Annotated[
    float, typer.Option("--delay", **options.legal("delay"), help="Seconds for each forward under --watch.")
]
Candidates = Annotated[
    bool,
    typer.Option(
        "--candidates",
        help="Under --watch, also list the soft tokens the model is least sure of, with their candidates.",
    ),
]
Trace = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Save every canvas of the decode there; `unveil trace` shows them. Takes one prompt.",
        show_default=False,
    ),
]


def _help() -> str:
    """The help, with every sampler that there is, its settings, their defaults, their legal words and numbers."""
    width = max(map(len, catalogue.samplers())) + 2
    about = (
        "The samplers and their settings with the defaults, of several words the first (steps is the total over all "
        f"blocks; cache: {', '.join(catalogue.words()['cache'])}):"
    )
    entries = {about: ""} | {
        f"{name:<{width}}{', '.join(_shown(*setting) for setting in entry.settings.items())}": " " * width
        for name, entry in catalogue.samplers().items()
    }
    entries |= {f"Numbers are {ranges(SAMPLERS)}.": ""}
    lines = [fill(text, LINE, subsequent_indent=indent, break_on_hyphens=False) for text, indent in entries.items()]
    return HELP + "\n".join(lines)


def _shown(setting: str, default: str) -> str:
    """A setting with its default, the first of its words; without where that is none."""
    words = [word for word in catalogue.words().get(setting, ()) if word != default]
    return setting if default == "none" else f"{setting}={'|'.join([default, *words])}"


HELP = r"""Answer or continue prompts, or fill the holes of a text, with any published sampler.

Answers go to standard output, remarks (forwards, seconds) to standard error.

\b
Example: unveil decode lab-sudoku $'1000\n0002\n4003\n0000\n=\n' --watch
Example: unveil decode lab-sudoku --infill $'1000\n0002\n4003\n0000\n=\n1\[MASK:17]1'

\b
""".replace("\\b", "\b")
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
LINE = 78  # columns of the list of samplers: it fits a terminal of 80
COMMAND = {"help": _help()}


@options.loads
def decode(
    model: options.ModelName,
    prompts: Prompts = None,
    infill: Infill = None,
    chat: options.Chat = None,
    prefix: Prefix = "",
    stop: Stop = None,
    escapes: Escapes = False,
    sampler: options.OneSampler = "llada",
    new_tokens: options.NewTokens = None,
    guidance: options.Guidance = 0.0,
    seed: options.Seed = 0,
    batch: options.Batch = 16,
    watch: Watch = False,
    delay: Delay = 0.15,
    candidates: Candidates = False,
    trace: Trace = None,
    *,
    loading: dict[str, Any],
) -> None:
    from unveil import api

    texts, stops = texts_of(prompts or [], infill, escapes), [meant(text, escapes) for text in stop or []]
    told = {"--new-tokens": new_tokens is not None, "--chat or --raw": chat is not None, "--prefix": prefix != ""}
    _check_fit(infill is not None, watch, candidates, stops, told)
    _check_work(sampler, trace, len(texts), guidance=guidance, seed=seed, delay=delay)
    loaded = api.load(model, **loading)
    loaded = loaded.raw() if chat is False else loaded
    asked = [loaded.asked(text, meant(prefix, escapes), chat=chat) for text in texts if infill is None]
    rows = loaded.canvases(asked, new_tokens=new_tokens, seed=seed, first=1) or [loaded.template(texts[0], seed=seed)]
    listed = _num_listed(loaded.sampler(sampler, rows[0]), sampler) if candidates else 0
    steps: list[Step] = []
    see = [] if trace is None else [steps.append]
    for row in rows if watch else []:
        _watch(loaded, row, sampler, guidance, delay, listed, see)
    for row, seconds in [] if watch else loaded.in_order(rows, sampler, batch=batch, guidance=guidance, see=see):
        out().print(plain(loaded.answer(row, stops).text if infill is None else loaded.text(row)), soft_wrap=True)
        remark(row, seconds)
    if trace is not None:
        _save(trace, steps, loaded, loaded.sampler(sampler, rows[0]))


def meant(text: str, escapes: bool) -> str:
    r"""The text as it is typed; with `escapes` \n is a line break, \t a tab, \\ a backslash, and any other stays."""
    return re.sub(r"\\[nt\\]", lambda found: ESCAPES[found[0]], text) if escapes else text


def texts_of(prompts: Sequence[str], infill: str | None, escapes: bool) -> list[str]:
    """The texts as they are meant; - is standard input, as it is. ValueError for none and for empty ones."""
    if infill is not None and prompts:
        raise ValueError("--infill and prompts exclude each other: a template holds its own context")
    given = list(prompts) if infill is None else [infill]
    if not given:
        raise ValueError("no prompt: give at least one, - to read standard input, or --infill TEXT")
    if given.count("-") > 1:
        raise ValueError("- stands for standard input, which can be read only once: give it once")
    texts = [typer.get_text_stream("stdin").read() if text == "-" else meant(text, escapes) for text in given]
    for number, text in enumerate(texts, 1):
        if not text:
            name = f"prompt {number}" if infill is None else "the template"
            raise ValueError(f"{name} is empty: write at least one character")
    return texts


def remark(row: "Canvas", seconds: float | None) -> None:
    """One dim line: what the answer cost, and whether it is whole."""
    nfe, tokens, left = int(row.nfe[0]), int(row.chosen.sum()), int(row.num_undecided[0])
    line = f"{nfe} forwards, {tokens / max(1, nfe):.2f} tokens per forward"
    line += "" if seconds is None else f", {seconds:.2f} s"
    line += f", {left} masks left" if left else ""
    err().print(line, style="dim")


def _check_fit(infill: bool, watch: bool, candidates: bool, stops: list[str], told: dict[str, bool]) -> None:
    for name, given in (told | {"--stop": bool(stops)}).items() if infill else ():
        if given:
            raise ValueError(f"{name} has no meaning with --infill: the template says what is given and what is wanted")
    if candidates and not watch:
        raise ValueError("--candidates has a meaning only with --watch: give both")
    if stops and watch:
        raise ValueError("--stop has no meaning with --watch, which shows every token: leave one of them out")
    if "" in stops:
        raise ValueError("--stop is an empty text: write at least one character")


def _check_work(sampler: str, trace: Path | None, num_texts: int, **numbers: int | float) -> None:
    """ValueError, before a large model is loaded, for an unknown sampler, numbers out of range, and an unfit trace."""
    from unveil.decoding.spec import read_sampler

    check(OPTIONS, **numbers)
    read_sampler(sampler)
    if trace is not None and num_texts > 1:
        raise ValueError(f"--trace records one prompt and there are {num_texts}: give one")
    check_output(trace)


def _num_listed(sampler: "Sampler", spec: str) -> int:
    """How many positions --candidates lists; ValueError for a sampler without soft tokens."""
    from unveil.cli.watch import LISTED
    from unveil.sampling.evolve import SoftTokens

    if not isinstance(sampler.evolve, SoftTokens):
        raise ValueError(
            f"sampler {spec!r} has no candidates, its positions are [MASK] or a token: leave --candidates out, or take "
            "evotoken, which has them"
        )
    return LISTED


def _watch(
    model: "Model",
    row: "Canvas",
    sampler: str,
    guidance: float,
    delay: float,
    listed: int,
    see: "list[Callable[[Step], None]]",
) -> None:
    from unveil.cli.watch import Screen

    with Screen.open(model.tokenizer, delay, listed) as screen:
        ((done, _),) = model.in_order([row], sampler, guidance=guidance, see=[*see, screen.show])
    remark(done, None)  # its seconds are mostly the delay


def _save(trace: Path, steps: "list[Step]", model: "Model", sampler: object) -> None:
    from unveil.sampling.trajectory import Trajectory

    Trajectory.record(steps, sampler).worded(model.tokenizer.decode).save(trace)
    name = plain(str(trace))
    err().print(f"{len(steps) + 1} canvases in {name}; see them: unveil trace {name}", style="dim", soft_wrap=True)
