"""Mask-agnostic fine-tuning: the curriculum, the paper's settings, what is left out, and a run that goes on exactly."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import unveil
from tests.training.folder import CODEC, CONTEXT, EOS, MASK, lines, model_folder, words
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.files import read_jsonl
from unveil.objectives.loss import Batch
from unveil.objectives.mask_agnostic import MaskAgnostic
from unveil.settings import with_settings
from unveil.training.mask_agnostic import PRESETS, Constant, MaskAgnosticTuning
from unveil.training.session import deal
from unveil.training.trainer import Recipe, run
from unveil.training.tuning import LoRA

TRAINING = Constant(steps=60, lr=1e-2, warmup=0, weight_decay=0.0, validate_every=20, save_every=7)
PAPER = MaskAgnosticTuning(base="GSAI-ML/LLaDA-8B-Base", data="pairs.jsonl")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("base"))


def tuning(base: Path, data: Path, **change: Any) -> MaskAgnosticTuning:
    usual = {"base": str(base), "data": str(data), "max_masks": 20, "rows": 8, "curriculum": 40, "micro_steps": 1}
    return MaskAgnosticTuning(**(usual | {"training": TRAINING} | change))


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> MaskAgnosticTuning:
    return tuning(base, lines(tmp_path / "d.jsonl", words()))


def test_it_is_a_recipe_and_learns(recipe: MaskAgnosticTuning, tmp_path: Path) -> None:
    assert isinstance(recipe, Recipe)
    before = recipe.validate(recipe.model())
    best = run(recipe, out=tmp_path / "run")
    scored = [record for record in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "score" in record]
    for record in (before, *scored):
        assert record["score"] == -record["validation"] == -(record["ce"] + record["tv"])
    top = max(scored, key=lambda record: record["score"])
    assert top["validation"] < 0.8 * before["validation"] and top["tv"] < 0.8 * before["tv"]
    card = json.loads((best / "card.json").read_text())
    assert (card["recipe"], card["beta"], card["curriculum"]) == ("unveil train mask-agnostic", 1.0, 40)
    assert (card["pairs"], card["held_out_pairs"], card["left_out_pairs"]) == (23, 1, 0)
    kept = recipe.validate(load_checkpoint(Folder(best), dtype=torch.float32))
    assert kept["score"] == pytest.approx(top["score"], abs=0.05)  # bfloat16 on disk
    assert unveil.load(str(best)).new_tokens == 19  # the base's own length


def test_the_objective_has_the_recipes_settings(recipe: MaskAgnosticTuning) -> None:
    change = {"alpha": 0.5, "beta": 2.0, "masked": (0.1, 1.0), "lengths": "log", "anchor": "more"}
    assert replace(recipe, **change).objective == MaskAgnostic(eos=EOS, **change)


@pytest.mark.parametrize("step", [0, 7, 200])
def test_a_step_has_room_within_the_context_and_the_curriculum(base: Path, tmp_path: Path, step: int) -> None:
    recipe = tuning(base, lines(tmp_path / "d.jsonl", words()), context=20)
    most = {0: 1, 7: 4, 200: 20}[step]
    assert recipe.most(step) == most
    batch = recipe.batch(step)
    assert batch.room.tolist() == [min(most, 20 - int(end)) for end in batch.end]
    for row, end in enumerate(batch.end.tolist()):  # the answer's EOS is learned too, and nothing after it
        assert batch.tokens[row, end - 1] == EOS and EOS not in batch.tokens[row, : end - 1]
    twins = recipe.objective.corrupt(batch, MASK, 0)
    assert int(twins.canvas.end.max()) <= 20
    held_out = recipe.held_out()
    assert held_out.room.tolist() == [min(20, 20 - int(end)) for end in held_out.end] and len(held_out.end) >= 64


def test_both_readings_of_the_curriculum() -> None:
    """5000 micro-batches of which an update has 43, or 5000 updates; and none."""
    assert PAPER.most(0) == 5 and PAPER.most(115) == 599 and PAPER.most(116) == PAPER.most(929) == 600
    updates = replace(PAPER, micro_steps=1)
    assert (updates.most(0), updates.most(929), updates.most(1199)) == (1, 112, 144)
    assert updates.most(4999) == updates.most(9999) == 600
    assert replace(PAPER, curriculum=0).most(0) == 600
    assert all(updates.most(step) <= updates.most(step + 1) for step in range(6000))


KINDS = {"base": (1.0, 1e-5, 1e-6), "instruct": (10.0, 1e-6, 1e-5)}  # beta, rate with TV, rate of the paper's CE


@pytest.mark.parametrize("kind", KINDS)
def test_presets_are_the_papers(kind: str) -> None:
    """Section 3.4 of the notes on the paper."""
    beta, rate, ce_rate = KINDS[kind]
    for name, weight, lr in (("", beta, rate), ("-ce", 0.0, ce_rate), ("-ce-same-lr", 0.0, rate)):
        recipe = with_settings(PAPER, PRESETS[f"llada-8b-{kind}{name}"])
        training = recipe.training
        assert (recipe.alpha, recipe.beta, training.lr) == (0.1, weight, lr)
        assert recipe.lora == LoRA(r=64, alpha=128, dropout=0.0, targets=("query", "key", "value", "output"))
        assert (recipe.rows, training.micro_rows, training.steps) == (3 * 43, 3, 930)
        assert (recipe.masked, recipe.max_masks, recipe.context) == ((0.2, 0.8), 600, 1024)
        assert (recipe.curriculum, recipe.micro_steps) == (5000, 43)
        assert (training.precision, recipe.dtype, training.clip, training.weight_decay) == ("bf16", "bfloat16", 1.0, 0)
        assert (training.optimiser, recipe.lengths, recipe.anchor) == ("adamw", "uniform", "none")
        assert {training.rate(step) for step in range(930)} == {lr}
    assert len(PRESETS) == 3 * len(KINDS)


def test_a_rate_that_warms_up_and_stays() -> None:
    training = Constant(steps=10, lr=0.5, warmup=4)
    assert [training.rate(step) for step in range(10)] == [0.125, 0.25, 0.375] + [0.5] * 7


def test_pairs_beyond_the_context_are_left_out(base: Path, tmp_path: Path) -> None:
    """With their EOS they have 10, 11, 12 and more columns."""
    data = lines(tmp_path / "d.jsonl", [{"prompt": "a" * n + "=", "answer": "bc"} for n in range(6, 16)])
    recipe = tuning(base, data, context=12, validation=0.3)
    assert recipe.counts() == {"pairs": 2, "held_out_pairs": 1, "left_out_pairs": 7}
    seen = {int(end) for rows in recipe.parts for end in rows.end}
    assert seen == {10, 11, 12}
    assert recipe.objective.corrupt(recipe.batch(0), MASK, 0).canvas.tokens.shape[1] <= 12
    whole = replace(recipe, context=5000)
    assert whole.columns == CONTEXT and whole.counts()["left_out_pairs"] == 0


def test_a_context_without_room_for_a_mask_is_refused(base: Path, tmp_path: Path) -> None:
    data = lines(tmp_path / "d.jsonl", [{"prompt": "a" * n + "=", "answer": "bc"} for n in range(6, 16)])
    with pytest.raises(ValueError) as caught:
        tuning(base, data, context=10).model()
    assert str(caught.value) == (
        f"{data}: with 10 columns no mask fits after any pair, the shortest has 10 tokens with its EOS: "
        "give shorter texts, or a larger context"
    )
    assert tuning(base, data, context=13).model()


SETTINGS = {
    "rows": ({"rows": 0}, "rows=0 is outside its range, from 1 to 1,048,576"),
    "max_masks": ({"max_masks": 0}, "max_masks=0 is outside its range, from 1 to 65,536"),
    "context": ({"context": 0}, "context=0 is outside its range, from 1 to 1,048,576"),
    "micro_steps": ({"micro_steps": 0}, "micro_steps=0 is outside its range, from 1 to 1,000,000,000"),
    "curriculum": ({"curriculum": -1}, "curriculum=-1 is outside its range, from 0 to 1,000,000,000"),
    "alpha": ({"alpha": -1.0}, "alpha=-1.0 is outside its range, from 0 to 1,000,000"),
    "masked": ({"masked": (0.0, 1.0)}, "masked=(0.0, 1.0) is no range within (0, 1]: give the lowest share and the "),
    "anchor": ({"anchor": "left"}, "anchor='left' is unknown: use none, fewer, more"),
    "dtype": ({"dtype": "bfloat16"}, "dtype=bfloat16 is for frozen weights: use it with lora, or train in float32"),
}


@pytest.mark.parametrize(("change", "fault"), SETTINGS.values(), ids=SETTINGS)
def test_impossible_settings_are_refused_before_anything_is_read(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(PAPER, **change)
    assert str(caught.value).startswith(fault)


class Interrupted(Exception):
    pass


def test_interrupted_and_resumed_it_is_the_same_run(
    recipe: MaskAgnosticTuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the curriculum, between and on the steps at which the state is kept."""
    recipe = replace(recipe, training=replace(TRAINING, steps=24, validate_every=5, ema=0.9))
    run(recipe, out=tmp_path / "whole")
    plain: Callable[[MaskAgnosticTuning, int], Batch] = MaskAgnosticTuning.batch
    for stop in (3, 14, 17):

        def interrupt(self: MaskAgnosticTuning, step: int, stop: int = stop) -> Batch:
            if step == stop:
                raise Interrupted
            return plain(self, step)

        with monkeypatch.context() as patch:
            patch.setattr(MaskAgnosticTuning, "batch", interrupt)
            with pytest.raises(Interrupted):
                run(recipe, out=tmp_path / "parts", resume=True)
    run(recipe, out=tmp_path / "parts", resume=True)
    mine, theirs = (load_file(tmp_path / name / "state.safetensors") for name in ("parts", "whole"))
    assert mine.keys() == theirs.keys() and all(torch.equal(x, theirs[name]) for name, x in mine.items())
    logs = [read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("parts", "whole")]
    for record in (*logs[0], *logs[1]):
        del record["rows_per_second"]
    assert logs[0] == logs[1] and len(logs[0]) == 24


@pytest.mark.parametrize("micro", [1, 3])
def test_micro_batches_change_nothing(recipe: MaskAgnosticTuning, tmp_path: Path, micro: int) -> None:
    losses = []
    for rows in (0, micro):
        some = replace(recipe, training=replace(TRAINING, steps=6, micro_rows=rows, lr=1e-3))
        run(some, out=tmp_path / str(rows))
        losses.append([record["loss"] for record in read_jsonl(tmp_path / str(rows) / "metrics.jsonl")])
        losses[-1].append(some.validate(some.model())["score"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_rows_are_dealt_out_once_by_their_longer_input(recipe: MaskAgnosticTuning) -> None:
    twins = recipe.objective.corrupt(recipe.batch(30), MASK, 0)
    shares = [share for rank in range(2) for share in deal(twins, 2, rank, 2)]
    assert sorted(torch.cat([share.pull for share in shares]).tolist()) == sorted(twins.pull.tolist())
    for share in shares:
        longest = int(share.other.end.max())
        assert share.canvas.tokens.shape == share.other.tokens.shape == share.targets.shape == (2, longest)


def test_adapters_are_trained_alone_and_merged(base: Path, tmp_path: Path) -> None:
    recipe = tuning(
        base, lines(tmp_path / "d.jsonl", words()), lora=LoRA(r=2, alpha=4),
        training=replace(TRAINING, steps=3, validate_every=3),
    )  # fmt: skip
    best = run(recipe, out=tmp_path / "run")
    assert (best / "adapter" / "adapter_model.safetensors").is_file()
    before, after = (load_checkpoint(Folder(folder)).state_dict() for folder in (base, best))
    changed = {name.split(".")[-2] for name, x in after.items() if not torch.equal(x, before[name])}
    assert changed == {"query", "key", "value"}


def test_the_held_out_pair_is_never_learned(recipe: MaskAgnosticTuning) -> None:
    held = recipe.held_out()
    (kept,) = {tuple(row[: int(end)]) for row, end in zip(held.tokens.tolist(), held.end, strict=True)}
    learned = set()
    for step in range(20):
        batch = recipe.batch(step)
        learned |= {tuple(row[: int(end)]) for row, end in zip(batch.tokens.tolist(), batch.end, strict=True)}
    texts = {tuple(CODEC.encode(item["prompt"] + item["answer"])) + (EOS,) for item in words()}
    assert kept not in learned and learned | {kept} == texts
