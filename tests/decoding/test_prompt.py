"""Prompts: what a model is given for a text or a chat, how an answer goes on, and where it ends."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.chats import ALPHABET, ENDS, NAMES, TEMPLATES, chat_folder
from unveil.canvas import GIVEN
from unveil.checkpoints.chat import ChatTemplate
from unveil.decoding.loading import load
from unveil.decoding.model import Model
from unveil.decoding.prompt import question, rendered, tokens_until, until
from unveil.files import write_json

PROMPTS = ["abc", "hello", "one?", "xyzzy"]
RENDERED = {
    "llada": "<bos><start>user<end>\n\nhi<eot><start>assistant<end>\n\n",
    "chatml": "<start>system\nbe kind<end>\n<start>user\nhi<end>\n<start>assistant\n",
    "mistral": "<bos>Q hi A",
}
BEGUN = {name: text + " " * (name == "mistral") for name, text in RENDERED.items()}  # what an answer stands after
texts = st.text(alphabet="ab .", max_size=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """One of each template; all put <bos> before a raw text."""
    made = {name: chat_folder(tmp_path_factory.mktemp(name), text, front=True) for name, text in TEMPLATES.items()}
    return {name: load(folder, device="cpu", dtype="float64") for name, folder in made.items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(chat_folder(tmp_path_factory.mktemp("plain")), device="cpu", dtype="float64")


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_ids_of_a_chat_are_those_of_its_text_and_nothing_more(models: dict[str, Model], name: str) -> None:
    model = models[name]
    assert model.ids(model.asked("hi")) == model.tokenizer.encode(RENDERED[name])
    assert model.ids(model.asked("hi", "A: ")) == model.tokenizer.encode(BEGUN[name] + "A: ")
    assert model.canvas(model.asked("hi")).tokens[0, :-8].tolist() == model.tokenizer.encode(RENDERED[name])


def test_raw_text_gets_what_the_tokenizer_puts_in_front(models: dict[str, Model], plain: Model) -> None:
    model = models["llada"]
    (bos,) = model.tokenizer.encode("<bos>")
    assert model.ids("hi") == [bos, *model.tokenizer.encode("hi")]  # and no <eos> at its end
    assert plain.ids("hi") == plain.tokenizer.encode("hi")
    assert model.ids(model.asked("hi", "A: ", chat=False)) == model.ids("hiA: ")
    hole = model.template("a[MASK]b")
    assert hole.tokens[0].tolist() == [*model.ids("a"), 49, *model.tokenizer.encode("b")]
    assert hole.stage[0, 0] == GIVEN


def test_a_question_is_a_chat_where_there_is_a_template(models: dict[str, Model], plain: Model) -> None:
    model, user = models["chatml"], {"role": "user", "content": "hi"}
    assert model.chats and model.asked("hi") == model.asked("hi", chat=True) == [user]
    assert model.asked("hi", "A") == [user, {"role": "assistant", "content": "A"}]
    assert not plain.chats and plain.asked("hi", "A") == "hiA" and plain.chat_hash is None
    assert model.chat_hash == ChatTemplate(text=TEMPLATES["chatml"]).hash
    with pytest.raises(ValueError, match="has no chat template: ask with raw text"):
        plain.asked("hi", chat=True)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=30)
@given(prefix=texts)
def test_an_answer_goes_on_exactly_where_its_beginning_ends(name: str, prefix: str) -> None:
    template = ChatTemplate(text=TEMPLATES[name], names=NAMES)
    text = rendered([*question("hi"), {"role": "assistant", "content": prefix}], template)
    if not prefix:
        assert text == RENDERED[name]
        return
    strips = name != "chatml"
    assert text == BEGUN[name] + (prefix.lstrip() if strips else prefix)


@pytest.mark.parametrize("name", TEMPLATES)
def test_transformers_goes_on_at_the_same_place(models: dict[str, Model], name: str) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(models[name].name)
    chat = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "A: 1"}, *question("two", "A: 2")]
    ids = theirs.apply_chat_template(chat, continue_final_message=True, return_dict=False)
    assert models[name].ids(chat) == ids
    assert models[name].ids("hi") == theirs("hi")["input_ids"][:-1]  # theirs ends with <eos>


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_ends_at_its_turn_as_at_the_end_of_text(models: dict[str, Model], name: str) -> None:
    assert models[name].ends == tuple(models[name].tokenizer.encode("".join(["<eos>", *ENDS[name]])))


def test_end_ids_come_once_from_everywhere(tmp_path: Path) -> None:
    folder = chat_folder(tmp_path, TEMPLATES["llada"])
    write_json(folder / "generation_config.json", {"eos_token_id": [48, 5]})
    model = load(folder, device="cpu")
    (eos, *_), (eot,) = model.denoiser.architecture.end_ids, model.tokenizer.encode("<eot>")
    assert model.ends == (48, 5, eos) and eot == 48


@pytest.mark.parametrize(("after", "ends"), [
    ("\\n", []),
    (".<end>", []),
    ("<end><start>", ["<end>"]),  # only the first is surely no part of an answer
    ("\\n <eot>.", ["<eot>"]),
])  # fmt: skip
def test_a_turn_ends_with_the_special_token_after_the_answer(tmp_path: Path, after: str, ends: list[str]) -> None:
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + 'AFTER' }}{% endfor %}".replace("AFTER", after)
    model = load(chat_folder(tmp_path, template), device="cpu")
    assert model.ends == tuple(model.tokenizer.encode("".join(["<eos>", *ends])))


def test_an_answer_is_what_comes_before_the_end_of_its_turn(models: dict[str, Model]) -> None:
    model = models["llada"]
    row = model.canvas(model.asked("hi"))
    ids = model.tokenizer.encode("a<start>b<eot>c<eos>?")
    row.tokens[0, -len(ids) :] = torch.tensor(ids)
    row.tokens[0, int(row.start[0]) : -len(ids)] = ids[0]
    answer = model.answer(row)
    assert answer.text.endswith("ab") and "c" not in answer.text and len(answer.tokens) == 8 - len(ids) + 3


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_order_of_chats_changes_nothing(models: dict[str, Model], name: str) -> None:
    model = models[name]
    prompts = [model.asked(text, "A" * (n % 2)) for n, text in enumerate(PROMPTS)] + [PROMPTS[0]]
    alone = [model.decode([prompt], "fast_dllm:threshold=0.3")[0] for prompt in prompts]
    assert model.decode(prompts, "fast_dllm:threshold=0.3", batch=3) == alone
    assert model.decode(prompts[::-1], "fast_dllm:threshold=0.3", batch=2) == alone[::-1]


@example(text="ab", stops=["b", "a"])
@given(text=texts, stops=st.lists(st.text(alphabet="ab .", min_size=1, max_size=3), max_size=3))
def test_a_stop_cuts_once_and_for_all(text: str, stops: list[str]) -> None:
    cut = until(text, stops)
    assert text.startswith(cut) and until(cut, stops) == cut == until(text, stops[::-1])
    assert not any(stop in cut for stop in stops)
    assert (cut == text) == (not any(stop in text for stop in stops))
    if cut != text:
        assert any(text[len(cut) :].startswith(stop) for stop in stops)


@given(pieces=st.lists(st.text(alphabet="ab.", max_size=3), max_size=8), data=st.data())
def test_the_fewest_tokens_write_the_text(pieces: list[str], data: st.DataObject) -> None:
    def decode(tokens: Any) -> str:
        return "".join(pieces[token] for token in tokens)

    tokens = list(range(len(pieces)))
    whole = decode(tokens)
    text = whole[: data.draw(st.integers(0, len(whole)))]
    kept = tokens_until(text, tokens, decode)
    assert kept == tokens[: len(kept)] and decode(kept).startswith(text)
    assert not kept or not decode(kept[:-1]).startswith(text)


def test_answers_end_before_a_stop(models: dict[str, Model]) -> None:
    model = models["chatml"]
    prompts = [model.asked(text) for text in PROMPTS]
    whole = model.decode(prompts)
    stop = whole[0].text[3:5]
    for answer, cut in zip(whole, model.decode(prompts, stop=["~", stop]), strict=True):
        assert cut.text == until(answer.text, [stop])
        assert cut.nfe == answer.nfe and cut.complete == answer.complete
        if cut.text != answer.text:
            assert model.tokenizer.decode(cut.tokens) == cut.text and len(cut.tokens) < len(answer.tokens)
        else:
            assert cut == answer
    assert model.decode(prompts[:1], stop=[stop])[0].text == whole[0].text[:3]


def say(role: str) -> dict[str, str]:
    return {"role": role, "content": "a"}


ERRORS: list[tuple[Callable[[Model], object], str]] = [
    (lambda m: m.ids([]), "the prompt is []: give a text, or a list of messages"),
    (lambda m: m.ids([say("user"), {"role": "user"}]), "message 2 of the prompt has no content that is a text"),
    (lambda m: m.ids([{"content": "hi"}]), "message 1 of the prompt has no role that is a text: give both of them"),
    (lambda m: m.ids([say("assistant")]), "the prompt is the beginning of an answer alone: give a message of the user"),
    (lambda m: m.decode(["abc"], stop="abc"), "stop is 'abc': give a list of texts, none of them empty"),
    (lambda m: m.decode(["abc"], stop=["abc", ""]), "stop is ['abc', '']: give a list of texts, none of them empty"),
    (lambda m: m.canvas(m.asked("a" * 250)), "273 tokens and 8 new ones exceed the model's context of 256: shorten"),
    (lambda m: m.canvas(m.asked("a[MASK]")), "prompt 0 contains the mask id 49 at position 10"),
]


@pytest.mark.parametrize("wrong, message", ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_wrong_prompts_are_explained(models: dict[str, Model], wrong: Callable[[Model], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        wrong(models["llada"])
    assert str(caught.value).startswith(message)


def test_a_chat_without_a_template_is_refused(plain: Model) -> None:
    with pytest.raises(ValueError, match="^the model has no chat template: give a text, or put a chat_template"):
        plain.ids([say("user")])


def test_a_template_that_leaves_out_the_answer_cannot_continue_it() -> None:
    template = ChatTemplate(text="{{ messages[0].content }}")
    assert rendered(question("hi"), template) == "hi"
    with pytest.raises(ValueError, match="leaves out how the answer begins: ask without a beginning"):
        rendered(question("hi", "A"), template)


@pytest.mark.parametrize("name", TEMPLATES)
def test_without_jinja2_a_model_with_a_template_takes_raw_text_and_no_chats(
    models: dict[str, Model], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows end where the settings say: what the template writes after an answer is unknown."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    bare = load(models[name].name, device="cpu", dtype="float64")
    with pytest.warns(UserWarning, match=r"no row ends with what .* needs jinja2: pip install .unveil\[hf\]."):
        assert bare.ends == tuple(bare.tokenizer.encode("<eos>")) and bare.chats
    raw = [bare.asked(text, "A", chat=False) for text in PROMPTS]
    assert bare.decode(raw) == models[name].raw().decode(raw)
    for call in (bare.ids, bare.canvas):
        with pytest.raises(ValueError, match=r"^the model's chat template needs jinja2: pip install 'unveil"):
            call(bare.asked("hi"))


def test_every_text_is_written_as_it_is(plain: Model) -> None:
    assert plain.tokenizer.decode(plain.ids(ALPHABET)) == ALPHABET
