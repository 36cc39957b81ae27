"""Bad input: one sentence, exit code 2, no traceback. Ctrl-C: 130, and what was kept."""
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import unveil
from tests.cli.program import PUZZLE, run, words_of
from unveil.cli.errors import keeping

BAD_WORDS = [
    (["lab-sudoku"], "no prompt: give at least one, - to read standard input, or --infill TEXT"),
    (["lab-sudoku", ""], "prompt 1 is empty: write at least one character"),
    (["lab-sudoku", "1=", ""], "prompt 2 is empty: write at least one character"),
    (["lab-sudoku", "-"], "prompt 1 is empty: write at least one character"),
    (["lab-sudoku", "-", "-"], "- stands for standard input, which can be read only once: give it once"),
    (["lab-sudoku", "--infill", ""], "the template is empty: write at least one character"),
    (["lab-sudoku", "--infill", "12"], "the template '12' has no hole: write [MASK] (or [MASK:5]) where"),
    (["lab-sudoku", "1", "--infill", "[MASK]"], "--infill and prompts exclude each other"),
    (["lab-sudoku", "--infill", "[MASK]", "--new-tokens", "3"], "--new-tokens has no meaning with --infill"),
    (["lab-sudoku", "1=", "1[MASK]2"], "prompt 2 contains the mask id 8 at position 1: remove it, or use a template"),
    (["lab-sudoku", "1" * 50], "prompt 1: 50 tokens and 19 new ones exceed the model's context of 64: shorten"),
    (["lab-sudoku", "hello"], "prompt 1: the model's vocabulary cannot write 'hello'"),
    (["lab-sudoko", "1"], "no model 'lab-sudoko': give a shipped model, a folder, or a hub repository owner/name; did"),
    (["lab-sudoku", "1", "--sampler", "lada"], "unknown sampler 'lada': did you mean 'llada'?"),
    (["lab-sudoku", "1", "--sampler", "llada:blok=3"], "sampler llada has no setting 'blok': did you mean 'block'?"),
    (["lab-sudoku", "1", "--sampler", "llada:steps"], "'steps' is no setting of sampler llada, which are key=value"),
    (["lab-sudoku", "1", "--sampler", "llada:steps=7,block=10"], "steps=7 does not fit 19 new tokens in 2 block(s)"),
    (["lab-sudoku", "1", "--sampler", "fast_dllm:steps=2,factor=1"], "exclude each other: give one of threshold"),
    (["lab-sudoku", "1", "--new-tokens", "0"], "Invalid value for '--new-tokens'"),
    (["lab-sudoku", "1", "--new-tokens", "-3"], "Invalid value for '--new-tokens'"),
    (["lab-sudoku", "1", "--new-tokens", "many"], "Invalid value for '--new-tokens'"),
    (["lab-sudoku", "1", "--batch", "0"], "Invalid value for '--batch'"),
    (["lab-sudoku", "1", "--delay", "-1"], "Invalid value for '--delay'"),
    (["lab-sudoku", "1", "--dtype", "float8"], "dtype 'float8' is unknown: choose one of float32"),
    (["lab-sudoku", "1", "--device", "gpu"], "device 'gpu' is unknown: use cpu, cuda, cuda:1 or mps"),
    (["lab-sudoku", "1", "2", "--trace", "t"], "--trace records one prompt and there are 2: give one"),
    (["lab-sudoku", "1", "--trace", "no/such/t"], "there is no folder no/such; make it first, or name another file"),
    (["lab-sudoku", "1", "--trace", "/dev/full"], "/dev/full is not an ordinary file; name a new file"),
]


@pytest.mark.parametrize(("words", "fault"), BAD_WORDS, ids=[" ".join(words)[11:50] for words, _ in BAD_WORDS])
def test_bad_words(words: list[str], fault: str) -> None:
    told = run("decode", *words)
    assert (told.code, told.out) == (2, "")
    assert fault in words_of(told.err) and "Traceback" not in told.err


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def change(folder: Path, how: Callable[[dict], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    how(weights)
    save_file(weights, folder / "model.safetensors")


NORM = "model.transformer.ln_f.weight"
BROKEN = {
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json: give a folder that holds"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "the checkpoint is incomplete, download it again"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json: text needs one"),
    "truncated": (truncate, "is not a whole safetensors file"),
    "wrong shape": (lambda f: change(f, lambda w: w.update({NORM: torch.ones(3)})), "has shape (3,), config.json asks"),
    "NaN": (lambda f: change(f, lambda w: w[NORM].fill_(float("nan"))), "holds NaN or infinite weights"),
    "broken settings": (lambda f: (f / "generation_config.json").write_text("{"), "is not valid JSON"),
}


@pytest.mark.parametrize(("harm", "fault"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("verb", [["decode", PUZZLE], ["evaluate", "--task", "sudoku"], ["bench"]], ids=lambda v: v[0])
def test_a_broken_checkpoint(
    tiny: Path, tmp_path: Path, verb: list[str], harm: Callable[[Path], object], fault: str
) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    harm(tmp_path / "model")
    told = run(verb[0], tmp_path / "model", *verb[1:])
    assert (told.code, told.out) == (2, "") and fault in words_of(told.err)


def test_a_full_disk_leaves_no_half_trace(tiny: Path, tmp_path: Path) -> None:
    """A real limit on the size of files, in a program of its own."""
    (tmp_path / "t").write_text("an older file")
    code = "import resource, signal, sys; from unveil.__main__ import main; from unveil.checkpoints import folder\n"
    code += f"from pathlib import Path; folder.LAB = Path({str(tiny.parent)!r})\n"
    code += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    code += f"sys.argv = ['unveil', 'decode', 'lab-sudoku', {PUZZLE!r}, '--trace', {str(tmp_path / 't')!r}]\nmain()\n"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 2 and "Traceback" not in told.stderr
    assert "cannot write" in told.stderr and "Free space there" in told.stderr and len(told.stdout.splitlines()) >= 1
    assert (tmp_path / "t").read_text() == "an older file" and len(list(tmp_path.iterdir())) == 1


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(unveil.Loading, "model", stop)
    assert run("decode", "lab-sudoku", PUZZLE) == (130, "", "stopped. Nothing was written.\n")


def test_keeping_says_what_is_kept() -> None:
    with pytest.raises(KeyboardInterrupt, match="^all of it$"), keeping("all of it"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="^other$"), keeping("all of it"):
        raise ValueError("other")


def test_a_device_that_cannot_take_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("out of memory\nand much more")

    monkeypatch.setattr("unveil.decoding.loading.load_denoiser", full)
    told = run("decode", "lab-sudoku", PUZZLE, "--device", "cpu")
    remedy = "name another one, or a smaller dtype or bits"
    assert told == (2, "", f"error: lab-sudoku cannot be put on device cpu (out of memory): {remedy}\n")


def test_our_own_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object, **__: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(unveil.Loading, "model", bug)
    with pytest.raises(AssertionError, match="a bug"):
        run("decode", "lab-sudoku", PUZZLE)


def test_messages_cannot_command_the_terminal() -> None:
    told = run("decode", "lab-sudoku", PUZZLE, "--sampler", "\x1b[2J[red]x")
    assert told.code == 2 and "\x1b" not in told.err and "[red]x" in told.err


def test_a_reader_that_leaves_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(unveil.Loading, "model", gone)
    assert run("decode", "lab-sudoku", PUZZLE) == (1, "", "")
