"""Fine-tuning: the recipe learns, never sees what it is judged on, and leaves a folder that loads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import unveil
from tests.checkpoints.byte_pairs import dream_folder
from tests.training.folder import CODEC, EOS, MASK, TEMPLATE, lines, model_folder, words
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.files import read_jsonl, write_json
from unveil.objectives.loss import loss
from unveil.training.settings import Training
from unveil.training.sft import SFT
from unveil.training.trainer import Recipe, run
from unveil.training.tuning import HELD_OUT_MOST

TRAINING = Training(steps=60, lr=1e-2, warmup=5, validate_every=20, save_every=30)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("base"), template=TEMPLATE)


def tuning(base: Path, data: Path, **change: Any) -> SFT:
    return SFT(**({"base": str(base), "data": str(data), "canvas": 12, "rows": 8, "training": TRAINING} | change))


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> SFT:
    return tuning(base, lines(tmp_path / "d.jsonl", words()))


def batches(recipe: SFT, steps: int) -> set[tuple[int, ...]]:
    """Every row that is learned in these steps, up to its first EOS."""
    seen = set()
    for step in range(steps):
        for row in recipe.batch(step).tokens.tolist():
            seen.add(tuple(row[: row.index(EOS)]))
    return seen


def test_it_is_a_recipe_and_learns(recipe: SFT, base: Path, tmp_path: Path) -> None:
    assert isinstance(recipe, Recipe)
    before = recipe.validate(recipe.model())
    best = run(recipe, out=tmp_path / "run")
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    scored = [record for record in records if "score" in record]
    assert all(record["score"] == -record["validation"] for record in scored)
    assert max(record["score"] for record in scored) > before["score"] + 0.5
    assert sum(x["loss"] for x in records[-10:]) < 0.5 * sum(x["loss"] for x in records[:10])
    card = json.loads((best / "card.json").read_text())
    assert (card["recipe"], card["base"]) == ("unveil train sft", str(base))
    assert (card["pairs"], card["held_out_pairs"]) == (23, 1)
    kept = recipe.validate(load_checkpoint(Folder(best), dtype=torch.float32))["score"]
    assert kept == pytest.approx(max(record["score"] for record in scored), abs=0.05)  # bfloat16 on disk


def test_a_tokenizer_of_byte_pairs_goes_along(tmp_path: Path) -> None:
    base = dream_folder(tmp_path / "base")
    recipe = tuning(base, lines(tmp_path / "d.jsonl", words()))
    recipe.save(recipe.model(), tmp_path / "model")
    before, after = (unveil.load(folder).ids("<|im_start|>hello") for folder in (base, tmp_path / "model"))
    assert before == after


def test_the_folder_loads_with_all_that_stood_beside_the_base(recipe: SFT, base: Path, tmp_path: Path) -> None:
    model = recipe.model()
    recipe.save(model, tmp_path / "model")
    loaded = unveil.load(str(tmp_path / "model"))
    assert loaded.new_tokens == 12 and loaded.end_ids == (EOS,)
    assert loaded.decode(["ab="])[0].tokens
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "model" / name).read_bytes() == (base / name).read_bytes()
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["temperature"] == 0.5
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        assert all(file.get_tensor(name).dtype == torch.bfloat16 for name in file.keys())
    for name, x in load_checkpoint(Folder(tmp_path / "model")).state_dict().items():
        assert torch.equal(x, load_checkpoint(Folder(base)).state_dict()[name])
    assert all(x.dtype == torch.float32 for x in model.parameters())


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_held_out_is_never_learned_and_all_else_is(base: Path, tmp_path: Path, seed: int) -> None:
    data = words(40)
    recipe = tuning(
        base, lines(tmp_path / "d.jsonl", data + data[:15]), validation=0.2, training=replace(TRAINING, seed=seed)
    )
    rows = recipe.parts.held_out
    held = {tuple(row[: row.index(EOS)]) for row in rows.batch(torch.arange(len(rows.first))).tokens.tolist()}
    learned = batches(recipe, 40)
    assert len(held) == 8 and not held & learned
    assert held | learned == {tuple(CODEC.encode(item["prompt"] + item["answer"])) for item in data}


def test_at_most_so_many_are_held_out(base: Path, tmp_path: Path) -> None:
    data = [{"prompt": f"{number}=", "answer": "a"} for number in range(HELD_OUT_MOST * 3)]
    recipe = tuning(base, lines(tmp_path / "d.jsonl", data), validation=0.9)
    assert [len(rows.first) for rows in recipe.parts] == [2 * HELD_OUT_MOST, HELD_OUT_MOST]


@pytest.mark.parametrize("padding", ["canvas", "first"])
def test_padding_says_how_far_a_row_is_learned(base: Path, tmp_path: Path, padding: Any) -> None:
    recipe = tuning(base, lines(tmp_path / "d.jsonl", words()), padding=padding)
    batch = recipe.batch(0)
    learned = batch.answer.sum(1)
    answers = (batch.answer & (batch.tokens != EOS)).sum(1)
    assert torch.equal(learned, torch.full_like(learned, 12) if padding == "canvas" else answers + 1)


def test_the_score_is_the_same_whatever_the_memory(recipe: SFT) -> None:
    model = recipe.model()
    want = recipe.validate(model)
    assert recipe.validate(model) == want
    held = recipe.parts.held_out
    whole = held.batch(torch.arange(len(held.first)).repeat(64))  # one pair: so many masks make a score
    assert want["validation"] == pytest.approx(float(loss(model, recipe.objective.corrupt(whole, MASK, 0))), rel=1e-5)
    few = replace(recipe, training=replace(TRAINING, micro_rows=3)).validate(model)
    assert few["score"] == pytest.approx(want["score"], rel=1e-5)


def test_chats_are_learned(base: Path, tmp_path: Path) -> None:
    chats = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n + 1}"}]}
        for n in range(9)
    ]
    recipe = tuning(base, lines(tmp_path / "d.jsonl", chats), rows=2)
    assert tuple(CODEC.encode("<user>3?[EOS]<assistant>4")) in whole_rows(recipe)


def whole_rows(recipe: SFT) -> set[tuple[int, ...]]:
    """All rows, their final EOS left out."""
    found = set()
    for rows in recipe.parts:
        for row in rows.batch(torch.arange(len(rows.first))).tokens.tolist():
            while row[-1] == EOS:
                row.pop()
            found.add(tuple(row))
    return found


SETTINGS = {
    "canvas": ({"canvas": 1}, "canvas=1, rows=8: give a canvas of at least 2 and 1 row or more"),
    "rows": ({"rows": 0}, "canvas=12, rows=0: give a canvas of at least 2 and 1 row or more"),
    "padding": ({"padding": "end"}, "padding='end' is unknown: use canvas or first"),
    "share": ({"validation": 0.0}, "validation=0.0 is outside (0, 1): a share is held out to choose the best"),
    "all": ({"validation": 1.0}, "validation=1.0 is outside (0, 1): a share is held out to choose the best"),
    "dtype": ({"dtype": "float16"}, "dtype='float16' is unknown: use float32 or bfloat16"),
    "trained": ({"dtype": "bfloat16"}, "dtype=bfloat16 is for frozen weights: use it with lora, or train in float32"),
}


@pytest.mark.parametrize(("change", "fault"), SETTINGS.values(), ids=SETTINGS)
def test_impossible_settings_are_refused(recipe: SFT, change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(recipe, **change)
    assert str(caught.value) == fault


def no_end(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"eos_token_id": None})


def other_kind(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"model_type": "gpt"})


BROKEN = {
    "no config": (lambda folder: (folder / "config.json").unlink(), " has no config.json: give a folder"),
    "kind": (other_kind, ": model_type 'gpt' is unknown, known are Dream, llada, llama"),
    "no end": (no_end, "/config.json has no eos_token_id: answers need an end, name its id there"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), " has no tokenizer.json: text needs one"),
}


@pytest.mark.parametrize(("harm", "fault"), BROKEN.values(), ids=BROKEN)
def test_a_base_that_cannot_be_tuned(tmp_path: Path, harm: Any, fault: str) -> None:
    base = model_folder(tmp_path / "base")
    harm(base)
    with pytest.raises(ValueError) as caught:
        tuning(base, lines(tmp_path / "d.jsonl", words())).model()
    assert str(caught.value).startswith(f"{base}{fault}")


def test_bad_data_is_known_before_weights_are_read(tmp_path: Path) -> None:
    base = model_folder(tmp_path / "base")
    (base / "model.safetensors").unlink()
    data = lines(tmp_path / "d.jsonl", [*words(3), {"prompt": "a"}])
    with pytest.raises(ValueError) as caught:
        tuning(base, data).model()
    assert str(caught.value).startswith(f"{data}, line 4: field 'answer' is missing")
    data = lines(tmp_path / "d.jsonl", words(1) * 5)
    with pytest.raises(ValueError) as caught:
        tuning(base, data).model()
    assert str(caught.value) == f"{data}: all pairs are the same one: give a different one too, to validate on"
