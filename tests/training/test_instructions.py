"""Instruction sets: s1K's layout to the letter, what is left out is counted, the hub is read as a file is."""

import json
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.program import run, words_of
from tests.training.folder import CODEC, EOS, MASK, TEMPLATE, folder_of, lines, model_folder
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.files import write_json
from unveil.training.checkpoint import Trained
from unveil.training.data import LineForm, Pair, read_pairs
from unveil.training.instructions import INSTRUCTION, LAYOUTS, Layout, LeftOut, s1k
from unveil.training.mask_agnostic import MaskAgnosticTuning
from unveil.training.sft import SFT
from unveil.training.shapes import line_of
from unveil.training.tuning import Tuning

PRINTED = FileTokenizer.characters(string.printable, ["[EOS]", "[MASK]"])  # a letter is a token
S1K_EOS, S1K_MASK = (PRINTED.encode(name)[0] for name in ("[EOS]", "[MASK]"))
WIDE = 2048

# The layout -----------------------------------------------------------------------------------------------------------


def sample(attempt: str, question: str = "What is 1+1?", **change: Any) -> dict[str, Any]:
    """An item with the published fields."""
    return {
        "solution": "2", "question": question, "cot_type": "math", "source_type": "ours", "metadata": "{}",
        "cot": None, "thinking_trajectories": ["Hmm."], "attempt": attempt,
    } | change  # fmt: skip


def test_the_answer_is_the_box_and_no_more() -> None:
    """All between the last box and the last brace would be `\\frac{1}{2}}, for x in {1, 2`."""
    attempt = r"So \boxed{3}? No: \boxed{\frac{1}{2}}, for x in {1, 2}."
    target = f"<reasoning>{attempt}</reasoning>\n<answer>\\boxed{{\\frac{{1}}{{2}}}}</answer>"
    prompt = f"{INSTRUCTION}\n\nWhat is 1+1?"
    chat = s1k(sample(attempt), True)
    assert chat == {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": target}]}
    assert s1k(sample(attempt), False) == {"prompt": f"{prompt}\n\n", "answer": target}


def test_the_instruction_shows_the_format_of_the_answers() -> None:
    target = s1k(sample(r"\boxed{2}"), False)["answer"]
    shown = INSTRUCTION.partition("format:\n")[2]
    assert target == shown.replace("your steps", r"\boxed{2}").replace("your answer", "2")


OUT = {
    "crossword": (sample(r"\boxed{2}", cot_type="crossword"), "not mathematics"),
    "no box": (sample("It is 2."), r"without an answer in \boxed{...}"),
    "open": (sample(r"\boxed{2} \boxed{3"), r"without an answer in \boxed{...}"),
    "empty": (sample(r"Write it in \boxed{ }."), r"without an answer in \boxed{...}"),
    "nothing": (sample(""), r"without an answer in \boxed{...}"),
}


@pytest.mark.parametrize(("item", "reason"), OUT.values(), ids=OUT)
def test_what_is_no_boxed_mathematics_is_left_out(item: dict[str, Any], reason: str) -> None:
    with pytest.raises(LeftOut, match=f"^{re.escape(reason)}$"):
        s1k(item, True)


@pytest.mark.parametrize("name", ["question", "attempt", "cot_type"])
@pytest.mark.parametrize("value", [None, 5, ["a"]])
def test_a_field_that_is_no_text_is_named(name: str, value: Any) -> None:
    fault = f"field {name!r} is missing or no text: layout s1k reads question, attempt and cot_type"
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        s1k(sample(r"\boxed{2}") | {name: value}, True)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(-2, 2), st.integers(-2, 2))
def test_tokens_are_counted_with_the_eos(prompt: int, answer: int, room: int, more: int) -> None:
    most, least = prompt + answer + 1 + room, answer + 1 - more
    layout = Layout(line=line_of, most=most, least=least)
    form = LineForm(
        folder=folder_of(), canvas=None, context=99, mask_id=MASK, eos=EOS, layout=layout
    )  # fmt: skip
    item = {"prompt": "a" * prompt, "answer": "b" * answer}
    if room < 0:
        fault = f"longer than {most} tokens"
    elif more < 0:
        fault = f"with an answer of fewer than {least} tokens"
    else:
        assert form(item) == Pair(CODEC.encode(item["prompt"]), CODEC.encode(item["answer"]))
        return
    with pytest.raises(LeftOut, match=f"^{fault}$"):
        form(item)


def test_the_published_limits() -> None:
    assert (LAYOUTS["s1k"].most, LAYOUTS["s1k"].least) == (1024, 32)
    assert (LAYOUTS["pairs"].most, LAYOUTS["pairs"].least) == (None, 0)


# From data to rows ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["chat", "config", "plain"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes chats, one whose template is among its settings, and one that takes none."""
    folder = model_folder(
        tmp_path_factory.mktemp("base"), template=TEMPLATE if request.param == "chat" else None,
        vocabulary=128, mask_id=S1K_MASK, end_ids=(S1K_EOS,), max_columns=WIDE,
    )  # fmt: skip
    PRINTED.save(folder / "tokenizer.json")
    if request.param == "config":
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        write_json(folder / "tokenizer_config.json", settings | {"chat_template": TEMPLATE})
    return folder


def chats(base: Path) -> bool:
    """Whether it takes chats."""
    return "chat_template" in (base / "tokenizer_config.json").read_text() or (base / "chat_template.jinja").is_file()


def used(base: Path, attempt: str, question: str) -> int:
    """Tokens of a sample and the EOS: letters, and those that the model's template writes."""
    line = s1k(sample(attempt, question), False)
    frame = (
        len("<user><assistant>") + 1 - 2 if chats(base) else 0
    )  # its own EOS; the line break of a plain prompt is two
    return len(line["prompt"]) + len(line["answer"]) + frame + 1


def fixture(base: Path) -> list[dict[str, Any]]:
    """Four samples to keep, the last as long as may be, and six to leave out."""
    kept = [sample(f"{n}+{n} is \\boxed{{{2 * n}}}.", f"What is {n}+{n}?") for n in range(3)]
    room = 1024 - used(base, r"\boxed{2}", "x")
    longest, longer = (sample(r"\boxed{2}" + "." * count, "x") for count in (room, room + 1))
    return [*kept, longest, longer, *(item for item, _ in OUT.values())]


LEFT_OUT = {"longer than 1024 tokens": 1, "not mathematics": 1, r"without an answer in \boxed{...}": 4}


def kinds(base: Path, data: object, **change: Any) -> list[Tuning]:
    """Both fine-tunings, with room for every sample that is kept."""
    return [
        SFT(base=str(base), data=str(data), canvas=1000, **change),
        MaskAgnosticTuning(base=str(base), data=str(data), **change),
    ]


def test_what_is_kept_is_written_as_the_layout_says_and_the_rest_is_counted(base: Path, tmp_path: Path) -> None:
    items = fixture(base)
    for recipe in kinds(base, lines(tmp_path / "d.jsonl", items), layout="s1k"):
        pairs, left_out = recipe.reading
        more = {} if isinstance(recipe, SFT) else {"longer than the context": 0}
        assert left_out == LEFT_OUT | more and len(pairs) == 4
        for item, pair in zip(items, pairs, strict=False):
            want = s1k(item, False)
            prompt = want["prompt"]
            if chats(base):
                prompt = f"<user>{prompt.strip()}[EOS]<assistant>"
            assert pair == Pair(PRINTED.encode(prompt), PRINTED.encode(want["answer"]))
        assert max(len(prompt) + len(answer) + 1 for prompt, answer in pairs) == 1024
        assert recipe.counts() == {"pairs": 3, "held_out_pairs": 1, "left_out_pairs": 6}
        recipe.describe(tmp_path)
        card = json.loads((tmp_path / "card.json").read_text())
        assert (card["layout"], card["left_out_pairs"], card["left_out"]) == ("s1k", 6, left_out)


def test_a_template_is_asked_for_where_transformers_is_missing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that takes chats never silently learns plain prompts."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    recipe, _ = kinds(base, lines(tmp_path / "d.jsonl", fixture(base)), layout="s1k")
    if chats(base):
        with pytest.raises(ValueError, match="line 1: the model's chat template needs jinja2: pip"):
            assert recipe.reading
    else:
        assert len(recipe.reading.pairs) == 4


def test_a_set_that_is_left_out_wholly_is_an_error(base: Path, tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl", [item for item, _ in OUT.values()])
    for recipe in kinds(base, path, layout="s1k"):
        with pytest.raises(ValueError) as caught:
            assert recipe.reading
        assert str(caught.value) == (
            f"{path}: every line is left out (1 not mathematics, 4 without an answer in \\boxed{{...}}): "
            "give other data, another layout or a larger canvas, or, where answers may be cut, long=cut"
        )


def test_a_broken_line_is_named_by_its_own_number(base: Path, tmp_path: Path) -> None:
    """Those that are left out before it count."""
    path = lines(tmp_path / "d.jsonl", [OUT["no box"][0], sample(r"\boxed{2}"), {"prompt": "a", "answer": "b"}])
    for recipe in kinds(base, path, layout="s1k"):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line 3: field 'cot_type' is missing or no"):
            assert recipe.reading


def test_an_unknown_layout_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"^layout='s1K' is unknown: did you mean 's1k'\? known are pairs, s1k$"):
        SFT(base="b", data="d", layout="s1K")


# The hub --------------------------------------------------------------------------------------------------------------

Hub = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hub], None]:
    """Puts a function in the place of datasets.load_dataset."""

    def put(load_dataset: Hub) -> None:
        fake = ModuleType("datasets")
        fake.load_dataset = load_dataset  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "datasets", fake)

    return put


def pair(item: dict[str, Any]) -> Pair:
    return LineForm(folder=folder_of(), canvas=8, context=99, mask_id=MASK, eos=EOS)(item)


NAMES = {
    "hub:simplescaling/s1K": ("simplescaling/s1K", None, "train"),
    "hub:a-1/b.c_2@main": ("a-1/b.c_2", "main", "train"),
    "hub:a/b:validation": ("a/b", None, "validation"),
    "hub:a/b@refs/pr/2:train[:10%]": ("a/b", "refs/pr/2", "train[:10%]"),
}


@pytest.mark.parametrize(("name", "wanted"), NAMES.items(), ids=NAMES)
def test_the_hub_is_asked_for_what_is_named(hub: Any, name: str, wanted: tuple[str | None, ...]) -> None:
    asked = []

    def load_dataset(path: str, *, revision: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((path, revision, split))
        return [{"prompt": "a", "answer": "b"}]

    hub(load_dataset)
    assert read_pairs(name, pair) == ([pair({"prompt": "a", "answer": "b"})], {})
    assert asked == [wanted]


def test_the_hub_and_a_file_of_the_same_items_are_the_same_data(base: Path, hub: Any, tmp_path: Path) -> None:
    items = fixture(base)
    hub(lambda *names, **settings: items)
    path = lines(tmp_path / "d.jsonl", items)
    for ours, theirs in zip(kinds(base, path, layout="s1k"), kinds(base, "hub:a/b", layout="s1k"), strict=True):
        assert ours.reading == theirs.reading


def test_a_broken_row_is_named(hub: Any) -> None:
    hub(lambda *names, **settings: [{"prompt": "a", "answer": "b"}, {"prompt": "a"}])
    with pytest.raises(ValueError, match="^hub:a/b, row 2: field 'answer' is missing or no text"):
        read_pairs("hub:a/b", pair)


def test_an_empty_set_is_named(hub: Any) -> None:
    hub(lambda *names, **settings: [])
    with pytest.raises(ValueError, match="^hub:a/b is empty: a line is"):
        read_pairs("hub:a/b", pair)


@pytest.mark.parametrize(("error", "reason"), [
    (FileNotFoundError("Dataset 'a/b' doesn't exist.\nMore."), "Dataset 'a/b' doesn't exist."),
    (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "Dataset scripts are no longer"),
    (KeyError(), "KeyError"),
])  # fmt: skip
def test_what_the_hub_lacks_is_one_sentence(hub: Any, error: Exception, reason: str) -> None:
    def load_dataset(*names: str, **settings: str) -> list[dict[str, Any]]:
        raise error

    hub(load_dataset)
    with pytest.raises(ValueError) as caught:
        read_pairs("hub:a/b", pair)
    told = str(caught.value)
    assert told.startswith(f"hub:a/b could not be had from the hub ({reason}") and "\n" not in told
    assert told.endswith("check the name, the split and the network, or download it and give a file")


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    fault = "hub:a/b needs datasets: pip install 'unveil[data]', or download it and give a file"
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        read_pairs("hub:a/b", pair)


@pytest.mark.parametrize("name", ["hub:", "hub:s1K", "hub:a/b/c", "hub:a/b@", "hub:a/b:", "hub:../b", "hub:a/b c"])
def test_a_name_that_is_none_of_the_hubs(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(repr(name))} is neither a file nor hub:OWNER/NAME\[@REV"):
        read_pairs(name, pair)


def test_a_file_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hub:a").mkdir()
    lines(Path("hub:a/b"), [{"prompt": "a", "answer": "b"}])
    assert len(read_pairs("hub:a/b", pair).pairs) == 1


# The command ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["sft", "mask-agnostic"])
def test_the_command_takes_a_set_of_the_hub(hub: Any, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    hub(lambda *names, **settings: [sample(r"\boxed{2}", cot_type="chess"), sample("2")])
    seen: list[Tuning] = []
    nothing = Trained(folder=Path("nowhere"), best=Path("nowhere"))
    monkeypatch.setattr("unveil.train.tuned", lambda recipe, *rest, **options: seen.append(recipe) or nothing)
    monkeypatch.setenv("RANK", "1")  # there is nothing to speak of
    told = run("train", verb, "--model", "lab-sudoku", "--data", "hub:a/b@c:d", "--set", "layout=s1k")
    assert told.code == 0 and (seen[0].data, seen[0].layout) == ("hub:a/b@c:d", "s1k")
    with pytest.raises(ValueError, match="^hub:a/b@c:d: every line is left out [(]1 not mathematics, 1 without"):
        assert seen[0].reading


def test_the_command_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    told = run("train", "sft", "--model", "lab-sudoku", "--data", tmp_path, "--out", tmp_path / "run")
    assert told.code == 2 and not (tmp_path / "run").exists()
    assert "does not exist: give a file of JSON lines, or hub:OWNER/NAME" in words_of(told.err)


def test_the_command_refuses_a_device(tmp_path: Path) -> None:
    told = run("train", "sft", "--model", "lab-sudoku", "--data", "/dev/full", "--out", tmp_path / "run")
    assert told.code == 2 and "/dev/full is a device: give a file, or a pipe" in words_of(told.err)
