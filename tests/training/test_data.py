"""Instruction data: every line becomes the ids it should, or says what is wrong; batches are a function of the step."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.folder import CODEC, CONTEXT, EOS, MASK, TEMPLATE, folder_of, lines, model_folder
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.files import write_json
from unveil.training.data import LineForm, Pair, Rows, hold_out, read_pairs

ids = st.lists(st.integers(0, 40), min_size=1, max_size=6)
some_pairs = st.lists(st.builds(Pair, ids, ids), min_size=1, max_size=30)


def form(path: Path = Path("nowhere"), tokenizer: FileTokenizer = CODEC, canvas: int = 8) -> LineForm:
    return LineForm(folder=folder_of(path, tokenizer), canvas=canvas, context=CONTEXT, mask_id=MASK, eos=EOS)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("chatty"), template=TEMPLATE)


@given(some_pairs, st.sampled_from(["canvas", "first"]), st.data())
def test_a_batch_is_its_rows_written_out(pairs: list[Pair], padding: Any, data: st.DataObject) -> None:
    rows = Rows.of(pairs, canvas=9, eos=EOS, padding=padding)
    index = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=8))
    batch = rows.batch(torch.tensor(index))
    want = [
        pairs[i].prompt + pairs[i].answer + [EOS] * (9 - len(pairs[i].answer) if padding == "canvas" else 1)
        for i in index
    ]
    width = max(len(row) for row in want)
    assert batch.tokens.tolist() == [row + [EOS] * (width - len(row)) for row in want]
    assert batch.start.tolist() == [len(pairs[i].prompt) for i in index]
    assert batch.end.tolist() == [len(row) for row in want]


@pytest.mark.parametrize("kind", ["length", "none"])
@given(pairs=some_pairs, rows=st.integers(1, 9), seed=st.integers(0, 3))
def test_every_pair_comes_once_an_epoch(kind: str, pairs: list[Pair], rows: int, seed: int) -> None:
    data = Rows.of(pairs, canvas=9, eos=EOS)
    group = max(1, min(16, len(pairs) // rows))
    seen: Counter[int] = Counter({number: 0 for number in range(len(pairs))})
    for step in range(4 * group):
        index = data.index(step, rows, seed, kind)
        assert torch.equal(index, data.index(step, rows, seed, kind))
        assert max(Counter(index.tolist()).values()) <= rows // len(pairs) + 2  # it meets at most two part epochs
        seen.update(index.tolist())
        if (step + 1) % group == 0:
            assert max(seen.values()) - min(seen.values()) <= 1


def test_rows_of_like_length_share_a_batch_in_an_order_of_the_seed() -> None:
    pairs = [Pair([1] * (1 + number % 64), [2]) for number in range(256)]
    data = Rows.of(pairs, canvas=2, eos=EOS)
    batches = [data.batch(data.index(step, 8, seed=0)) for step in range(32)]
    wide = sum(batch.tokens.numel() for batch in batches)
    assert wide < 1.15 * float(data.end.sum())  # sorted by nothing it is about 1.8
    widths = [batch.tokens.shape[1] for batch in batches]
    assert widths[:16] not in (sorted(widths[:16]), sorted(widths[:16], reverse=True))
    orders = [[data.index(step, 8, seed).tolist() for step in range(32)] for seed in (0, 1)]
    later = [data.index(step, 8, 0).tolist() for step in range(32, 64)]
    assert orders[0] != orders[1] and orders[0] != later


def test_without_groups_a_batch_is_of_any_lengths() -> None:
    pairs = [Pair([1] * (1 + number % 64), [2]) for number in range(256)]
    data = Rows.of(pairs, canvas=2, eos=EOS)
    indices = [data.index(step, 8, 0, group="none").tolist() for step in range(32)]
    assert Counter(number for index in indices for number in index) == Counter(range(256))
    wide = sum(data.batch(torch.tensor(index)).tokens.numel() for index in indices)
    assert wide > 1.5 * float(data.end.sum())
    assert indices[0] != data.index(0, 8, 1, group="none").tolist()
    assert indices[0] != data.index(32, 8, 0, group="none").tolist()


@given(some_pairs, st.floats(0.01, 0.99), st.integers(1, 6), st.integers(0, 5))
def test_what_is_held_out_is_never_learned(pairs: list[Pair], share: float, most: int, seed: int) -> None:
    kinds = {(tuple(pair.prompt), tuple(pair.answer)) for pair in pairs}
    if len(kinds) < 2:
        with pytest.raises(ValueError, match="^all pairs are the same one: give a different one too, to validate on$"):
            hold_out(pairs, share, most, seed)
        return
    learn, held = hold_out(pairs, share, most, seed)
    assert learn and held and all(pair not in held for pair in learn)
    assert {(tuple(pair.prompt), tuple(pair.answer)) for pair in learn + held} == kinds
    assert len(held) == min(max(1, round(share * len(kinds))), len(kinds) - 1, most)
    assert (learn, held) == hold_out(pairs, share, most, seed)


def test_the_seed_chooses_what_is_held_out() -> None:
    pairs = [Pair([number], [number]) for number in range(40)]
    assert len({str(hold_out(pairs, 0.1, 100, seed)[1]) for seed in range(5)}) > 1


def test_prompt_and_answer_lines(tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl", [{"prompt": "ab=", "answer": "c"}, {"prompt": "x", "answer": "12", "id": 3}])
    pairs = [Pair(CODEC.encode("ab="), CODEC.encode("c")), Pair(CODEC.encode("x"), CODEC.encode("12"))]
    assert read_pairs(path, form()) == (pairs, {})


def test_a_prompt_begins_as_the_tokenizer_begins_a_text(chatty: Path) -> None:
    """As it will when the model is asked; a chat begins as its template does."""
    fronted = replace(CODEC, front=(EOS,))
    bare, front = (form(tokenizer=one)({"prompt": "ab=", "answer": "c"}) for one in (CODEC, fronted))
    assert front == Pair([EOS, *bare.prompt], bare.answer)
    assert form(chatty, fronted)(ask("user", "assistant")) == form(chatty)(ask("user", "assistant"))


def test_what_a_template_always_writes_is_no_answer(tmp_path: Path) -> None:
    """LLaDA-8B-Instruct's begins the next answer whether or not one is asked for."""
    deaf = TEMPLATE.replace("{% if add_generation_prompt %}", "").removesuffix("{% endif %}")
    chat = [("user", "one?"), ("assistant", "1"), ("user", "two?"), ("assistant", "2")]
    messages = [{"role": role, "content": content} for role, content in chat]
    pair = form(model_folder(tmp_path, template=deaf), canvas=16)({"messages": messages})
    assert pair.prompt == CODEC.encode("<user>one?[EOS]<assistant>1[EOS]<user>two?[EOS]<assistant>")
    assert pair.answer == CODEC.encode("2")
    render = Folder(tmp_path).asked_in_chat()
    assert render(messages[:2], False) == "<user>one?[EOS]<assistant>1[EOS]"
    assert render(messages[:3], True).startswith(render(messages[:2], False))
    assert render(messages[:1], True) == "<user>one?[EOS]<assistant>"


@pytest.mark.parametrize("where", ["file", "config"])
def test_chats_are_written_by_the_models_template(chatty: Path, tmp_path: Path, where: str) -> None:
    folder = chatty
    if where == "config":
        folder = model_folder(tmp_path)
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        write_json(folder / "tokenizer_config.json", settings | {"chat_template": TEMPLATE})
    chat = [("system", "be kind"), ("user", "one?"), ("assistant", "1"), ("user", "two?"), ("assistant", " 2 ")]
    messages = [{"role": role, "content": content} for role, content in chat]
    pair = form(folder, canvas=16)({"messages": messages})
    assert pair.answer == CODEC.encode("2")  # without the EOS, which every answer gets
    whole = "<system>be kind[EOS]<user>one?[EOS]<assistant>1[EOS]<user>two?[EOS]<assistant>"
    assert pair.prompt == CODEC.encode(whole)


def ask(*roles: str, content: object = "a") -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role in roles]}


BAD = {
    "no answer": ({"prompt": "a"}, "field 'answer' is missing or no text: a line is {\"prompt\": text, "),
    "no prompt": ({"answer": "a"}, "field 'prompt' is missing or no text: a line is"),
    "empty": ({"prompt": "", "answer": "a"}, "field 'prompt' is missing or no text"),
    "a number": ({"prompt": "a", "answer": 5}, "field 'answer' is missing or no text"),
    "long": ({"prompt": "a", "answer": "12345678"}, "the answer has 8 tokens and EOS is one more, the canvas holds 8: "
             "set canvas=9 or more, set long=skip or long=cut, or remove the line"),
    "context": ({"prompt": "a" * 89, "answer": "a"}, "the prompt has 89 tokens, with a canvas of 8 that is 1 "
                "beyond the model's context of 96: shorten the prompt, set a smaller canvas, or set long=skip"),
    "characters": ({"prompt": "a", "answer": "É"}, "the model's vocabulary cannot write 'É'"),
    "mask": ({"prompt": "a[MASK]", "answer": "a"}, f"the prompt holds the mask token (id {MASK}): remove it"),
    "mask in answer": ({"prompt": "a", "answer": "[MASK]"}, "the answer holds the mask token"),
    "only EOS": ({"prompt": "a", "answer": "[EOS]"}, "the answer has no tokens: write at least one character, or"),
    "no list": ({"messages": "hello"}, "field 'messages' must be a list of two or more: a line is"),
    "one message": (ask("assistant"), "field 'messages' must be a list of two or more"),
    "role": (ask("user", "robot", "assistant"), "message 2 has the role 'robot': use system, user, assistant"),
    "no object": ({"messages": ["hi", "ho"]}, "message 1 has the role None"),
    "content": (ask("user", "assistant", content=None), "message 1 has no content: give a text"),
    "last": (ask("user", "assistant", "user"), "the last message is from the user: end with the assistant's answer"),
    "no template": (ask("user", "assistant"), "nowhere has no chat template: put its chat_template.jinja there, or"),
}  # fmt: skip


@pytest.mark.parametrize(("item", "fault"), BAD.values(), ids=BAD)
def test_a_bad_line_is_named(tmp_path: Path, item: dict[str, object], fault: str) -> None:
    path = lines(tmp_path / "d.jsonl", [{"prompt": "a", "answer": "b"}, item])
    with pytest.raises(ValueError) as caught:
        read_pairs(path, form())
    assert str(caught.value).startswith(f"{path}, line 2: {fault}")


def test_the_longest_answer_fits_and_so_does_the_longest_prompt() -> None:
    form()({"prompt": "a" * 88, "answer": "1234567"})


@pytest.mark.parametrize(("text", "fault"), [
    ('{"prompt": "a"', ", line 1: not JSON ("),
    ('{"prompt": "a", "answer": "b"}\n[1]', ", line 2: a list, but every line must be an object {...}"),
    ("", " is empty: a line is "),
    ("\n\n", " is empty: a line is "),
])  # fmt: skip
def test_a_bad_file_is_named(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "d.jsonl").write_text(text)
    with pytest.raises(ValueError) as caught:
        read_pairs(tmp_path / "d.jsonl", form())
    assert str(caught.value).startswith(f"{tmp_path / 'd.jsonl'}{fault}")


TEMPLATES = {
    "rewrites": ("{{ messages | length }}", "the model's chat template rewrites the prompt once it is answered: use"),
    "refuses": ("{{ raise_exception('no system here') }}", "the model's chat template refuses the messages (no system"),
    "says nothing": ("{{ '' }}", "the prompt has no tokens: write at least one character, or remove the line"),
}


@pytest.mark.parametrize(("template", "fault"), TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_that_does_not_fit(tmp_path: Path, template: str, fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        form(model_folder(tmp_path, template=template))(ask("user", "assistant"))
    assert str(caught.value).startswith(fault)


def test_without_transformers_chats_say_what_to_install(chatty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ValueError) as caught:
        form(chatty)(ask("user", "assistant"))
    assert str(caught.value) == "the model's chat template needs jinja2: pip install 'unveil[hf]'"
