"""Lab models that are shipped for a way to decode: the weights are right where that way is far better."""

import unveil
from unveil.evaluation.run import evaluate
from unveil.tasks import task


def test_soft_tokens_serve_the_evolved_model_where_hard_ones_do_not() -> None:
    """Wide of the margin that was measured: 87 against 31 %."""
    model, asked = unveil.load("lab-puzzles-evolved"), task("sums")
    problems = asked.generate(48, 3)
    soft, hard = (
        evaluate(model, asked, problems, spec)
        for spec in ("evotoken:steps=8,block=32,mask_share=0.9,least_share=0.2", "llada:steps=8,block=32")
    )
    assert soft.nfe_mean == hard.nfe_mean
    assert soft.accuracy > hard.accuracy + 0.25
