"""The shapes of other people's instruction data: what stands in them is learned, or the shape and the remedy named."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.folder import CODEC, EOS, TEMPLATE, lines, model_folder
from unveil.checkpoints.folder import Folder
from unveil.training.data import LineForm, Pair, Reading, Rows, read_pairs
from unveil.training.instructions import LeftOut
from unveil.training.mask_agnostic import MaskAgnosticTuning
from unveil.training.sft import SFT
from unveil.training.shapes import NAMES, ROLES, line_of

CONTEXT = 96
TEXT = st.text("abc =12", min_size=1, max_size=4)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("chatty"), template=TEMPLATE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("plain"))


def user_and_answer(prompt: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def said(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


CHATS = {
    "messages": lambda q, a: user_and_answer(q, a),
    "messages with from": lambda q, a: {"messages": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
    "sharegpt": lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
    "sharegpt with role": lambda q, a: {"conversations": user_and_answer(q, a)["messages"]},
    "sharegpt of a table": lambda q, a: {"system": None, "conversations": [
        {"from": "human", "value": q, "weight": None}, {"from": "gpt", "value": a, "weight": 1.0}]},
    "union of role and from": lambda q, a: {"messages": [
        {"role": None, "content": None, "from": "human", "value": q}, {"role": "assistant", "content": a}]},
    "TRL": lambda q, a: {
        "prompt": [{"role": "user", "content": q}], "completion": [{"role": "assistant", "content": a}]},
    "parts": lambda q, a: {
        "messages": [{"role": "user", "content": said(q)}, {"role": "assistant", "content": said(a)}]},
    "part of a table": lambda q, a: {"messages": [
        {"role": "user", "content": [{"type": "text", "text": q, "image_url": None}], "tool_calls": None},
        {"role": "assistant", "content": [a]}]},
    "alpaca": lambda q, a: {"instruction": q, "input": "", "output": a},
    "alpaca without input": lambda q, a: {"instruction": q, "output": a, "input": None},
    "beside others": lambda q, a: user_and_answer(q, a) | {"prompt": "other", "id": 3, "label": True, "images": []},
}  # fmt: skip
PAIRS = {
    "prompt and answer": lambda q, a: {"prompt": q, "answer": a},
    "prompt and completion": lambda q, a: {"prompt": q, "completion": a, "answer": None},
}


@pytest.mark.parametrize("shape", CHATS.values(), ids=CHATS)
@given(prompt=TEXT, answer=TEXT)
def test_every_shape_of_a_chat_is_the_same_chat(shape: Any, prompt: str, answer: str) -> None:
    assert line_of(shape(prompt, answer), True) == user_and_answer(prompt, answer)


@pytest.mark.parametrize("shape", PAIRS.values(), ids=PAIRS)
@given(prompt=TEXT, answer=TEXT, chat=st.booleans())
def test_every_shape_of_a_pair_is_the_same_pair(shape: Any, prompt: str, answer: str, chat: bool) -> None:
    assert line_of(shape(prompt, answer), chat) == {"prompt": prompt, "answer": answer}


def test_alpaca_has_blank_lines_between_its_parts() -> None:
    item = {"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be short."}
    assert line_of(item, False) == {"prompt": "Be short.\n\nAdd.\n\n1 2\n\n", "answer": "3"}
    chat = line_of(item, True)["messages"]
    assert [(one["role"], one["content"]) for one in chat] == [
        ("system", "Be short."), ("user", "Add.\n\n1 2"), ("assistant", "3")
    ]  # fmt: skip


def test_a_system_message_may_be_empty_and_stays(chatty: Path) -> None:
    """A template that has one of its own writes it where there is none."""
    chat = [{"role": "system", "content": ""}, *user_and_answer("a", "b")["messages"]]
    assert line_of({"messages": chat}, True) == {"messages": chat}
    found = form(chatty)({"messages": chat})
    assert CODEC.decode(found.prompt) == "<system><user>a<assistant>"
    named = {"system": "be kind", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert line_of(named, True)["messages"][0] == {"role": "system", "content": "be kind"}


REFUSED = {
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, {}]},
        "message 1 has a part of type 'image_url': only text is learned, remove the part or the line",
    ),
    "an image beside": (
        {"image": "a.jpg", "conversations": []}, "the line has 'image': only text is learned, remove the line"),
    "a part without text": (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}, {}]}, "message 1 has a part without a text: "),
    "tools": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [{}]}]},
        "message 2 calls tools: only text is learned, remove the line or the calls"),
    "a tool's role": (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "observation", "value": "b"}]},
        "message 2 has the role 'observation': use system, user, assistant"),
    "a role of no kind": ({"messages": [{"role": ["user"] * 99, "content": "a"}, {}]}, "message 1 has the role ["),
    "an empty question": (user_and_answer("", "a"), "message 1 has no content: give a text"),
    "conversations": ({"conversations": "a"}, "field 'conversations' must be a list of two or more: a line is"),
    "ends with the user": (
        {"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]},
        "the last message is from the user: end with the assistant's answer"),
    "half a list": (
        {"prompt": [{"role": "user", "content": "a"}], "completion": "b"},
        "one of prompt and completion is a list: give both as texts, or both as lists of messages"),
    "no output": ({"instruction": "a", "input": "b"}, "field 'output' is missing or no text: a line of alpaca is "),
    "history": ({"instruction": "a", "output": "b", "history": [["c", "d"]]}, "field 'history' is not read: give the"),
    "preferences": (
        {"prompt": "a", "chosen": "b", "rejected": "c"}, "field 'answer' is missing or no text: a line is"),
    "other fields": ({"question": "a", "answer": "b"}, "field 'prompt' is missing or no text: a line is"),
    "nothing": ({}, "field 'prompt' is missing or no text: a line is"),
}  # fmt: skip


@pytest.mark.parametrize(("item", "fault"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_named(item: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        line_of(item, True)
    assert str(caught.value).startswith(fault)


def test_the_remedy_names_what_the_line_has_instead() -> None:
    for item, end in (
        ({"question": "a", "\x1b[2J": "b"}, "this one has 'question', '\\x1b[2J': rename them"),
        ({str(number): 1 for number in range(20)}, "'6', '7', ...: rename them"),
        ({"prompt": "a", "chosen": "b"}, "this one compares answers: give the chosen one as answer"),
        ({}, "this one has no field: rename them"),
    ):
        with pytest.raises(ValueError) as caught:
            line_of(item, True)
        assert str(caught.value).endswith(end)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["role", "from", "content", "value", "type", "text", "tool_calls"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FIELDS = (
    "prompt", "answer", "completion", "messages", "conversations", "instruction", "input", "output", "system",
    "history", "label", "image", "chosen",
)  # fmt: skip


@settings(max_examples=400)
@given(item=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5), chat=st.booleans())
def test_whatever_a_line_holds_it_is_read_or_refused(item: dict[str, Any], chat: bool) -> None:
    try:
        line = line_of(item, chat)
    except ValueError as error:
        assert len(str(error)) < 900
        return
    if "messages" in line:
        assert all(one["role"] in ROLES and isinstance(one["content"], str) for one in line["messages"])
        assert line["messages"][-1]["role"] == "assistant" and line["messages"][-1]["content"]
    else:
        assert all(isinstance(line[name], str) and line[name] for name in ("prompt", "answer"))


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """A good chat, of which something is dropped, of another type or enlarged."""
    who = st.sampled_from([*NAMES, *ROLES])
    talk: list[Any] = [{"from": draw(who), "value": draw(TEXT)} for _ in range(draw(st.integers(1, 4)))]
    at = draw(st.integers(0, len(talk) - 1))
    match draw(st.sampled_from(["drop", "retype", "enlarge", "whole"])):
        case "drop":
            talk[at].pop(draw(st.sampled_from(["from", "value"])))
        case "retype":
            talk[at][draw(st.sampled_from(["from", "value"]))] = draw(JSON)
        case "enlarge":
            talk[at]["value"] = [draw(JSON)] * 50
        case "whole":
            talk[at] = draw(JSON)
    return {"conversations": talk}


@settings(max_examples=200)
@given(item=broken())
def test_a_broken_chat_is_read_or_refused(item: dict[str, Any]) -> None:
    try:
        line_of(item, True)
    except ValueError as error:
        assert len(str(error)) < 900


# Marked bad, or too long ----------------------------------------------------------------------------------------------


def form(path: Path, **change: Any) -> LineForm:
    settings = {"canvas": 8, "context": CONTEXT, "mask_id": CODEC.encode("[MASK]")[0], "eos": EOS}
    return LineForm(folder=Folder(path), **(settings | change))


@pytest.mark.parametrize("label", [False, 0, "false", "False"])
def test_a_line_marked_bad_is_refused_unless_that_is_changed(plain: Path, tmp_path: Path, label: Any) -> None:
    good = {"prompt": "a", "completion": "b", "label": True}
    path = lines(tmp_path / "d.jsonl", [good, {"prompt": "c", "completion": "d", "label": label}])
    with pytest.raises(ValueError) as caught:
        read_pairs(path, form(plain))
    assert str(caught.value) == (
        f"{path}, line 2: label={label!r} marks its answer as bad: remove the line, or set bad=skip or bad=take"
    )
    assert read_pairs(path, form(plain, bad="skip")) == Reading([form(plain)(good)], {"marked bad": 1})
    assert len(read_pairs(path, form(plain, bad="take")).pairs) == 2


@pytest.mark.parametrize("label", [True, 1, "true", None, "spam", 3, ["x"]])
def test_other_labels_mark_nothing(plain: Path, label: Any) -> None:
    assert form(plain)({"prompt": "a", "answer": "b", "label": label})


FITS, LONG_ANSWER, LONG_PROMPT = (
    {"prompt": "a", "answer": "1234567"}, {"prompt": "a", "answer": "123456789"}, {"prompt": "a" * 89, "answer": "1"}
)  # fmt: skip
BEYOND = "with a prompt beyond the context of 96, less the canvas of 8"


def test_lines_longer_than_the_canvas(plain: Path, tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl", [FITS, LONG_ANSWER, LONG_ANSWER, LONG_PROMPT])
    with pytest.raises(ValueError, match="line 2: the answer has 9 tokens and EOS is one more, the canvas holds 8: "):
        read_pairs(path, form(plain, long="refuse"))
    kept = form(plain)(FITS)
    skipped = {"longer than the canvas of 8": 2, BEYOND: 1}
    assert read_pairs(path, form(plain, long="skip")) == Reading([kept], skipped)
    cut = Pair(CODEC.encode("a"), CODEC.encode("12345678"))
    assert read_pairs(path, form(plain, long="cut")) == Reading([kept, cut, cut], {BEYOND: 1})


@pytest.mark.parametrize("padding", ["canvas", "first"])
def test_a_cut_answer_has_no_end_and_does_not_leave_the_canvas(plain: Path, padding: str) -> None:
    pairs = [form(plain, long="cut")(item) for item in (LONG_ANSWER, FITS)]
    rows = Rows.of(pairs, canvas=8, eos=EOS, padding=padding)
    assert rows.end.tolist() == [9, 9]
    tokens = rows.batch(rows.index(0, 2, 0)).tokens.tolist()
    assert sorted(map(tuple, tokens)) == sorted(
        [tuple(CODEC.encode("a12345678")), (*CODEC.encode("a1234567"), EOS)]
    )  # fmt: skip


def test_the_numbers_are_said_and_all_skipped_is_an_error(plain: Path, tmp_path: Path) -> None:
    items = [FITS, FITS | {"prompt": "b"}, LONG_ANSWER]
    path = lines(tmp_path / "d.jsonl", items)
    recipe = SFT(base=str(plain), data=str(path), canvas=8)
    assert recipe.remarks == {"left out, longer than the canvas of 8": 1} and recipe.counts()["left_out_pairs"] == 1
    recipe = SFT(base=str(plain), data=str(path), canvas=8, long="cut", validation=0.4)
    assert recipe.remarks == {"with a cut answer": 1} and recipe.counts()["left_out_pairs"] == 0
    recipe.describe(tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["cut_pairs"] == 1
    lines(path, [LONG_ANSWER, LONG_PROMPT])
    with pytest.raises(ValueError) as caught:
        assert SFT(base=str(plain), data=str(path), canvas=8).reading
    assert str(caught.value) == (
        f"{path}: every line is left out (1 longer than the canvas of 8, 1 {BEYOND}): give other data, another layout "
        "or a larger canvas, or, where answers may be cut, long=cut"
    )


def test_mask_agnostic_learns_ends_and_cuts_nothing(plain: Path, tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl", [FITS, LONG_ANSWER])
    recipe = MaskAgnosticTuning(base=str(plain), data=str(path), context=10, long="refuse")
    with pytest.raises(ValueError, match="line 2: it has 11 tokens with its EOS, the context holds 10: give a larger"):
        assert recipe.reading
    skipping = MaskAgnosticTuning(base=str(plain), data=str(path), context=10)
    assert skipping.remarks == {"left out, longer than the context": 1}
    with pytest.raises(ValueError, match="^long=cut: the end of every answer is learned here: use long=skip or"):
        MaskAgnosticTuning(base="b", data="d", long="cut")


@pytest.mark.parametrize(
    ("name", "words"),
    [("long", "refuse, skip, cut"), ("bad", "refuse, skip, take"), ("group", "length, none")],
)
def test_the_words_of_a_setting(name: str, words: str) -> None:
    for kind in (SFT, MaskAgnosticTuning):
        with pytest.raises(ValueError, match=f"^{name}='x' is unknown: choose one of {words}$"):
            kind(base="b", data="d", **{name: "x"})


# Files ----------------------------------------------------------------------------------------------------------------


def test_whatever_the_file_the_pairs_are_the_same(plain: Path, tmp_path: Path) -> None:
    items = [{"prompt": f"a{number}", "answer": "b"} for number in range(5)]
    text = "".join(f"{json.dumps(item)}\n" for item in items).encode()
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(items)
    parquet.write_table(table, tmp_path / "a.parquet")
    files = {
        "a.jsonl": text, "bom.jsonl": b"\xef\xbb\xbf" + text, "blank.jsonl": text.replace(b"\n", b"\n\n"),
        "windows.jsonl": text.replace(b"\n", b"\r\n"), "a.jsonl.gz": gzip.compress(text),
        "list.json": json.dumps(items, indent=1).encode(), "list.json.gz": gzip.compress(json.dumps(items).encode()),
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    want = Reading([form(plain)(item) for item in items], {})
    for name in (*files, "a.parquet"):
        assert read_pairs(tmp_path / name, form(plain)) == want, name


def test_what_is_left_out_by_a_form_names_no_line(plain: Path) -> None:
    with pytest.raises(LeftOut, match="^marked bad$"):
        form(plain, bad="skip")({"prompt": "a", "answer": "b", "label": False})
