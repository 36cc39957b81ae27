"""lm-eval's settings: a sampler survives its commas, and what a task asks of a generation is done or refused."""

from typing import Any

import pytest

from unveil import catalogue
from unveil.decoding.spec import parse_sampler

pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'unveil[lm-eval]'")
from lm_eval._cli.utils import key_val_to_dict  # noqa: E402
from lm_eval.utils import simple_parse_args_string  # noqa: E402

from unveil.evaluation.likelihood.harness import OPTIONS  # noqa: E402
from unveil.evaluation.likelihood.lm_eval_terms import Asked, generation, sampler_spec  # noqa: E402

SPECS = [
    "llada",
    "llada:steps=32,block=16",
    "llada:remasking=random,temperature=0.50,forbid_eos=true",
    "dream:alg=entropy,alg_temp=0,top_p=0.95,top_k=0,eps=1e-4",
    "fast_dllm:threshold=none,factor=1,block=32,cache=dual",
    "evotoken:steps=16,block=32,k=3,mix=spherical,commit=first",
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_sampler_survives_how_lm_eval_reads_model_arguments(spec: str) -> None:
    """On its command line and from Python, before and after the other arguments, quoted or not."""
    texts = [f"pretrained=x,sampler={spec},samples=4", f"samples=4,sampler={spec},pretrained=x"]
    for text in texts:
        for read in (key_val_to_dict, simple_parse_args_string):
            found = read(text)
            assert (found.pop("pretrained"), found.pop("samples")) == ("x", 4)
            back = sampler_spec(found.pop("sampler"), found, OPTIONS)
            assert back is not None and parse_sampler(back, 64) == parse_sampler(spec, 64)
    quoted = key_val_to_dict(f'pretrained=x,sampler="{spec}"')
    assert sampler_spec(quoted.pop("sampler"), {}, OPTIONS) == spec and quoted == {"pretrained": "x"}


def test_settings_may_stand_alone() -> None:
    assert sampler_spec(None, {}, OPTIONS) is None
    assert sampler_spec(None, {"steps": 8}, OPTIONS) == "llada:steps=8"
    assert sampler_spec("dream", {"alg": "entropy"}, OPTIONS) == "dream:alg=entropy"


def test_no_setting_is_also_an_option() -> None:
    for name, entry in catalogue.samplers().items():
        assert not set(OPTIONS) & set(entry.settings), name


REFUSED: list[tuple[str | None, dict[str, object], str]] = [
    (
        "llada",
        {"sampels": 4},
        "sampler llada has no setting 'sampels': .*; of the model's arguments all but pretrained",
    ),
    (None, {"trust_remote_code": True}, "no setting 'trust_remote_code'"),
    ("llada:steps=4", {"steps": 8}, "is given steps twice: give it once"),
    ("lada", {}, "unknown sampler 'lada': did you mean 'llada'"),
    ("llada", {"steps": "x"}, "steps='x' is not a whole number"),
]


@pytest.mark.parametrize(("sampler", "settings", "words"), REFUSED)
def test_what_is_no_setting_is_refused(sampler: str | None, settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sampler_spec(sampler, settings, OPTIONS)


ASKED: list[tuple[dict[str, Any], str | None, Asked]] = [
    ({}, None, Asked(99, ())),
    ({"until": "\n"}, None, Asked(99, ("\n",))),
    ({"until": ["a", "", "b"], "max_gen_toks": 7}, None, Asked(7, ("a", "b"))),
    ({"until": None, "max_new_tokens": 8.0, "do_sample": False}, None, Asked(8, ())),
    ({"max_tokens": 5, "max_gen_toks": 6, "temperature": 0.0, "num_beams": 1}, None, Asked(6, ())),
    ({"max_completion_tokens": 4, "do_sample": False, "temperature": 0.7, "top_p": 0.9}, None, Asked(4, ())),
    ({"max_gen_toks": None}, "llada:temperature=0.5", Asked(99, ())),
    ({"do_sample": True, "temperature": 0.5}, "llada:temperature=0.5", Asked(99, ())),
    ({"temperature": 0.2, "top_p": 0.95}, "dream:temperature=0.2,top_p=0.95", Asked(99, ())),
    ({"do_sample": True, "top_p": 1.0}, "llada:temperature=0.5", Asked(99, ())),
]


@pytest.mark.parametrize(("settings", "spec", "expected"), ASKED)
def test_what_a_task_asks(settings: dict[str, Any], spec: str | None, expected: Asked) -> None:
    before = dict(settings)
    assert generation(settings, spec, 99) == expected
    assert settings == before  # lm-eval keys its cache by them


UNASKED: list[tuple[dict[str, Any], str | None, str]] = [
    (
        {"do_sample": True, "temperature": 0.2, "top_p": 0.95},
        "llada:temperature=0.2",
        "the task asks for samples (temperature=0.2, top_p=0.95) and the sampler 'llada:temperature=0.2' has "
        "temperature=0.2, top_p=1, top_k=0: write the same into the sampler, or decode as it does with --gen_kwargs "
        "do_sample=False",
    ),
    ({"temperature": 0.2}, None, "(temperature=0.2) and the sampler 'llada' has temperature=0,"),
    ({"do_sample": True}, None, "(of any temperature) and the sampler 'llada' has temperature=0,"),
    ({"do_sample": True, "temperature": 0.5, "top_k": 5}, "dream:temperature=0.5", "top_k=50: write the same"),
    ({"num_beams": 4, "stop": "x"}, None, "generation with num_beams=4, stop='x' is not known here"),
    ({"max_gen_toks": 0}, None, "max_gen_toks=0 asks for no tokens: give at least 1"),
]


@pytest.mark.parametrize(("settings", "spec", "words"), UNASKED)
def test_what_cannot_be_done_is_refused(settings: dict[str, Any], spec: str | None, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        generation(settings, spec, 99)
    assert words in str(caught.value)
