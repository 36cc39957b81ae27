"""The laws hold for every sampler that can be named, with every cache it takes, on every kind of attention."""

from functools import cache
from itertools import count
from pathlib import Path

import pytest
import torch

from tests.laws.parts import SIZE
from tests.toy import PROMPTS, blank, toy
from unveil import catalogue
from unveil.canvas import Canvas
from unveil.models.attention import BlockCausal, Causal
from unveil.models.transformer import Transformer
from unveil.policies import ConfidencePolicy, ConfidenceSettings, save_policy
from unveil.sampling.queue import decode_queue
from unveil.sampling.refresh import CACHES
from unveil.sampling.sampler import Sampler

SAMPLERS = tuple(catalogue.samplers())
MODELS = ("bidirectional", "bidirectional, shifted", "block-causal", "block-causal, shifted", "causal")
LONGEST = 6
# Rows wait for a place: two are decoded at a time, and each takes the slot of one that has ended.
ROWS = [(PROMPTS[0], 6, 3), (PROMPTS[1], 5, 11), (PROMPTS[2], 6, 4), ([20, 21], 3, 90)]
TURNS = count()  # which rows are also decoded alone: each in its turn, one that began and one that was admitted later


@cache
def model(kind: str) -> Transformer:
    """A toy of each kind of attention; a causal one predicts a column at the column before."""
    rules = {"bidirectional": None, "block-causal": BlockCausal(size=SIZE), "causal": Causal()}
    name, _, shifted = kind.partition(", ")
    return toy(gain=0.4, kv_heads=1, rule=rules[name], shift=int(bool(shifted) or name == "causal"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small policy that looks at what it sees, not a fresh one, which opens all masks alike."""
    net = ConfidencePolicy(ConfidenceSettings(width=16, feed_width=16, heads=1, rate=0.3), seed=0)
    with torch.no_grad():
        net.output.weight.normal_(0, 1, generator=torch.Generator().manual_seed(1))
    save_policy(net.double(), tmp_path_factory.mktemp("policy"))
    folder = tmp_path_factory.getbasetemp() / "policy0"
    return folder


def sampler_of(name: str, plan: str, policy: Path) -> Sampler:
    """The sampler with that cache, in blocks where it has them, drawing tokens where it can."""
    entry = catalogue.samplers()[name]
    wanted = {"block": SIZE, "temperature": 0.7, "path": str(policy), "within": 4, "cache": plan}
    wanted |= {"steps": LONGEST} if name == "evotoken" else {}
    sampler: Sampler = entry.load()(LONGEST, **{key: x for key, x in wanted.items() if key in entry.settings})
    return sampler


def rows() -> list[Canvas]:
    """One-row canvases that wait in a queue."""
    return [blank([prompt], new, seed=seed, end_ids=(3, 20)) for prompt, new, seed in ROWS]


def assert_equal(one: Canvas, other: Canvas) -> None:
    """The same row: all that is whole to the bit, probabilities up to rounding."""
    for name, value in one.tensors().items():
        if value.is_floating_point():
            assert torch.allclose(other.tensors()[name], value, rtol=0, atol=1e-9), name
        else:
            assert torch.equal(other.tensors()[name], value), name


def test_every_sampler_takes_every_cache() -> None:
    assert {name for name, entry in catalogue.samplers().items() if "cache" not in entry.settings} == set()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_row_in_a_queue_is_what_it_is_alone(name: str, kind: str, policy: Path) -> None:
    """Exactly, in float64, whatever cache; a cache that would not be exact is refused."""
    taken = []
    for plan in CACHES:
        sampler, denoiser = sampler_of(name, plan, policy), model(kind)
        if plan == "block" and not denoiser.outline.rule.settles(sampler.refresh.size):
            with pytest.raises(ValueError, match="cache=block with .* is not exact under"):
                list(decode_queue(sampler, denoiser, rows(), batch=2))
            continue
        together = dict(decode_queue(sampler, denoiser, rows(), batch=2))
        turn = next(TURNS)
        for number in (turn % 2, 2 + turn // 2 % 2):
            assert_equal(sampler.decode(denoiser, rows()[number]), together[number])
        taken.append(plan)
    exact = not kind.startswith("bidirectional") and (name, kind[:5]) != ("left_to_right", "block")
    assert taken == [plan for plan in CACHES if plan != "block" or exact]


@pytest.mark.parametrize("kind", ["block-causal", "block-causal, shifted", "causal"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_block_cache_is_exact(name: str, kind: str, policy: Path) -> None:
    """Where columns never see a later block, to keep all that is finished changes nothing."""
    if name == "left_to_right" and kind != "causal":
        pytest.skip("blocks of one column are not the model's: refused, as the law above says")
    plain, kept = (sampler_of(name, plan, policy) for plan in ("none", "block"))
    truth = dict(decode_queue(plain, model(kind), rows(), batch=3))
    for number, row in decode_queue(kept, model(kind), rows(), batch=2):
        same = ("tokens", "stage", "nfe", "written", "done")
        assert all(torch.equal(getattr(row, part), getattr(truth[number], part)) for part in same)
