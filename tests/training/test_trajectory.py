"""Trajectory supervision as a fine-tuning: it learns to read soft tokens, resumes exactly, and is decoded with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unveil
from tests.training.folder import TEMPLATE, lines, model_folder, words
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.files import read_jsonl
from unveil.sampling.mixing import Drawn, Spherical
from unveil.settings import with_settings
from unveil.training.settings import Falling
from unveil.training.trainer import Recipe, run
from unveil.training.trajectory import PRESETS, TrajectoryTuning

TRAINING = Falling(steps=30, lr=1e-2, warmup=5, validate_every=10, save_every=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("base"), template=TEMPLATE)


def tuning(base: Path, folder: Path, **change: Any) -> TrajectoryTuning:
    data = lines(folder / "d.jsonl", words())
    given = {"canvas": 12, "rows": 8, "sizes": (4, 8), "opens": (1, 2), "depth": 3, "training": TRAINING}
    return TrajectoryTuning(base=str(base), data=str(data), **(given | change))


def test_it_learns_and_is_decoded_with(base: Path, tmp_path: Path) -> None:
    recipe = tuning(base, tmp_path)
    assert isinstance(recipe, Recipe)
    best = run(recipe, out=tmp_path / "run")
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert sum(x["loss"] for x in records[-8:]) < 0.5 * sum(x["loss"] for x in records[:8])
    before, after = recipe.model(), load_checkpoint(Folder(best), dtype=torch.float32)
    assert recipe.validate(after)["score"] > recipe.validate(before)["score"]
    answer = unveil.load(str(best)).decode(["ab="], "evotoken:block=4,steps=6", new_tokens=12)[0]
    assert answer.tokens and answer.complete and answer.nfe <= 6


def test_a_resumed_training_equals_an_uninterrupted_one(base: Path, tmp_path: Path) -> None:
    recipe = tuning(base, tmp_path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(recipe, out=whole)

    class Pulled(Exception):
        pass

    def pulled(step: int) -> Any:
        if step == 17:
            raise Pulled
        return TrajectoryTuning.batch(recipe, step)

    broken = tuning(base, tmp_path)
    object.__setattr__(broken, "batch", pulled)
    with pytest.raises(Pulled):
        run(broken, out=parts)
    run(recipe, out=parts, resume=True)
    mine, theirs = (load_checkpoint(Folder(out / "model")).state_dict() for out in (parts, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_score_sees_several_draws_and_is_the_same_each_time(base: Path, tmp_path: Path) -> None:
    recipe = tuning(base, tmp_path)
    model = recipe.model()
    shares = list(recipe.shares(model))
    assert {share.size for share in shares} == {4, 8} and {share.opens for share in shares} == {1, 2}
    assert sum(float(share.weight.sum()) for share in shares) == pytest.approx(1 / recipe.depth)
    assert recipe.validate(model) == recipe.validate(model)


def test_settings_reach_the_loss() -> None:
    recipe = TrajectoryTuning(
        base="b", data="d", k=2, mask_shares=(0.2, 0.4), mix="spherical", consistent=True, lookahead=False,
        order="random", aligned=False, depth=2, sizes=(5,), opens=(3,), whole=0.25, hold=False,
    )  # fmt: skip
    loss = recipe.objective
    assert (loss.order, loss.aligned, loss.depth, loss.sizes, loss.opens) == ("random", False, 2, (5,), (3,))
    assert loss.whole == 0.25 and not loss.hold
    evolve = loss.evolve
    assert evolve == replace(
        evolve, k=2, share=Drawn(least=0.2, most=0.4), mix=Spherical(), consistent=True, lookahead=False
    )


def test_the_papers_preset() -> None:
    """Table 3.4 of the notes, and the windows of the released trainer."""
    recipe = with_settings(TrajectoryTuning(base="b", data="d"), PRESETS["llada-8b-instruct"])
    assert recipe.lora is not None and (recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout) == (128, 256, 0.05)
    assert recipe.lora.targets == ("query", "key", "value") and recipe.layout == "s1k" and recipe.rows == 8
    loss, training = recipe.objective, recipe.training
    assert (loss.order, loss.aligned, loss.whole, loss.depth) == ("random", False, 0.0, 4)
    assert loss.sizes == (512,) and loss.opens == (1, 2, 4, 8)
    assert loss.evolve.k == 3 and loss.evolve.share == Drawn(least=0.5, most=1.0)
    assert (training.steps, training.lr, training.weight_decay, training.clip) == (10_000, 1e-5, 0.1, 1.0)
    assert training.betas == (0.9, 0.999) and training.rate(0) == 1e-5
    assert training.rate(5000) == pytest.approx(5e-6) and training.rate(9999) == pytest.approx(1e-9)


@pytest.mark.parametrize(
    "change, fault",
    [
        ({"depth": 0}, "depth=0 is outside"),
        ({"sizes": (0,)}, r"sizes=\(0,\) is outside its range, from 1 to 65,536"),
        ({"whole": 1.5}, "whole=1.5 is outside its range, from 0 to 1: the share of rows"),
        ({"mix": "flat"}, "mix='flat' is unknown: choose one of linear, spherical"),
        ({"mask_shares": (0.9, 0.1)}, "least=0.9 is above most=0.1"),
        ({"k": 0}, "k=0 is outside its range, from 1 to 64"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_read(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        TrajectoryTuning(base="nowhere", data="nothing", **change)
