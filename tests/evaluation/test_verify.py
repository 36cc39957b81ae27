"""How recorded decodes are read: what has a counterpart here, what is skipped and why."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from unveil.canvas import Canvas
from unveil.evaluation.verify import Plan, PublishedBlocks, PublishedFactor, plan_of
from unveil.sampling import recipes
from unveil.sampling.picks import Factor
from unveil.sampling.propose import Propose
from unveil.sampling.sampler import Select

FAST = {"steps": 32, "gen_length": 32, "block_length": 8}


def test_the_published_factor_opens_a_last_mask_that_fails() -> None:
    """Golden values of the notes: 2, 3 and, where only the last one fails, 5 tokens; our rule opens 4."""
    scores = torch.tensor([[0.99, 0.9, 0.8, 0.55, 0.3]])
    canvas = Canvas.template([[9] * 5], mask_id=9)
    for factor, ours, published in ((0.5, 2, 2), (1.0, 3, 3), (3.0, 4, 5)):
        for rule, count in ((Factor(factor=factor), ours), (PublishedFactor(factor=factor), published)):
            assert int(rule(scores, canvas.undecided, canvas).chosen.sum()) == count


def test_factor_wins_over_threshold_and_null_turns_a_filter_off() -> None:
    plan = plan_of("fast", FAST | {"factor": 1.0, "threshold": 0.9}, 32)
    assert isinstance(plan, Plan) and plan.sampler.unmask == Select(pick=PublishedFactor(factor=1.0))
    plan = plan_of("dream", {"alg": "entropy", "steps": 48, "top_k": None, "top_p": None}, 32)
    assert isinstance(plan, Plan) and plan.sampler.propose == Propose(tempered=True, top_k=0)


@pytest.mark.parametrize(
    "name, settings, reason",
    [
        ("fancy", {}, "fancy: no such sampler here"),
        ("fast", FAST | {"temperature": 0.5}, "fast: drawn at a temperature, from noise that is not recorded"),
        ("fast", FAST | {"remasking": "random"}, "fast: random unmasking, from noise that is not recorded"),
        ("evotoken", {"remasking": "random"}, "evotoken: random unmasking, from noise that is not recorded"),
        ("llada", FAST | {"remasking": "random"}, "llada: random unmasking, from noise that is not recorded"),
        ("llada", FAST | {"warmth": 1}, "llada: unknown settings warmth"),
        ("dream", {"steps": 8}, "dream: positions drawn, from noise that is not recorded"),
    ],
)
def test_what_cannot_be_compared_is_named(name: str, settings: dict[str, Any], reason: str) -> None:
    assert plan_of(name, settings, 32) == reason


def test_soft_tokens_are_compared_with_blocks_that_harden_late() -> None:
    plan = plan_of("evotoken", {"steps": 8, "block_length": 8, "k_soft": 2, "alpha_soft_mask": 0.6}, 16)
    ours = recipes.evotoken(16, steps=8, block=8, k=2, mask_share=0.6)
    assert isinstance(plan, Plan) and plan.sampler == replace(ours, blocks=PublishedBlocks(size=8))
    plan = plan_of("evotoken", {"steps": 8, "threshold": 0.5}, 16)
    assert isinstance(plan, Plan) and plan.sampler.unmask == recipes.evotoken(16, threshold=0.5).unmask
