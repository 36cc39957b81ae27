"""The model `unveil` of lm-eval: what its three questions give, independent of order and batch, and what it records."""

import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unveil
from tests.chats import TEMPLATES, chat_folder
from unveil.decoding.loading import load
from unveil.decoding.model import Model
from unveil.evaluation.likelihood.bound import Bound, Text, log_likelihoods

pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'unveil[lm-eval]'")
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.api.model import CachingLM  # noqa: E402
from lm_eval.api.registry import get_model  # noqa: E402
from sqlitedict import SqliteDict  # noqa: E402

from unveil.evaluation.likelihood.harness import UnveilLM  # noqa: E402

KINDS = ("loglikelihood", "loglikelihood_rolling", "generate_until")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_folder(tmp_path_factory.mktemp("model") / "owner", TEMPLATES["llada"], front=True)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder, device="cpu", dtype="float64")


def request(kind: str, *arguments: Any, doc: int | None = 0, repeats: int = 1) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0, metadata=("quiz", doc, repeats))


def scored(*pairs: tuple[str, str], doc: int = 0) -> list[Instance]:
    return [request("loglikelihood", *pair, doc=doc) for pair in pairs]


def asked(context: str, doc: int = 0, **settings: Any) -> Instance:
    return request("generate_until", context, settings, doc=doc)


REQUESTS = {
    "loglikelihood": [*scored(("one? ", "abc"), ("one? ", "abcdefghi"), doc=3), *scored(("", "Q"), doc=4)],
    "loglikelihood_rolling": [request(KINDS[1], text, doc=doc) for doc, text in enumerate(("abc", "", "hello" * 60))],
    "generate_until": [
        asked("abc", 5, until=["b", "q"], max_gen_toks=6),
        asked("hello there", 6, until=["b", "q"], max_gen_toks=6),
        asked("abc", 7, until="<start>"),
        asked("abc", 8, until="<start>"),
    ],
}


def test_lm_eval_knows_it(folder: Path) -> None:
    arguments = f"pretrained={folder},sampler=llada:steps=4,block=2,samples=4,dtype=float64"
    made = get_model("unveil").create_from_arg_string(arguments, {"batch_size": 2, "device": "cuda:0"})
    assert isinstance(made, UnveilLM) and made.spec == "llada:steps=4,block=2"
    assert (made.batch_size, made.samples, str(made.device), made.rank, made.world_size) == (2, 4, "cpu", 0, 1)
    info = made.get_model_info()
    assert (info["model_dtype"], info["model_loading"]) == ("float64", {"dtype": "float64"})
    with pytest.raises(ValueError, match="dtype is for a model to be loaded, and this one is: leave it out"):
        UnveilLM(made.model, dtype="float32")


def test_scores_are_the_bound_with_the_noise_of_the_document(model: Model) -> None:
    found = UnveilLM(model, samples=4, seed=10).loglikelihood(REQUESTS["loglikelihood"])
    ids = {text: model.tokenizer.encode(text) for text in ("one?", " abc", " abcdefghi", "Q")}
    bos = list(model.tokenizer.front)
    texts = [Text(bos + ids["one?"], ids[" abc"], 13), Text(bos + ids["one?"], ids[" abcdefghi"], 13)]
    expected = log_likelihoods(model.denoiser, Bound(samples=4), [*texts, Text(bos, ids["Q"], 14)], columns=99)
    assert [one for one, _ in found] == pytest.approx([one.log_prob for one in expected], rel=1e-9)
    guided = UnveilLM(model, samples=4, seed=10, guidance=1.0).loglikelihood(REQUESTS["loglikelihood"])
    assert all(one != other for (one, _), (other, _) in zip(found, guided, strict=True))


def test_documents_are_scored_window_by_window(model: Model) -> None:
    lm = UnveilLM(model, samples=2)
    found = lm.loglikelihood_rolling(REQUESTS["loglikelihood_rolling"])
    assert found[1] == 0.0 and found[2] < found[0] < 0
    ids, bos = model.tokenizer.encode("hello" * 60), list(model.tokenizer.front)
    texts = [Text(bos, ids[:255], 2), Text(ids[44:255], ids[255:], 2 + (1 << 32))]
    expected = log_likelihoods(model.denoiser, Bound(samples=2), texts, columns=999)
    assert found[2] == pytest.approx(sum(one.log_prob for one in expected), rel=1e-9)


def test_answers_are_those_of_decode_cut_at_the_stop_texts(model: Model) -> None:
    lm, stop = UnveilLM(model, sampler="llada:temperature=1.0", seed=20), ["b", "q", "Q", "D"]
    requests = [asked("abc" * (1 + doc % 3), doc, until=stop, max_gen_toks=6 + doc % 2) for doc in range(12)]
    cut = 0
    for doc, text in enumerate(lm.generate_until(requests)):
        asking = {"new_tokens": 6 + doc % 2, "seed": 20 + doc}
        (answer,) = model.decode([requests[doc].args[0]], lm.spec, stop=stop, **asking)
        (whole,) = model.decode([requests[doc].args[0]], lm.spec, **asking)
        assert text == answer.text and not set(stop) & set(text)
        cut += text != whole.text
    assert cut >= 2


def test_without_a_number_a_task_gets_the_model_s_own(model: Model) -> None:
    (text,) = UnveilLM(model).generate_until([asked("abc")])
    (guided,) = UnveilLM(model, guidance=2.0).generate_until([asked("abc")])
    (expected,) = model.decode(["abc"], "llada", new_tokens=model.new_tokens)
    assert text == expected.text
    assert guided == model.decode(["abc"], "llada", guidance=2.0)[0].text != text


def test_a_stop_text_that_is_a_special_token_ends_an_answer(model: Model) -> None:
    """Found in answers that go on after it."""
    lm, special = UnveilLM(model, sampler="llada:temperature=1.0"), "<start>"
    (start,) = model.tokenizer.encode(special)
    for doc in range(60):
        (answer,) = model.decode(["abc"], lm.spec, new_tokens=8, seed=doc)
        if start in answer.tokens[:-1]:
            (text,) = lm.generate_until([asked("abc", doc, until=[special], max_gen_toks=8)])
            assert text == model.tokenizer.decode(answer.tokens[: answer.tokens.index(start)]) != answer.text
            return
    raise AssertionError("no answer has the token: change the model")


def test_repeated_requests_have_noise_of_their_own(model: Model) -> None:
    one = asked("abc", 1, until=[], max_gen_toks=8)
    lm = UnveilLM(model, sampler="llada:temperature=1.0")
    first = lm.generate_until([one] * 4)
    assert len(set(first)) == 4 and lm.generate_until([one] * 4) == first
    assert len(set(UnveilLM(model).generate_until([one] * 4))) == 1


@settings(max_examples=10)
@given(st.sampled_from(KINDS), st.integers(1, 5), st.integers(0, 99))
def test_answers_do_not_depend_on_order_or_batch(model: Model, kind: str, batch: int, shuffle: int) -> None:
    requests = REQUESTS[kind]
    order = Random(shuffle).sample(range(len(requests)), len(requests))
    sampler = "llada:temperature=1.0,steps=2"
    whole = getattr(UnveilLM(model, sampler=sampler, samples=4, batch_size=16), kind)(requests)
    mixed = getattr(UnveilLM(model, sampler=sampler, samples=4, batch_size=batch), kind)([requests[n] for n in order])
    for number, found in zip(order, mixed, strict=True):
        if kind == "generate_until":
            assert found == whole[number]
        else:
            values = [one if isinstance(one, float) else one[0] for one in (found, whole[number])]
            assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_a_cache_is_not_shared_by_settings(model: Model, tmp_path: Path) -> None:
    path, foreign = str(tmp_path / "cache.db"), str(tmp_path / "foreign.db")
    CachingLM(UnveilLM(model, samples=2, batch_size=3), path)
    CachingLM(UnveilLM(model, samples=2), path).loglikelihood(REQUESTS["loglikelihood"])
    CachingLM(UnveilLM(model, samples=2), path)
    with SqliteDict(foreign, autocommit=True) as kept:
        kept["hash"] = "an answer of another model"
    refused = "the file of --use_cache has answers of another model or of other settings: name another"
    for other in ({"samples": 4}, {"seed": 1}, {"guidance": 1.0}, {"sampler": "dream"}):
        with pytest.raises(ValueError, match=refused):
            CachingLM(UnveilLM(model, **{"samples": 2} | other), path)
    with pytest.raises(ValueError, match=refused):
        CachingLM(UnveilLM(replace(model, end_ids=(0,)), samples=2), path)
    with pytest.raises(ValueError, match=refused):
        CachingLM(UnveilLM(model, samples=2), foreign)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_is_filled_on_the_way_and_gives_the_same(model: Model, kind: str, tmp_path: Path) -> None:
    lm = UnveilLM(model, samples=2)
    cached = CachingLM(lm, str(tmp_path / "cache.db"))
    kept: dict[str, Any] = {}
    lm.cache_hook.add_partial = lambda attr, arguments, result: kept.__setitem__(json.dumps(arguments), result)
    first = getattr(cached, kind)(REQUESTS[kind])
    assert [kept[json.dumps(request.args)] for request in REQUESTS[kind][:3]] == first[:3]
    again = getattr(cached, kind)(REQUESTS[kind])
    assert again[:3] == first[:3] and set(again) <= set(first)


def test_chats_are_rendered_as_elsewhere(model: Model) -> None:
    lm = UnveilLM(model)
    ask = [{"role": "user", "content": "hi"}]
    assert model.tokenizer.encode(lm.apply_chat_template(ask)) == model.ids(ask)
    begun = [*ask, {"role": "assistant", "content": "A: "}]
    assert lm.apply_chat_template(begun, add_generation_prompt=False).endswith("assistant<end>\n\nA: ")
    told = lm.apply_chat_template(begun)
    assert told.endswith("A:<eot><start>assistant<end>\n\n")
    assert lm.apply_chat_template(ask, add_generation_prompt=False).endswith("hi<eot>")
    assert lm.chat_template(True) == TEMPLATES["llada"] and lm.chat_template(False) is None
    assert model.chat_hash is not None and model.chat_hash in lm.tokenizer_name and "/" not in lm.tokenizer_name
    with pytest.raises(ValueError, match="chat template 'tool' is asked by name, a model has one: give no name"):
        lm.chat_template("tool")


def test_a_rendered_chat_has_one_bos(model: Model) -> None:
    lm = UnveilLM(model, samples=2)
    text = lm.apply_chat_template([{"role": "user", "content": "hi"}])
    assert text.startswith("<bos>")
    (found,) = lm.loglikelihood(scored((text + "a", "b")))
    (expected,) = log_likelihoods(
        model.denoiser,
        Bound(samples=2),
        [Text(model.tokenizer.encode(text + "a"), model.tokenizer.encode("b"))],
        columns=99,
    )
    assert found[0] == pytest.approx(expected.log_prob, rel=1e-9)


def test_results_say_how_they_came_about(model: Model) -> None:
    lm = UnveilLM(model, sampler="llada:steps=4,block=4", samples=4, seed=2)
    empty = lm.get_model_info()
    assert empty["generated"] == [] and empty["scored"] is None
    for kind in KINDS:
        getattr(lm, kind)(REQUESTS[kind])
    info = json.loads(json.dumps(lm.get_model_info(), allow_nan=False))
    assert info["model_name"] == model.name and info["model_fingerprint"] == model.revision
    assert (info["model_dtype"], info["model_device"], info["unveil_version"]) == ("float64", "cpu", unveil.__version__)
    assert (info["sampler"], info["noise_seed"], info["guidance"]) == ("llada:steps=4,block=4", 2, 0.0)
    assert info["prefix_token_ids"] == list(model.tokenizer.front) and info["model_chat_hash"] == model.chat_hash
    six, eight = info["generated"]
    assert (six["masks"], six["block"], six["steps"], six["answers"]) == (6, 4, 4, 2)
    assert (eight["masks"], eight["forwards_mean"], eight["incomplete"]) == (8, 4.0, 0)
    assert "Quota" in eight["unmask"] and "Blocks(size=4" in eight["settings"]
    scores = info["scored"]
    assert scores["estimate"] == "Bound(samples=4)" and scores["texts"] == 3 + 3
    assert scores["exact"] == 1 and scores["standard_error"] > 0
    one = UnveilLM(model, samples=1)
    one.loglikelihood(scored(("a", "bcd")))
    assert one.get_model_info()["scored"]["standard_error"] is None


REFUSED: list[tuple[str, Instance, str]] = [
    (KINDS[0], scored(("a" * 250, "b" * 6), doc=9)[0], "task quiz, document 9: 251 tokens and 6 more exceed the "
     "model's context of 256: give fewer examples (--num_fewshot), or ask for fewer new tokens"),
    (KINDS[0], scored(("ab", ""))[0], "task quiz, document 0: '' adds no token to the context: nothing to score"),
    (KINDS[0], scored(("a[MASK]", "b"))[0], "task quiz, document 0 contains the model's mask token"),
    (KINDS[1], request(KINDS[1], "a[MASK]b"), "task quiz, document 0 contains the model's mask token"),
    (KINDS[2], asked("a" * 249, 2), "task quiz, document 2: 250 tokens and 8 more exceed"),
    (KINDS[2], asked("a[MASK]", 2), "task quiz, document 2: prompt 0 contains the mask id 49"),
    (KINDS[2], asked("a", 2, do_sample=True), "task quiz, document 2: the task asks for samples"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "instance", "words"), REFUSED)
def test_what_cannot_be_answered_is_named(model: Model, kind: str, instance: Instance, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        getattr(UnveilLM(model, samples=2), kind)([instance])
    assert words in str(caught.value)


@pytest.mark.parametrize("batch", ["auto", "0", 0, -1, "4.5"])
def test_a_batch_is_a_number_of_rows(model: Model, batch: int | str) -> None:
    with pytest.raises(ValueError, match=f"batch_size={batch!r} is not a number of rows: give at least 1"):
        UnveilLM(model, batch_size=batch)


def test_nothing_is_asked_nothing_is_answered(model: Model) -> None:
    lm = UnveilLM(model)
    assert lm.generate_until([]) == lm.loglikelihood([]) == lm.loglikelihood_rolling([]) == []
    assert math.isfinite(UnveilLM(model, samples=2).loglikelihood(scored(("", "abc")))[0][0])
