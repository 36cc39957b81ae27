"""Models that transformers runs: their own logits, rows that do not depend on their batch, and errors."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

import unveil
from tests.checkpoints.published import published, set_config
from tests.training.folder import CODEC, EOS, MASK
from unveil.canvas import SOFT_MASK, Canvas
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.hf import Borrowed, load_denoiser, load_transformers
from unveil.checkpoints.weights import load_checkpoint
from unveil.diagnostics.context.attribution import gradient
from unveil.diagnostics.context.readings import FirstMask
from unveil.diagnostics.context.rows import Row
from unveil.models.attention import Bidirectional, Causal
from unveil.models.denoiser import Denoiser, Guided, Want
from unveil.models.transformer import Transformer
from unveil.sampling import recipes

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": None, "eos_token_id": EOS,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "BertForMaskedLM": {},
    "RobertaForMaskedLM": {"type_vocab_size": 1},
    "DistilBertForMaskedLM": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    "ModernBertForMaskedLM": {"local_attention": 6, "global_attn_every_n_layers": 2, "cls_token_id": 2,
                              "sep_token_id": 3, "attn_implementation": "sdpa"},
    "GPT2LMHeadModel": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "Gemma2ForCausalLM": {"head_dim": 8, "num_key_value_heads": 2, "sliding_window": 4, "final_logit_softcapping": 2.0,
                          "query_pre_attn_scalar": 8},
}  # fmt: skip
CAUSAL = ("GPT2LMHeadModel", "Gemma2ForCausalLM")
ROWS = [[5, 9, 33, 2, 17, 40, 8, 21, 60, 11, 12], [7, 3, 7], [10, 2, 3, 4, 5, 6, 0]]
LOGITS = Want(proposals=False, logits=True)


def theirs(name: str, folder: Path, **more: Any) -> PreTrainedModel:
    """A model with random weights, saved."""
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    model = kind(kind.config_class(**(SIZES | MODELS[name] | more))).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.3 + (weight.ndim == 1))
    model.save_pretrained(folder)
    if name not in CAUSAL:
        set_config(folder, mask_token_id=MASK)
    return model


def hard(mask_id: int = MASK, rows: list[list[int]] = ROWS) -> Canvas:
    ends = torch.tensor([len(row) for row in rows])
    ids = torch.tensor([row + [mask_id] * (int(ends.max()) - len(row)) for row in rows])
    return Canvas.corrupt(ids, ids < 0, start=ends * 0, end=ends, mask_id=mask_id)


def ours(model: Denoiser, canvas: Canvas) -> list[Tensor]:
    out = model(canvas, canvas.inside, canvas.inside, None, LOGITS).logits
    assert out is not None
    return list(out.split(canvas.end.tolist()))


def close(some: list[Tensor], others: list[Tensor]) -> bool:
    return all((a - b).abs().max() < 1e-4 for a, b in zip(some, others, strict=True))


def shifted(rows: list[Tensor]) -> list[Tensor]:
    return [torch.cat([row[:1], row[:-1]]) for row in rows]


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """Of every row alone, although ours are computed in one batch."""
    truth = theirs(name, tmp_path)
    model = load_denoiser(Folder(tmp_path))
    assert isinstance(model, Borrowed) and isinstance(model, Denoiser)
    a = model.outline
    assert (a.vocabulary, a.end_ids, a.context) == (64, (EOS,), 62 if name.startswith("Roberta") else 64)
    assert a.rule == (Causal() if name in CAUSAL else Bidirectional()) and a.shift == (name in CAUSAL)
    assert model.outline.blank_id == (64 if name in CAUSAL else MASK) and model.affine == (name != "Gemma2ForCausalLM")
    with torch.no_grad():
        rows = [truth(torch.tensor([row])).logits[0] for row in ROWS]
    assert close(ours(model, hard(model.outline.blank_id)), shifted(rows) if a.shift else rows)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_never_depends_on_its_batch(name: str, tmp_path: Path) -> None:
    theirs(name, tmp_path)
    model = load_denoiser(Folder(tmp_path))
    sampler = recipes.left_to_right(5, temperature=1.0)
    if name not in CAUSAL:
        sampler = recipes.evotoken(6, steps=3, mask_share=0.5)
    canvas = Canvas.blank(ROWS, [5, 9, 6], mask_id=model.outline.blank_id, seed=[1, 2, 3])
    together = sampler.decode(model, canvas)
    for row in range(len(ROWS)):
        one = canvas.rows(torch.tensor([row])).narrow(int(canvas.end[row]))
        alone = sampler.decode(model, one)
        assert together.answer(row) == alone.answer(0) and together.nfe[row] == alone.nfe[0]
        spread = (together.confidence[row, : one.tokens.shape[1]] - alone.confidence[0]).abs().max()
        assert spread < 1e-4 and not alone.undecided.any()


@pytest.mark.parametrize("name", ["BertForMaskedLM", "ModernBertForMaskedLM"])
def test_soft_tokens_are_mixtures_of_embeddings(name: str, tmp_path: Path) -> None:
    truth = theirs(name, tmp_path)
    model, plain = load_denoiser(Folder(tmp_path)), hard()
    chosen = plain.inside & (plain.column % 2 == 1)
    weights = torch.tensor([0.25, 0.75]).expand(*plain.tokens.shape, 2)
    ids = torch.stack([plain.tokens, torch.full_like(plain.tokens, MASK)], -1)
    stage = torch.where(chosen, SOFT_MASK, plain.stage).to(torch.int8)
    soft = replace(plain, soft_ids=ids, soft_weights=weights, stage=stage)
    table = truth.get_input_embeddings().weight
    for row, found in enumerate(ours(model, soft)):
        shown = table[torch.tensor(ROWS[row])].clone()
        shown[1::2] = 0.25 * shown[1::2] + 0.75 * table[MASK]
        with torch.no_grad():
            assert close([found], [truth(inputs_embeds=shown[None]).logits[0]])
    ones = replace(soft, soft_weights=torch.tensor([1.0, 0.0]).expand_as(weights))
    assert close(ours(model, ones), ours(model, plain))
    out = model(soft, soft.inside, chosen, None, Want(top=3, gram=True))
    assert out.gram is not None and out.top_ids is not None and out.gram.shape == (int(chosen.sum()), 4, 4)
    assert torch.allclose(out.gram[0, 1, 0], table[out.top_ids[0, 0]] @ table[MASK])


@pytest.mark.parametrize("name", ["BertForMaskedLM", "GPT2LMHeadModel"])
def test_only_columns_that_answer_become_logits(name: str, tmp_path: Path) -> None:
    theirs(name, tmp_path)
    model = load_transformers(Folder(tmp_path))
    counts: list[int] = []
    model.model.get_output_embeddings().register_forward_hook(
        lambda layer, inputs, out: counts.append(out.numel() // 64)
    )
    canvas = hard(model.outline.blank_id)
    read = canvas.inside & (canvas.column % 4 == 2)
    out = model(canvas, canvas.inside, read, None, Want(entropy=True, top=2))
    assert counts == [0, int(read.sum())] and out.top_ids is not None and len(out.top_ids) == int(read.sum())
    nothing = torch.zeros_like(read)
    for fresh in (canvas.inside, nothing):
        assert len(model(canvas, fresh, nothing, None, Want()).index) == 0


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("name", ["llama stretched", "qwen2", "qwen3"])
def test_our_transformer_gives_what_transformers_gives(name: str, attention: str, tmp_path: Path) -> None:
    published(name, tmp_path)
    set_config(tmp_path, mask_token_id=MASK)
    folder = Folder(tmp_path)
    own, borrowed = (read(folder, attention=attention) for read in (load_checkpoint, load_transformers))
    assert isinstance(load_denoiser(Folder(tmp_path)), Transformer)
    assert borrowed.outline == replace(own.outline, caches=False)
    canvas = hard(own.outline.blank_id)
    assert close(ours(own, canvas), ours(borrowed, canvas))
    sampler = recipes.left_to_right(6) if attention == "causal" else recipes.fast_dllm(6, threshold=0.3)
    blank = Canvas.blank(ROWS, 6, mask_id=own.outline.blank_id)
    assert torch.equal(sampler.decode(own, blank).tokens, sampler.decode(borrowed, blank).tokens)
    want = replace(LOGITS, guidance=None)
    a, b = (Guided(inner=m, scale=1.5)(canvas, canvas.inside, canvas.inside, None, want) for m in (own, borrowed))
    assert a.logits is not None and b.logits is not None and (a.logits - b.logits).abs().max() < 1e-3


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A whole folder, as an encoder's repository: the mask token is the tokenizer's."""
    theirs("BertForMaskedLM", tmp_path)
    set_config(tmp_path, mask_token_id=None)
    CODEC.save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"mask_token": "[MASK]"}))
    return tmp_path


@pytest.mark.parametrize("sampler", [None, "fast_dllm:threshold=0.5,block=4", "evotoken:steps=3", "remdm", "dream"])
def test_a_bert_decodes(bert: Path, sampler: str | None) -> None:
    model = unveil.load(bert)
    assert model.denoiser.outline.blank_id == MASK
    answers = model.decode(["ab=", "c d"], sampler, new_tokens=6, seed=1)
    assert all(answer.complete for answer in answers)
    assert answers[1] == model.decode(["c d"], sampler, new_tokens=6, seed=2)[0]
    holes = dict(rows for _, done in model.stream([model.template("a[MASK:2]b")]) for rows in done)
    assert model.answer(holes[0]).complete


@pytest.mark.parametrize(("causal", "sampler"), [(False, "fast_dllm:cache=dual"), (True, "left_to_right:cache=block")])
def test_a_sampler_with_a_cache_is_refused(tmp_path: Path, causal: bool, sampler: str) -> None:
    theirs("GPT2LMHeadModel" if causal else "BertForMaskedLM", tmp_path)
    CODEC.save(tmp_path / "tokenizer.json")
    model = unveil.load(tmp_path)
    assert model.denoiser.outline.causal == causal and not model.denoiser.outline.caches
    with pytest.raises(ValueError) as caught:
        model.decode(["ab="], sampler, new_tokens=4)
    assert str(caught.value) == "a model that transformers runs has no cache here: take a sampler with cache=none"


def test_a_causal_model_decodes_as_generate_does(tmp_path: Path) -> None:
    truth = theirs("GPT2LMHeadModel", tmp_path, eos_token_id=None)
    CODEC.save(tmp_path / "tokenizer.json")
    model = unveil.load(tmp_path)
    ids = torch.tensor([CODEC.encode("ab=")])
    made = truth.generate(ids, do_sample=False, max_new_tokens=7, pad_token_id=1)[0, ids.shape[1] :]
    assert model.decode(["ab="], new_tokens=7)[0].tokens == made.tolist()
    with pytest.raises(ValueError, match="is causal and predicts only the token after what it sees"):
        model.decode(["ab="], "llada", new_tokens=7)


def test_diagnostics_read_it(bert: Path) -> None:
    model = unveil.load(bert)
    row = Row(ids=[*CODEC.encode("abc="), MASK, MASK], answer=4, masks=2, label="a", labels=("a",), pieces=(), piece=[])
    read = FirstMask()(model, [row])[0]
    out, norms = gradient(model, row)
    assert out.confidence is not None and float(out.confidence) == pytest.approx(read["confidence"], rel=1e-4)
    assert norms.shape == (6,) and (norms > 0).all() and not model.denoiser.embed._forward_hooks


def headless(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: x for name, x in weights.items() if not name.startswith("cls.predictions.transform")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def halved(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nameless(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()


BROKEN: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "type": (
        lambda folder: set_config(folder, model_type="starling"),
        {},
        "FOLDER: model_type 'starling' is none of Dream, llada, llama, qwen2, qwen3, a2d-llama, a2d-qwen2, a2d-qwen3, "
        "and transformers VERSION cannot read config.json (REASON); a folder's own code runs only with "
        "trust_remote_code=True (--trust-remote-code)",
    ),
    "kind": (
        lambda folder: transformers.T5Config().save_pretrained(folder),
        {},
        "FOLDER: t5 is neither a masked nor a causal language model: give one of these",
    ),
    "head": (
        headless,
        {},
        "FOLDER: the weights lack cls.predictions.transform.LayerNorm.bias, "
        "cls.predictions.transform.LayerNorm.weight, cls.predictions.transform.dense.bias, 4 in all, without which "
        "BertForMaskedLM would be random: give a checkpoint of a whole language model",
    ),
    "mask": (
        nameless,
        {},
        "config.json lacks 'mask_token_id', which a bidirectional model needs: name the id of its mask token there",
    ),
    "dtype": (
        lambda folder: None,
        {"dtype": "float64"},
        "transformers computes parts of its models in float32: use dtype float32, not float64",
    ),
    "padding": (
        lambda folder: set_config(folder, is_causal=True),
        {},
        "FOLDER: padding changes whether the model looks ahead: take is_causal out of config.json",
    ),
    "attention": (
        lambda folder: None,
        {"attention": "causal"},
        "FOLDER: the model does not follow attention='causal': leave it out",
    ),
}


@pytest.mark.parametrize(("harm", "more", "message"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_borrowed_is_explained(
    bert: Path, harm: Callable[[Path], object], more: dict[str, Any], message: str
) -> None:
    harm(bert)
    with pytest.raises(ValueError) as caught:
        unveil.load(bert, **more)
    said = str(caught.value).replace(str(bert), "FOLDER").replace(transformers.__version__, "VERSION")
    assert re.sub(r"config.json \(.*?\);", "config.json (REASON);", said) == message


@pytest.mark.parametrize("harm", [halved, lambda folder: (folder / "model.safetensors").unlink()])
def test_a_file_that_is_not_whole_is_refused(bert: Path, harm: Callable[[Path], object]) -> None:
    harm(bert)
    with pytest.raises(ValueError, match=r"transformers cannot load it \("):
        unveil.load(bert)


def test_without_transformers_it_says_how_to_get_it(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError) as caught:
        unveil.load(bert)
    assert str(caught.value) == (
        f"{bert}: model_type 'bert' is unknown, known are Dream, llada, llama, qwen2, qwen3, a2d-llama, a2d-qwen2, "
        "a2d-qwen3; for those that transformers knows: pip install 'unveil[hf]'"
    )


CODE = """
from transformers import BertConfig, BertForMaskedLM
class OwnConfig(BertConfig):
    model_type = "own-bert"
class OwnModel(BertForMaskedLM):
    config_class = OwnConfig
"""


def test_a_folders_own_code_runs_only_where_it_is_trusted(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (bert / "own.py").write_text(CODE)
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForMaskedLM": "own.OwnModel"}
    set_config(bert, model_type="own-bert", auto_map=names)
    with pytest.raises(ValueError, match="own code runs only with trust_remote_code=True"):
        unveil.load(bert)
    assert unveil.load(bert, trust_remote_code=True).decode(["ab="], new_tokens=3)[0].complete
    (bert / "silent.py").write_text("raise AssertionError")
    set_config(bert, auto_map={"AutoConfig": "silent.OwnConfig"})
    with pytest.raises(ValueError, match=r"cannot read config\.json \(AssertionError\): its own code failed"):
        unveil.load(bert, trust_remote_code=True)


def test_a_model_that_cannot_look_ahead_is_not_called_bidirectional(tmp_path: Path) -> None:
    """Whatever its config.json says, it is tried."""
    theirs("GPT2LMHeadModel", tmp_path)
    set_config(tmp_path, is_causal=False, mask_token_id=MASK)
    assert load_transformers(Folder(tmp_path)).outline.rule == Bidirectional()
    theirs("GPT2LMHeadModel", tmp_path, n_layer=0, num_hidden_layers=0)  # nothing looks anywhere
    set_config(tmp_path, is_causal=False, mask_token_id=MASK)
    with pytest.raises(ValueError, match="the model does not follow attention='bidirectional'"):
        load_transformers(Folder(tmp_path))
