"""Help is instant and true: names and settings in it are those of the library."""
import os
import re
import subprocess
import sys

import pytest

from tests.cli.program import run, words_of
from unveil import __version__, catalogue
from unveil.cli.verbs.decode import COMMAND
from unveil.decoding.spec import parse_sampler
from unveil.policies.policy import PICKS
from unveil.sampling.refresh import CACHES
from unveil.settings import keywords, written


def test_the_samplers_in_the_help_are_the_samplers() -> None:
    assert f"names are {', '.join(catalogue.samplers())}." in words_of(run("decode", "--help").out)


def test_every_setting_of_every_sampler_is_listed_with_its_default() -> None:
    listed = COMMAND["help"].partition("The samplers")[2]
    names = "|".join(catalogue.samplers())
    for name, entry in catalogue.samplers().items():
        found = re.search(rf"^{name} (.*?)(?=^(?:{names}) |\Z)", listed, re.M | re.S)
        assert found is not None, name
        shown = dict(part.partition("=")[::2] for part in words_of(found[1]).split(", "))
        legal = keywords(entry.load())
        assert shown.keys() == legal.keys(), name
        for key, setting in legal.items():
            if key != "cache":
                default = "" if setting.default is None else written(setting.default)
                assert shown[key].split("|")[0] == default, (name, key)


def test_the_words_in_the_help_are_the_legal_ones() -> None:
    words = catalogue.words()
    assert words["cache"] == CACHES and f"cache: {', '.join(CACHES)})" in words_of(COMMAND["help"])
    assert words.keys() == {"cache", "alg", "commit", "mix", "pick", "remasking"}
    for name, entry in catalogue.samplers().items():
        for key in entry.settings.keys() & words.keys() - {"cache", "pick"}:  # `pick` is a policy's, which is a folder
            with pytest.raises(ValueError, match=re.escape(f"choose one of {', '.join(words[key])}")):
                parse_sampler(f"{name}:{key}=none-such", 8)
    assert words["pick"] == tuple(PICKS)


def test_the_list_of_samplers_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its lines is one line, as it was broken."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    lines = [line.strip() for line in run("decode", "--help").out.splitlines()]
    listed = COMMAND["help"].partition("The samplers")
    assert all(line.strip() in lines for line in "".join(listed[1:]).splitlines())


def test_the_tasks_in_the_help_are_the_tasks() -> None:
    assert f"names are {', '.join(catalogue.tasks())}." in words_of(run("evaluate", "--help").out)


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
