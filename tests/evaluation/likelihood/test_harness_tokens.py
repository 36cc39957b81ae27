"""lm-eval's texts as tokens: parted where lm-eval parts them, one BOS, windows that score every token once."""

from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.chats import TEMPLATES, chat_folder
from tests.checkpoints.byte_pairs import dream_folder
from unveil.decoding.loading import load
from unveil.decoding.model import Model

pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'unveil[lm-eval]'")
from lm_eval.api.model import TemplateLM  # noqa: E402

from unveil.evaluation.likelihood.lm_eval_terms import encode, encode_pair, prefix, stops, windows  # noqa: E402

BOS, EOS = 44, 45  # of tests.chats
texts = st.text(alphabet="helo w12'sa\n", max_size=12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Characters without a front and with one; byte pairs, shifted."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("plain", "front", "pairs")}
    chat_folder(folders["plain"])
    chat_folder(folders["front"], TEMPLATES["llada"], front=True)
    dream_folder(folders["pairs"])
    return {name: load(folder, device="cpu", dtype="float64") for name, folder in folders.items()}


@settings(max_examples=60)
@given(texts.filter(str.strip), texts, st.sampled_from(["plain", "front", "pairs"]))
@example("hello", " world", "pairs")
@example("he ", "llo", "pairs")
@example("hell", "o", "pairs")  # one token in all
def test_pairs_are_parted_as_lm_eval_parts_them(
    models: dict[str, Model], context: str, continuation: str, name: str
) -> None:
    model = models[name]
    if name != "pairs":
        context, continuation = (text.replace("'", "?") for text in (context, continuation))
    theirs = SimpleNamespace(backend="causal", tok_encode=lambda text: encode(model, text))
    assert encode_pair(model, context, continuation) == TemplateLM._encode_pair(theirs, context, continuation)


def test_blanks_go_to_the_continuation(models: dict[str, Model]) -> None:
    model = models["plain"]
    before, after = encode_pair(model, "a: \n", "b")
    assert (model.tokenizer.decode(before), model.tokenizer.decode(after)) == ("a:", " \nb")


def test_an_empty_context_is_what_the_tokenizer_puts_in_front(models: dict[str, Model]) -> None:
    b = models["plain"].tokenizer.encode("b")
    assert encode_pair(models["plain"], "", "b") == ([], b)
    assert encode_pair(models["front"], "", "b") == ([BOS], b)
    assert encode_pair(models["front"], "", "<bos>b") == ([BOS], b)
    assert encode_pair(models["front"], " \n", "b") == ([BOS], models["front"].tokenizer.encode(" \nb"))
    pairs = models["pairs"]
    assert encode_pair(pairs, "\n", "b") == (prefix(pairs), pairs.tokenizer.encode("\nb"))
    assert prefix(models["pairs"]) == list(models["pairs"].end_ids)  # nothing is predicted before the first column


def test_bos_comes_once(models: dict[str, Model]) -> None:
    model = models["front"]
    ids = model.tokenizer.encode("abc")
    assert encode(model, "abc") == encode(model, "<bos>abc") == [BOS, *ids]
    assert encode(model, "") == [BOS]
    assert encode_pair(model, "<bos>a", "bc") == ([BOS, ids[0]], ids[1:])


@given(st.integers(0, 700), st.sampled_from(["plain", "front"]))
@example(255, "plain")
@example(256, "plain")
def test_windows_score_every_token_once(models: dict[str, Model], length: int, name: str) -> None:
    model = models[name]
    text = ("abcdefghijklmnopqrstuvwxyz" * 30)[:length]
    ids, found = model.tokenizer.encode(text), list(windows(model, text))
    assert [token for _, continuation in found for token in continuation] == ids
    past = prefix(model)
    for number, (context, continuation) in enumerate(found):
        assert len(context) + len(continuation) <= 256 and continuation
        assert past[-len(context) :] == context if context else number == 0
        assert number == 0 or len(context) + len(continuation) == 256  # as much context as fits
        past = past + continuation


def test_stop_texts_that_no_answer_shows_are_end_ids(models: dict[str, Model]) -> None:
    model = models["front"]
    (eot,) = model.tokenizer.encode("<eot>")
    assert model.ends == (EOS, eot)
    (start,) = model.tokenizer.encode("<start>")
    ends, left = stops(model, ["\n\n", "<start>", "<eot>", "Ü", "a"])
    assert ends == (EOS, eot, start) and left == ("\n\n", "Ü", "a")
