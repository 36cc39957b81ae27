"""Chat templates: what transformers writes for a folder, wherever the template lies, and what ends an answer."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chats import NAMES, TEMPLATES, chat_folder
from unveil.checkpoints.chat import ChatTemplate
from unveil.checkpoints.folder import Folder
from unveil.files import write_json

TURN_ENDS = {"llada": "<eot>", "chatml": "<end>\n", "mistral": "<eos>"}
contents = st.text(alphabet="ab \n", min_size=1, max_size=5)


def templates() -> dict[str, ChatTemplate]:
    return {name: ChatTemplate(text=text, names=NAMES) for name, text in TEMPLATES.items()}


def chat(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """transformers' own tokenizers of folders with the templates."""
    from transformers import PreTrainedTokenizerFast

    folders = {name: chat_folder(tmp_path_factory.mktemp(name), text) for name, text in TEMPLATES.items()}
    return {name: PreTrainedTokenizerFast.from_pretrained(folder) for name, folder in folders.items()}


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=20)
@given(texts=st.lists(contents, min_size=1, max_size=4))
def test_text_is_what_transformers_writes(published: dict[str, Any], name: str, texts: list[str]) -> None:
    ours, messages = templates()[name], chat(*texts)
    for ask in (False, True):
        theirs = published[name].apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
        deaf = "<start>assistant<end>\n\n" if name == "llada" and not ask else ""
        assert ours(messages, ask) == theirs.removesuffix(deaf)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_ends_an_answer(name: str) -> None:
    assert templates()[name].turn_end == TURN_ENDS[name]


def test_a_template_that_takes_no_such_chat_says_nothing_of_its_end() -> None:
    assert ChatTemplate(text="{{ raise_exception('never') }}").turn_end == ""
    assert ChatTemplate(text="{{ messages | length }}").turn_end == ""


def test_the_hash_is_that_of_the_text() -> None:
    template = templates()["llada"]
    assert template.hash == hashlib.sha256(template.text.encode()).hexdigest()[:12]
    assert len({one.hash for one in templates().values()}) == 3


PLACES: dict[str, tuple[Any, str | None, str | None]] = {  # tokenizer_config.json's, the file's, the one in force
    "nowhere": (None, None, None),
    "config": ("A", None, "A"),
    "file": (None, "B", "B"),
    "both": ("A", "B", "B"),
    "several": ([{"name": "tools", "template": "C"}, {"name": "default", "template": "A"}], None, "A"),
    "several without a default": ([{"name": "tools", "template": "C"}], None, None),
}


@pytest.mark.parametrize(("config", "file", "want"), PLACES.values(), ids=PLACES)
def test_where_a_template_may_be(tmp_path: Path, config: Any, file: str | None, want: str | None) -> None:
    write_json(tmp_path / "tokenizer_config.json", {"chat_template": config} if config else {})
    if file is not None:
        (tmp_path / "chat_template.jinja").write_text(file)
    assert (Folder(tmp_path).chat is not None) == (want is not None)
    if want is not None:
        assert Folder(tmp_path).asked_in_chat().text == want
    else:
        with pytest.raises(ValueError, match="has no chat template: put its chat_template.jinja there"):
            Folder(tmp_path).asked_in_chat()


def test_special_tokens_have_their_names(tmp_path: Path) -> None:
    """As texts or with their properties, in either file; tokenizer_config.json's come first."""
    write_json(tmp_path / "special_tokens_map.json", {"bos_token": "<old>", "pad_token": {"content": "<pad>"}})
    text = {"chat_template": "{{ bos_token + eos_token + pad_token }}", "add_bos_token": True, "unk_token": None}
    write_json(tmp_path / "tokenizer_config.json", NAMES | text | {"eos_token": {"content": "<eos>", "lstrip": False}})
    assert Folder(tmp_path).asked_in_chat()(chat("a"), True) == "<bos><eos><pad>"


def test_a_refusal_is_explained() -> None:
    with pytest.raises(
        ValueError, match=r"^the model's chat template refuses the messages \(only users\): change them"
    ):
        templates()["mistral"]([{"role": "system", "content": "a"}], True)


def test_without_jinja2_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for ask in (lambda one: one(chat("a"), True), lambda one: one.turn_end):
        with pytest.raises(ValueError, match=r"^the model's chat template needs jinja2: pip install 'unveil"):
            ask(templates()["chatml"])


def test_the_path_may_hold_what_is_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])  # notebooks do that
    assert ChatTemplate(text="{{ messages[0].content }}", names={})(chat("a"), True) == "a"
