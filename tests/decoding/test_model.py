"""Text in, text out: the same rows as the canvas gives, in the order of the prompts."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.toy import toy
from unveil.canvas import GIVEN, MASK
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.decoding.loading import load
from unveil.decoding.model import Model
from unveil.sampling import recipes

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"  # 48 characters, then [EOS] 48 and [MASK] 49
PROMPTS = ["abc", "hello", "M", "xyzzy", "fo"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model")
    save_checkpoint(toy(gain=0.5, end_ids=(48,), dtype=torch.float64), out, LLADA)
    FileTokenizer.characters(ALPHABET, ["[EOS]", "[MASK]"]).save(out / "tokenizer.json")
    (out / "generation_config.json").write_text('{"max_new_tokens": 6}')
    return out


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(str(folder), device="cpu", dtype="float64")


def test_a_folder_is_a_model(model: Model, folder: Path) -> None:
    assert model.new_tokens == 6 and model.name == str(folder) and len(model.revision) == 12
    for asked, dtype in ((None, torch.float32), ("bfloat16", torch.bfloat16)):
        model = load(str(folder), device="cpu", dtype=asked)
        assert model.dtype == model.denoiser.embed.weight.dtype == dtype


@pytest.mark.parametrize("spec", [None, "fast_dllm:threshold=0.3,block=4,cache=dual", "llada:temperature=1.0"])
@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_answers_come_in_the_order_of_the_prompts_and_do_not_depend_on_the_batch(
    model: Model, spec: str | None, guidance: float
) -> None:
    answers = [model.decode(PROMPTS, spec, batch=batch, seed=3, guidance=guidance) for batch in (1, 2, 16)]
    assert answers[0] == answers[1] == answers[2]
    for number, (prompt, answer) in enumerate(zip(PROMPTS, answers[0], strict=True)):
        canvas = model.canvas(prompt, seed=3 + number)
        row = model.sampler(spec, canvas).decode(model.guided(guidance), canvas)
        assert answer.tokens == row.answer(0) and answer.nfe == int(row.nfe)
        assert answer.text == model.tokenizer.decode(answer.tokens) and answer.complete == (49 not in answer.tokens)


def test_end_ids_come_from_the_generation_settings_and_the_config(model: Model, folder: Path, tmp_path: Path) -> None:
    assert model.end_ids == model.canvas("abc").end_ids == (48,)
    shutil.copytree(folder, tmp_path / "model")
    for given, ends in (("[48, 3]", (48, 3)), ("3", (3, 48)), ("null", (48,))):
        (tmp_path / "model" / "generation_config.json").write_text('{"eos_token_id": ' + given + "}")
        assert load(str(tmp_path / "model")).canvas("abc").end_ids == ends


def test_a_sampler_may_be_a_value_and_a_length_may_be_given(model: Model) -> None:
    value, spec = (model.decode(["abc"], s, new_tokens=8) for s in (recipes.llada(8, steps=4), "llada:steps=4"))
    assert value == spec and value[0].nfe == 4
    assert model.decode([]) == []


def test_a_row_that_ends_with_masks_says_so(model: Model) -> None:
    short = replace(recipes.llada(6), max_steps=2)
    answer = model.decode(["abc"], short)[0]
    assert not answer.complete and answer.nfe == 2 and answer.tokens.count(49) == 4


def test_templates(model: Model) -> None:
    canvas = model.template("ab[MASK]c[MASK:3]d")
    assert canvas.tokens.tolist() == [[0, 1, 49, 2, 49, 49, 49, 3]]
    assert canvas.stage.tolist() == [[GIVEN, GIVEN, MASK, GIVEN, MASK, MASK, MASK, GIVEN]]
    rows = dict(rows for _, finished in model.stream([canvas, model.template("[MASK:2]")]) for rows in finished)
    assert not rows[0].undecided.any() and not rows[1].undecided.any()
    given = canvas.stage == GIVEN
    assert torch.equal(rows[0].tokens[given], canvas.tokens[given])


ERRORS: list[tuple[Callable[[Model], object], str]] = [
    (lambda m: m.decode("abc"), "prompts is one text: give a list, for example [text]"),
    (lambda m: m.decode(["abc", ""]), "prompt 1 is empty: give at least one token, for example the model's BOS"),
    (
        lambda m: m.decode(["a[MASK]"]),
        "prompt 0 contains the mask id 49 at position 1: remove it, or use a template for infilling",
    ),
    (
        lambda m: m.template("a[MASK:0]b[MASK]"),
        "the template has a hole of no tokens, [MASK:0]: write [MASK] or [MASK:5]",
    ),
    (lambda m: m.decode(["abc"], new_tokens=0), "new_tokens of prompt 0 is 0: it must be at least 1"),
    (
        lambda m: m.decode(["abc"], new_tokens=254),
        "prompt 0: 3 tokens and 254 new ones exceed the model's context of 256: "
        "shorten the prompt by 1 tokens or ask for fewer new tokens",
    ),
    (lambda m: m.template("abc"), "the template 'abc' has no hole: write [MASK] (or [MASK:5]) where tokens are wanted"),
]


@pytest.mark.parametrize("wrong, message", ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_wrong_input_is_explained(model: Model, wrong: Callable[[Model], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        wrong(model)
    assert str(caught.value) == message


def test_a_folder_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"has no tokenizer\.json: text needs one, or vocab\.json and merges\.txt; "):
        load(str(tmp_path / "model"))
