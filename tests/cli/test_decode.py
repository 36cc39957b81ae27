"""unveil decode: the same answer however it is asked for."""
import re
import sys
from pathlib import Path

import pytest

import unveil
from tests.chats import TEMPLATES, chat_folder
from tests.cli.program import PUZZLE, run, words_of
from unveil.cli.verbs.decode import meant
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.picks import Quota
from unveil.sampling.trajectory import Trajectory

TEMPLATE = "1[MASK:2]4\n[MASK]3="


@pytest.fixture
def model() -> unveil.Model:
    return unveil.load("lab-sudoku")


def test_it_prints_what_the_library_decodes(model: unveil.Model) -> None:
    (answer,) = model.decode([PUZZLE])
    told = run("decode", "lab-sudoku", PUZZLE)
    assert (told.code, told.out) == (0, answer.text + "\n")
    assert "19 forwards, 1.00 tokens per forward" in told.err and " s\n" in told.err


@pytest.mark.parametrize("more", [["--batch", 1], ["--batch", 2], ["--threads", 1], ["--dtype", "float64"]])
def test_the_way_it_runs_changes_nothing(model: unveil.Model, more: list) -> None:
    prompts = [PUZZLE, PUZZLE.replace("4", "0"), "1=", PUZZLE.replace("2", "3")]
    spec = ["--sampler", "fast_dllm:threshold=0.5"]
    answers = model.decode(prompts, spec[1])
    told = run("decode", "lab-sudoku", *prompts, *spec, *more)
    assert told.out == "".join(answer.text + "\n" for answer in answers)
    assert [int(line.split()[0]) for line in told.err.splitlines()] == [answer.nfe for answer in answers]


def test_seed_length_and_guidance_reach_the_decode(model: unveil.Model) -> None:
    spec = "remdm:temperature=2.0"
    answers = model.decode([PUZZLE, PUZZLE], spec, new_tokens=8, seed=5, guidance=1.5)
    settings = ["--sampler", spec, "--new-tokens", 8, "--seed", 5, "--guidance", 1.5]
    assert run("decode", "lab-sudoku", PUZZLE, PUZZLE, *settings).out == "".join(a.text + "\n" for a in answers)
    assert answers[0].text != answers[1].text


def test_standard_input_is_taken_as_it_is() -> None:
    assert run("decode", "lab-sudoku", "-", text=PUZZLE).out == run("decode", "lab-sudoku", PUZZLE).out
    for more in ([], ["--escapes"]):  # a backslash is a backslash there
        assert r"cannot write '1=\\n'" in words_of(run("decode", "lab-sudoku", "-", *more, text=r"1=\n").err)


@pytest.mark.parametrize("words", [[r"x \neq 3"], ["1", "--prefix", r"x \neq 3"], ["--infill", r"x \neq 3[MASK]"]])
def test_text_stays_as_it_is_typed(words: list[str]) -> None:
    r"""\neq is a word of LaTeX, and not a line break and "eq"."""
    told = run("decode", "lab-sudoku", "--raw" if "--infill" not in words else "--batch=1", *words)
    assert told.code == 2 and r"x \\neq 3" in words_of(told.err)


def test_a_stop_text_stays_as_it_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    from unveil.checkpoints.tokenizer import FileTokenizer

    monkeypatch.setattr(FileTokenizer, "decode", lambda self, ids: "one\n" + r"two \nabla \t")
    assert run("decode", "lab-sudoku", PUZZLE, "--stop", r"\n").out == "one\ntwo \n"
    assert run("decode", "lab-sudoku", PUZZLE, "--escapes", "--stop", r"\n").out == "one\n"
    assert run("decode", "lab-sudoku", PUZZLE, "--escapes", "--stop", r"\\n").out == "one\ntwo \n"


def test_escapes_are_read_where_that_is_asked(talking: Path) -> None:
    model = unveil.load(talking)
    (answer,) = model.decode([model.asked("a\nb", "A:\n")])
    told = run("decode", talking, r"a\nb", "--prefix", r"A:\n", "--escapes")
    assert (told.code, told.out) == (0, answer.text + "\n")
    filled = run("decode", "lab-sudoku", "--infill", r"1[MASK:2]4\n[MASK]3=", "--sampler", "llada:steps=3", "--escapes")
    assert filled.out == run("decode", "lab-sudoku", "--infill", TEMPLATE, "--sampler", "llada:steps=3").out


TEXTS = {
    r"\n": "\n",
    r"\t": "\t",
    r"\\": "\\",
    r"\\n": r"\n",
    r"\\\n": "\\\n",
    r"\neq": "\neq",
    r"\x \ ": r"\x \ ",
    "a\n": "a\n",
}


@pytest.mark.parametrize(("typed", "wanted"), TEXTS.items(), ids=map(repr, TEXTS))
def test_what_an_escape_means(typed: str, wanted: str) -> None:
    assert meant(typed, True) == wanted and meant(typed, False) == typed


def test_infilling_keeps_what_is_given() -> None:
    told = run("decode", "lab-sudoku", "--infill", TEMPLATE, "--sampler", "llada:steps=3")
    assert told.code == 0 and len(told.out) == len("1ab4\nc3=\n")
    assert told.out.startswith("1") and told.out[3:5] == "4\n" and told.out[6:] == "3=\n"


def test_a_trace_replays_the_decode(tmp_path: Path, model: unveil.Model) -> None:
    told = run("decode", "lab-sudoku", PUZZLE, "--trace", tmp_path / "t.safetensors")
    trace = Trajectory.load(tmp_path / "t.safetensors")
    assert len(trace) == 19 and "20 canvases" in told.err
    assert model.answer(trace.canvas(-1)).text + "\n" == told.out
    assert int(trace.canvas(0).num_undecided) == 19 and "Quota(steps=19" in trace.sampler


def test_a_trace_has_the_texts_of_its_ids(tmp_path: Path, model: unveil.Model) -> None:
    run("decode", "lab-sudoku", PUZZLE, "--trace", tmp_path / "t")
    trace = Trajectory.load(tmp_path / "t")
    occurring = set(trace.fields["tokens"].flatten().tolist())
    assert trace.texts == {token: model.tokenizer.decode([token]) for token in occurring}


def soft_sampler(max_steps: int) -> unveil.Sampler:
    """Soft tokens of three candidates, one token a forward, stopped after `max_steps`."""
    return unveil.Sampler(unmask=unveil.Select(pick=Quota(steps=19)), evolve=SoftTokens(k=3), max_steps=max_steps)


@pytest.mark.parametrize(("steps", "listed"), [(7, 8), (14, 8)])
def test_watch_lists_candidates(monkeypatch: pytest.MonkeyPatch, steps: int, listed: int) -> None:
    monkeypatch.setattr(unveil.Model, "sampler", lambda self, spec, row: soft_sampler(steps))
    told = run("decode", "lab-sudoku", PUZZLE, "--watch", "--delay", 0, "--candidates")
    lines = [line for line in told.out.splitlines() if re.match(r" +\d+  ", line)]
    assert told.code == 0 and len(lines) == listed
    assert all(len(re.findall(r"\d\.\d\d", line)) in (3, 4) for line in lines)
    assert not re.search(r"^ +\d+  ", run("decode", "lab-sudoku", PUZZLE, "--watch", "--delay", 0).out, re.M)


def test_candidates_need_watch_and_a_sampler_that_has_them() -> None:
    told = run("decode", "lab-sudoku", PUZZLE, "--candidates")
    assert told == (2, "", "error: --candidates has a meaning only with --watch: give both\n")
    told = run("decode", "lab-sudoku", PUZZLE, "--candidates", "--watch", "--sampler", "fast_dllm:threshold=0.5")
    assert (told.code, told.out) == (2, "")
    assert told.err == (
        "error: sampler 'fast_dllm:threshold=0.5' has no candidates, its positions are [MASK] or a token: "
        "leave --candidates out, or take evotoken, which has them\n"
    )


def test_watch_without_a_terminal_shows_the_last_frame_only(model: unveil.Model) -> None:
    told = run("decode", "lab-sudoku", PUZZLE, PUZZLE, "--watch", "--delay", 30)
    (answer,) = model.decode([PUZZLE])
    assert told.out.count("forward 19, 19 of 19 tokens") == told.out.count("forward ") == 2
    assert PUZZLE + answer.text in told.out and "\x1b" not in told.out
    assert told.err.count("19 forwards, 1.00 tokens per forward\n") == 2


def test_masks_that_are_left_are_said(model: unveil.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(
        unveil.Model, "sampler", lambda self, spec, row: replace(unveil.recipes.llada(19), max_steps=7)
    )
    assert "12 masks left" in run("decode", "lab-sudoku", PUZZLE).err


def test_answers_are_made_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    from unveil.checkpoints.tokenizer import FileTokenizer

    monkeypatch.setattr(FileTokenizer, "decode", lambda self, ids: "\x1b[2J[red]x[/red] :smile:")
    told = run("decode", "lab-sudoku", PUZZLE)
    assert told.out == "\ufffd[2J[red]x[/red] :smile:\n"
    assert "\x1b" not in run("decode", "lab-sudoku", PUZZLE, "--watch").out


def test_long_answers_are_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    from unveil.checkpoints.tokenizer import FileTokenizer

    monkeypatch.setattr(FileTokenizer, "decode", lambda self, ids: "word " * 100)
    assert run("decode", "lab-sudoku", PUZZLE).out == "word " * 100 + "\n"


def test_the_shipped_model_solves_the_puzzle_of_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.checkpoints.folder.LAB", Path(unveil.__file__).parent / "lab")
    assert run("decode", "lab-sudoku", PUZZLE).out == "1234\n3412\n4123\n2341\n"


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_folder(tmp_path_factory.mktemp("talking"), TEMPLATES["chatml"])


def test_a_model_with_a_template_is_asked_in_chats(talking: Path) -> None:
    model = unveil.load(talking)
    prompts = ["hi?", "one\ntwo"]
    for more, chat in (([], True), (["--chat"], True), (["--raw"], False)):
        answers = model.decode([model.asked(prompt, chat=chat) for prompt in prompts])
        told = run("decode", talking, "hi?", "one\ntwo", *more)
        assert told.out == "".join(answer.text + "\n" for answer in answers)
    assert "has no chat template: ask with raw text" in words_of(run("decode", "lab-sudoku", PUZZLE, "--chat").err)


def test_raw_text_needs_no_jinja2_and_a_chat_does(talking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    model = unveil.load(talking).raw()
    (answer,) = model.decode([model.asked("hi?", chat=False)])
    assert run("decode", talking, "hi?", "--raw").out == answer.text + "\n"
    told = run("decode", talking, "hi?")
    assert told.code == 2 and "the model's chat template needs jinja2: pip install" in words_of(told.err)


def test_an_answer_begins_and_stops_as_told(talking: Path) -> None:
    model = unveil.load(talking)
    for chat, flag in ((True, "--chat"), (False, "--raw")):
        (whole,) = model.decode([model.asked("hi?", "A:\n", chat=chat)])
        words = ["decode", talking, "hi?", flag, "--prefix", "A:\n"]
        assert run(*words).out == whole.text + "\n" != run("decode", talking, "hi?", flag).out
        stop = whole.text[2:4]
        told = run(*words, "--stop", "~", "--stop", stop)
        assert told.out == whole.text[: whole.text.index(stop)] + "\n"


def test_a_chat_is_watched_and_traced(talking: Path, tmp_path: Path) -> None:
    model = unveil.load(talking)
    row = model.canvas(model.asked("hi?", "A"))
    told = run("decode", talking, "hi?", "--prefix", "A", "--watch", "--delay", 0, "--trace", tmp_path / "t")
    trace = Trajectory.load(tmp_path / "t")
    assert told.code == 0 and trace.canvas(0).tokens.equal(row.tokens)
    (answer,) = model.decode([model.asked("hi?", "A")])
    assert model.answer(trace.canvas(-1)).text == answer.text


REFUSED = {
    "chat": (["--infill", "a[MASK]", "--raw"], "--chat or --raw has no meaning with --infill: the template says what"),
    "prefix": (["--infill", "a[MASK]", "--prefix", "A"], "--prefix has no meaning with --infill"),
    "stop": (["--infill", "a[MASK]", "--stop", "A"], "--stop has no meaning with --infill"),
    "length": (["--infill", "a[MASK]", "--new-tokens", 2], "--new-tokens has no meaning with --infill"),
    "watched": (["a", "--watch", "--stop", "A"], "--stop has no meaning with --watch, which shows every token"),
    "nan": (["a", "--guidance", "nan"], "--guidance"),
    "huge": (["a", "--seed", 2**63], f"seed={2**63} is outside its range, from 0"),
    "empty": (["a", "--stop", ""], "--stop is an empty text: write at least one character"),
}


@pytest.mark.parametrize(("words", "fault"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(words: list[object], fault: str) -> None:
    told = run("decode", "nowhere", *words)
    assert told.code == 2 and fault in words_of(told.err)
