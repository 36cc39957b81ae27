"""Samplers by name."""

import pytest

from unveil.sampling import recipes
from unveil.sampling.sampler import Sampler
from unveil.sampling.spec import parse_sampler

GOOD: list[tuple[str, Sampler]] = [
    ("llada", recipes.llada(16)),
    ("llada:steps=8,block=4", recipes.llada(16, steps=8, block=4)),
    (" llada : steps = 8 , block=4,", recipes.llada(16, steps=8, block=4)),
    ("llada:forbid_eos=true,ends_last=False", recipes.llada(16, forbid_eos=True)),
    ("llada:remasking=random,temperature=0.5", recipes.llada(16, remasking="random", temperature=0.5)),
    ("fast-dllm:threshold=0.8,cache=dual,block=8", recipes.fast_dllm(16, threshold=0.8, cache="dual", block=8)),
    ("fast_dllm:threshold=1", recipes.fast_dllm(16, threshold=1.0)),
    ("fast_dllm:block=none", recipes.fast_dllm(16)),
    ("dream:alg=entropy,top_k=0,alg_temp=0.1", recipes.dream(16, alg="entropy", top_k=0, alg_temp=0.1)),
    ("eb_sampler:gamma=0.5", recipes.eb_sampler(16, gamma=0.5)),
    ("remdm:steps=8,eta=0.1,top_p=0.9", recipes.remdm(16, steps=8, eta=0.1, top_p=0.9)),
]


@pytest.mark.parametrize("text, sampler", GOOD, ids=[text for text, _ in GOOD])
def test_a_name_and_its_settings(text: str, sampler: Sampler) -> None:
    assert parse_sampler(text, 16) == sampler


KNOWN = "known are llada, dream, fast_dllm, eb_sampler, remdm"
BAD = [
    ("", f"unknown sampler '': {KNOWN}"),
    ("lada", f"unknown sampler 'lada': did you mean 'llada'? {KNOWN}"),
    ("xyz", f"unknown sampler 'xyz': {KNOWN}"),
    (
        "llada:step=8",
        "sampler llada has no setting 'step': did you mean 'steps'? "
        "known are steps, block, remasking, temperature, forbid_eos, ends_last",
    ),
    ("llada:steps", "'steps' in sampler 'llada:steps' is not key=value"),
    ("llada:steps=8,steps=4", "sampler 'llada:steps=8,steps=4' gives steps twice: give it once"),
    ("llada:steps=many", "steps='many' is not a whole number"),
    ("llada:steps=8.0", "steps='8.0' is not a whole number"),
    ("llada:temperature=hot", "temperature='hot' is not a number"),
    ("llada:forbid_eos=1", "forbid_eos='1' is not a truth value: use true or false"),
    ("llada:remasking=none", "remasking='none' is unknown: choose one of low_confidence, random"),
    ("fast_dllm:threshold=0.9,steps=4", "threshold and steps exclude each other: give one of threshold, factor, steps"),
]


@pytest.mark.parametrize("text, message", BAD, ids=[text for text, _ in BAD])
def test_wrong_names_and_settings_are_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_sampler(text, 16)
    assert str(caught.value) == message
