"""Samplers by name."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from unveil import catalogue
from unveil.decoding.spec import mark, parse_sampler, read_sampler
from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings
from unveil.policies.learned import Learned
from unveil.policies.store import save_policy
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Pick
from unveil.sampling.random_picks import Coin, CoinsOrBest, PlackettLuce, SomeCoins
from unveil.sampling.refresh import BlockCache, PrefixCache
from unveil.sampling.sampler import Sampler, Select

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
    ("llada:block=4,cache=block", replace(recipes.llada(16, block=4), refresh=BlockCache(size=4))),
]


@pytest.mark.parametrize("text, sampler", GOOD, ids=[text for text, _ in GOOD])
def test_a_name_and_its_settings(text: str, sampler: Sampler) -> None:
    assert parse_sampler(text, 16) == sampler


KNOWN = f"known are {', '.join(catalogue.samplers())}"
BAD = [
    ("", f"unknown sampler '': {KNOWN}"),
    ("lada", f"unknown sampler 'lada': did you mean 'llada'? {KNOWN}"),
    ("xyz", f"unknown sampler 'xyz': {KNOWN}"),
    (
        "llada:step=8",
        "sampler llada has no setting 'step': did you mean 'steps'? "
        "known are steps, block, remasking, temperature, forbid_eos, ends_last, cache",
    ),
    ("llada:steps", "'steps' is no setting of sampler llada, which are key=value"),
    (
        "policy:scale=2,path=runs/a, b",
        "'b' is no setting of sampler policy, which are key=value: "
        "a comma ends the value of path, rename or link a path that has one",
    ),
    ("llada:steps=8,steps=4", "sampler llada is given steps twice: give it once"),
    ("llada:steps=many", "steps='many' is not a whole number"),
    ("llada:steps=8.0", "steps='8.0' is not a whole number"),
    ("llada:temperature=hot", "temperature='hot' is not a number"),
    ("llada:forbid_eos=1", "forbid_eos='1' is unknown: choose one of true, false"),
    ("llada:remasking=none", "remasking='none' is unknown: choose one of low_confidence, random"),
    ("fast_dllm:threshold=0.9,steps=4", "threshold and steps exclude each other: give one of threshold, factor, steps"),
]


@pytest.mark.parametrize("text, message", BAD, ids=[text for text, _ in BAD])
def test_wrong_names_and_settings_are_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_sampler(text, 16)
    assert str(caught.value) == message


def saved(folder: Path, **settings: object) -> Path:
    """A small fresh policy on disk."""
    save_policy(ConfidencePolicy(ConfidenceSettings(width=16, feed_width=16, **settings)), folder)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("view", ["row", "block"])
def test_a_policy_by_its_folder(tmp_path: Path, view: str) -> None:
    text = (
        f"policy:path={saved(tmp_path, view=view, alpha=True)},block=4,temperature=0.5,scale=2,alpha=0.3,cache=prefix"
    )
    sampler = parse_sampler(text, 16)
    assert isinstance(sampler.unmask, Select) and isinstance(score := sampler.unmask.score, Learned)
    assert (score.temperature, score.scale, score.alpha) == (0.5, 2.0, 0.3) and score.net.settings.view == view
    assert score.blocks == Blocks(size=4 if view == "block" else None)
    assert (sampler.blocks, sampler.refresh, sampler.unmask.pick) == (Blocks(size=4), PrefixCache(), CoinsOrBest())


PICKS: dict[str, Pick] = {
    "coins_or_best": CoinsOrBest(),
    "some_coins": SomeCoins(),
    "coin": Coin(),
    "plackett_luce": PlackettLuce(),
}


@pytest.mark.parametrize("name, pick", PICKS.items(), ids=PICKS)
def test_a_policy_explores_as_told(tmp_path: Path, name: str, pick: Pick) -> None:
    sampler = parse_sampler(f"policy:path={saved(tmp_path)},pick={name}", 16)
    assert isinstance(sampler.unmask, Select) and sampler.unmask.pick == pick and sampler.blocks == Blocks()


BAD_POLICIES = [
    ("policy", "a policy needs path=FOLDER or name=NAME: got neither path nor name"),
    ("policy:path=nowhere", "nowhere has no policy.json: give a folder that a policy was saved in"),
    ("policy:path={},alpha=1", "alpha=1.0 has no effect: this policy was not trained with it, leave it out"),
    (
        "policy:path={},cache=blocks",
        "cache='blocks' is unknown: choose one of none, prefix, dual, near, delayed, block",
    ),
    (
        "policy:path={},pick=best",
        "pick='best' is unknown: choose one of coins_or_best, some_coins, coin, plackett_luce",
    ),
    (
        "policy:path={},scale=0",
        "scale=0.0 is outside its range, above 0 to 1,000,000: 1 leaves the rates of a policy as they are",
    ),
]


@pytest.mark.parametrize("text, message", BAD_POLICIES, ids=[text for text, _ in BAD_POLICIES])
def test_what_is_wrong_with_a_policy_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_sampler(text.format(saved(tmp_path)), 16)
    assert str(caught.value) == message


def test_settings_are_read_without_loading_the_policy() -> None:
    assert read_sampler("policy:path=no/where,scale=0.5") == ("policy", {"path": "no/where", "scale": 0.5})


def test_a_mark_follows_the_contents_of_a_policy(tmp_path: Path) -> None:
    """Else the items of a policy that was trained on would be taken for those of the new one."""
    assert mark("llada:steps=4") == "llada:steps=4"
    spec = f"policy:path={tmp_path},scale=2"
    marks = []
    for view, seed in (("row", 0), ("block", 0), ("row", 1), ("row", 0)):  # other settings alone, other weights alone
        save_policy(ConfidencePolicy(ConfidenceSettings(view=view), seed=seed), tmp_path)
        marks.append(mark(spec))
    assert marks[0] == marks[3] and len(set(marks)) == 3 and all(text.startswith(f"{spec} ") for text in marks)
    (tmp_path / "policy.json").unlink()
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path} has no policy.json")):
        mark(spec)
    with pytest.raises(ValueError, match="no shipped policy 'absent'"):
        mark("policy:name=absent")
