"""Policies that are shipped: they load, their cards are theirs, and they are faster than the rule they began with."""

import pytest

import unveil
from unveil.checkpoints.folder import lab_models
from unveil.evaluation.run import evaluate
from unveil.files import read_json
from unveil.policies.policy import policy
from unveil.policies.store import load_policy, shipped_policies
from unveil.sampling.evolve import HardTokens, SoftTokens
from unveil.sampling.recipes import evotoken
from unveil.tasks import task


@pytest.mark.parametrize("name", shipped_policies())
def test_a_shipped_policy_is_for_a_shipped_model(name: str) -> None:
    folder = shipped_policies()[name]
    card, settings = read_json(folder / "card.json"), load_policy(folder).settings
    assert card["base"] in lab_models() and card["revision"] == unveil.load(card["base"]).revision
    assert (settings.width, settings.view, settings.alpha) == (card["network"]["width"], "row", len(card["alpha"]) > 1)


def test_the_shipped_policy_beats_a_threshold_at_as_many_forwards() -> None:
    """Wide of the margin that was measured, so that it says whether the weights are right."""
    model, asked = unveil.load("lab-puzzles"), task("sums")
    problems = asked.generate(60, 3)
    policy, rule = (
        evaluate(model, asked, problems, spec)
        for spec in ("policy:name=lab-puzzles-sums,alpha=8", "fast_dllm:threshold=0.5")
    )
    assert policy.nfe_mean < rule.nfe_mean + 0.3
    assert policy.accuracy > rule.accuracy + 0.05


def test_a_policy_by_name_may_open_soft_tokens() -> None:
    hard, soft = (policy(8, name="lab-puzzles-sums", alpha=4.0, block=4, mask_share=share) for share in (None, 0.6))
    like = evotoken(8, block=4, mask_share=0.6)
    assert isinstance(hard.evolve, HardTokens) and not isinstance(hard.evolve, SoftTokens)
    assert (soft.evolve, soft.revise, soft.blocks) == (like.evolve, like.revise, like.blocks)
    assert repr(soft.unmask) == repr(hard.unmask)
