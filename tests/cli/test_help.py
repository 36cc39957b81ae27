"""Help is instant and true: names and settings in it are those of the library."""
import os
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest
from typer.main import get_command

from tests.cli.program import run, words_of, words_typed
from tests.surface.test_cli_surface import verbs
from tests.surface.tree import ROOT
from unveil import __version__, catalogue
from unveil.cli import app
from unveil.cli.verbs.decode import COMMAND
from unveil.cli.verbs.train import kind_of
from unveil.decoding.spec import parse_sampler
from unveil.legal import LORA, OPTIONS, SAMPLERS, TRAININGS, Range
from unveil.policies.policy import PICKS
from unveil.sampling.refresh import CACHES
from unveil.settings import defaults, keywords, written


def test_the_samplers_in_the_help_are_the_samplers() -> None:
    assert f"names are {', '.join(catalogue.samplers())}." in words_of(run("decode", "--help").out)


def test_every_setting_of_every_sampler_is_listed_with_its_default() -> None:
    listed = COMMAND["help"].partition("The samplers")[2]
    names = "|".join(catalogue.samplers())
    for name, entry in catalogue.samplers().items():
        found = re.search(rf"^{name} (.*?)(?=^(?:{names}|Numbers) |\Z)", listed, re.M | re.S)
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
    assert r"$'1000\n0002\n4003\n0000\n=\n' --watch" in told


def test_a_line_break_in_an_example_is_one_of_the_shell() -> None:
    """Between quotes alone it would be a backslash: text stays as it is typed."""
    told = {verb: (command.help or "").replace("\\[", "[") for verb, command in verbs(get_command(app)).items()}
    told |= {name: (ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md")}
    quoted = re.compile(r"""^[^#\n]*\bunveil decode[^#\n]*?(\S?(['"])[^'"\n]*\\[nt][^'"\n]*\2)""", re.M)
    found = [(name, hit[1]) for name, text in told.items() for hit in quoted.finditer(text)]
    assert len(found) >= 8 and [one for one in found if not one[1].startswith("$'")] == []
    assert all("\n" in words_typed(text)[0] and "\\" not in words_typed(text)[0] for _, text in found)


def test_the_help_of_decode_has_the_range_of_every_number_of_a_sampler() -> None:
    told = words_of(run("decode", "--help").out)
    assert "Numbers are from 1 to 65,536: steps, block, within; " in told and "; from 1 to 64: k; " in told
    assert_ranges(told.partition("Numbers are ")[2].partition(". ")[0], SAMPLERS)


@pytest.mark.parametrize("name", ["sft", "mask-agnostic", "trajectory", "policy"])
def test_the_help_of_a_training_has_the_range_of_each_of_its_numbers(name: str) -> None:
    told = words_of(run("train", name, "--help").out).partition("Numbers are ")[2]
    mine, _, adapters = told.partition(". Of --lora: ")
    settings = defaults(kind_of(name))
    assert_ranges(mine.partition(". ")[0].rstrip("."), {key: TRAININGS[key] for key in settings if key in TRAININGS})
    assert (adapters != "") == ("lora" in settings)
    if adapters:
        assert_ranges(adapters.rstrip("."), LORA)
    assert "e+" not in told and "; from 0: seed" in mine


def assert_ranges(told: str, table: Mapping[str, Range]) -> None:
    """Each number of the table once, after its range; a bound that says nothing to a reader is left out."""
    shown = {}
    for part in told.split("; "):
        words, _, names = part.partition(": ")
        shown |= dict.fromkeys(names.split(", "), words)
    assert shown == {name: str(one).partition(" to 4.6")[0] for name, one in table.items()}


def test_options_show_the_range_that_is_legal() -> None:
    """As typer writes it; the greatest seed says nothing to a reader."""
    for verb, command in verbs(get_command(app)).items():
        for param in command.params:
            legal = OPTIONS.get(param.name)
            if param.param_type_name == "option" and legal is not None and verb not in ("diagnose", "train policy"):
                kind = param if hasattr(param, "min") else param.type  # of a newer and an older typer
                assert kind.min == legal.low, (verb, param.name)
                assert kind.max == (None if "seed" in param.name else legal.high), (verb, param.name)
    assert "[x>=0]" in run("decode", "--help").out


def test_version() -> None:
    assert run("--version") == (0, f"unveil {__version__}\n", "")


def test_a_verb_that_does_not_exist_suggests_one() -> None:
    told = run("deocde")
    assert told.code == 2 and "decode" in told.err


def program(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "unveil", *words], capture_output=True, text=True)


@pytest.mark.parametrize("words", [[], ["decode"]])
def test_help_needs_no_torch(words: list[str]) -> None:
    code = f"import sys; sys.argv = {['unveil', *words, '--help']!r}\nfrom unveil.__main__ import main\ntry: main()\n"
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
