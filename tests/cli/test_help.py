"""Help is instant and true: names and settings in it are those of the library."""
import os
import re
import subprocess
import sys

import pytest

from tests.cli.program import run, words_of
from unveil import __version__
from unveil.cli import options
from unveil.cli.verbs.decode import decode
from unveil.decoding.spec import SAMPLERS, recipe_settings
from unveil.tasks import TASKS


def test_the_samplers_in_the_help_are_the_samplers() -> None:
    assert options.SAMPLERS == tuple(SAMPLERS)


def test_every_setting_of_every_sampler_is_listed() -> None:
    listed = (decode.__doc__ or "").partition("The samplers")[2]
    for name, recipe in SAMPLERS.items():
        entry = re.search(rf"^ *{name} (.*?)(?=^ *(?:{'|'.join(SAMPLERS)}) |\Z)", listed, re.M | re.S)
        assert entry is not None, name
        assert recipe_settings(recipe).keys() <= set(re.findall(r"\w+", entry[1])), name


def test_the_tasks_in_the_help_are_the_tasks() -> None:
    assert options.TASKS == tuple(TASKS)
    assert f"names are {', '.join(TASKS)}." in words_of(run("evaluate", "--help").out)


def test_holes_are_shown_as_they_are_typed() -> None:
    told = words_of(run("decode", "--help").out)
    assert "[MASK] is one token" in told and "[MASK:5] five" in told
    assert r'"1000\n0002\n4003\n0000\n=\n" --watch' in told


def test_version() -> None:
    assert run("--version") == (0, f"unveil {__version__}\n", "")


def test_a_verb_that_does_not_exist_suggests_one() -> None:
    told = run("deocde")
    assert told.code == 2 and "decode" in told.err


def program(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "unveil", *words], capture_output=True, text=True)


@pytest.mark.parametrize("words", [[], ["decode"]])
def test_help_needs_no_torch(words: list[str]) -> None:
    code = f"import sys; sys.argv = {['unveil', *words, '--help']!r}\nfrom unveil.cli import main\ntry: main()\n"
    code += "finally: print('heavy:', {'torch', 'numpy', 'matplotlib', 'safetensors'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.stdout.endswith("heavy: set()\n"), shown.stdout[-200:] + shown.stderr


def test_help_is_instant() -> None:
    """Half a second of the processor: a busy machine must not decide."""
    seconds = []
    for _ in range(3):
        before = os.times()
        assert "decode" in program("--help").stdout
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert 0 < min(seconds) < 0.5
