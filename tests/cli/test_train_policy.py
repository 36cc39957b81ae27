"""unveil train policy: from a reward function in a file of one's own to a policy that decodes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import PUZZLE, Outcome, run, words_of
from unveil import catalogue
from unveil.files import read_jsonl
from unveil.training import policy as training
from unveil.training.policy import PRESETS, PolicyTraining

QUICK = (
    "prompts=2 copies=2 steps=3 validation=2 validate_every=2 width=8 feed_width=8 heads=1 lr=1e-2 save_every=1"
).split()
MINE = """
def score(problem, text):
    return len({*text}) / 32


def odd(problem, text):
    return "yes"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's own with a reward function; its module is forgotten before and after."""
    (tmp_path / "my_rewards.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("my_rewards", None)
    yield tmp_path
    sys.modules.pop("my_rewards", None)


def train(*more: object) -> Outcome:
    sets = [word for text in QUICK for word in ("--set", text)]
    return run("train", "policy", "--model", "lab-sudoku", "--task", "sudoku", *sets, *more)


def test_a_policy_is_trained_resumed_and_used(here: Path) -> None:
    words = ["--reward", "my_rewards:score", "--out", "mine"]
    told = train(*words)
    assert told.code == 0
    best = Path("mine") / "policy"
    command = f'unveil decode lab-sudoku "PROMPT" --sampler policy:path={best}'
    assert command in words_of(told.out)
    rows = read_jsonl(here / "mine" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3] and all("signal" in row for row in rows)
    assert run("decode", "lab-sudoku", PUZZLE, "--sampler", f"policy:path={best}").code == 0
    again = train(*words)
    assert again.code == 2 and "mine already holds a run: go on with --resume" in words_of(again.err)
    assert train(*words, "--resume").code == 0
    assert read_jsonl(here / "mine" / "metrics.jsonl") == rows


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--reward", "my_rewards"], "reward 'my_rewards' is not module:function"),
        (["--reward", "my_rewards:odd"], "it returned 'yes' of type str: return a bool, or a number from 0 to 1"),
        (["--block", "wide"], "block='wide' is not a whole number"),
        (["--block", "0"], "block=0 is outside its range, from 1 to"),
        (["--alpha", "fast"], "alpha='fast' is not a number"),
        (["--preset", "llada-8b-instruct-ful"], "did you mean 'llada-8b-instruct-full'"),
        (["--set", "warm=lada", "--set", "warm_rounds=1"], "unknown sampler 'lada': did you mean 'llada'"),
    ],
)
def test_bad_input_is_one_sentence(here: Path, words: list[str], fault: str) -> None:
    told = train("--out", "mine", *words)
    assert told.code == 2 and fault in words_of(told.err) and "Traceback" not in told.err
    assert not (here / "mine" / "state.safetensors").exists()


def made(monkeypatch: pytest.MonkeyPatch, *words: object) -> PolicyTraining:
    """The recipe that a command stands for."""
    seen: list[Any] = []
    monkeypatch.setattr(training, "run", lambda recipe, **_: seen.append(recipe) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("train", "policy", "--model", "m", "--task", "sums", *words)
    recipe = seen[0]
    assert isinstance(recipe, PolicyTraining)
    return recipe


def test_options_are_settings_and_come_after_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--alpha", "0.3,10", "--block", "full", "--preset", "llada-8b-instruct", "--set", "top=4"]
    recipe = made(monkeypatch, *words)
    assert (recipe.alpha, recipe.block, recipe.dtype, recipe.network.top) == ((0.3, 10.0), None, "bfloat16", 4)
    for words in (["--block", "none"], ["--set", "block=none"]):
        assert made(monkeypatch, *words, "--preset", "llada-8b-instruct").block is None
    recipe = made(monkeypatch, "--block", 8, "--data", __file__)
    assert (recipe.alpha, recipe.block, recipe.data, recipe.base) == ((1.0,), 8, __file__, "m")


def test_presets_are_the_papers_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table of hyper-parameters; which alpha is asked for is the user's choice."""
    assert catalogue.presets("policy") == (*PRESETS,)
    for name in PRESETS:
        r = made(monkeypatch, "--preset", name)
        t = r.training
        assert (r.prompts, r.copies, r.updates, r.ratio, r.block) == (16, 8, 2, 0.5, None if "full" in name else 32)
        assert (t.steps, t.lr, t.warmup, t.weight_decay, t.betas, t.clip) == (935, 3e-5, 50, 0.1, (0.9, 0.99), 0.2)
        assert (r.network.width, r.network.feed_width, r.network.heads, r.network.layers) == (128, 512, 2, 1)


def test_the_card_says_how_a_policy_was_made(here: Path) -> None:
    told = train("--reward", "my_rewards:score", "--out", "mine", "--alpha", "1,2")
    assert told.code == 0 and f"--sampler policy:path={Path('mine') / 'policy'},alpha=1" in words_of(told.out)
    card = json.loads((here / "mine" / "policy" / "card.json").read_text())
    assert card["alpha"] == [1.0, 2.0] and card["reward"] == "my_rewards:score" and card["base"] == "lab-sudoku"
