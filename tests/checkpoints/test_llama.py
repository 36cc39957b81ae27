"""Llama, Qwen2, Qwen3 and their bidirectional conversions: transformers' own logits, there and back, and errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import unveil
from tests.checkpoints.published import MODELS, STRETCHED, published, set_config
from tests.training.folder import CODEC, MASK
from unveil.canvas import Canvas
from unveil.checkpoints.families import families
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.models.attention import Bidirectional, Causal, Llama3
from unveil.models.denoiser import Want
from unveil.models.transformer import Transformer
from unveil.sampling.recipes import left_to_right

ROWS = [[5, 9, 33, 2, 17, 40, 8, 21, 60, 11, 12], [7, 3, 7], [1, 2, 3, 4, 5, 6, 0]]
LOGITS = Want(proposals=False, logits=True)


def theirs(model: PreTrainedModel) -> list[Tensor]:
    """The logits of every row, out of one padded batch."""
    longest = max(map(len, ROWS))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in ROWS])
    inside = torch.arange(longest) < torch.tensor([[len(row)] for row in ROWS])
    with torch.no_grad():
        logits = model(ids, attention_mask=inside.long()).logits
    return [logits[row, : len(ids)] for row, ids in enumerate(ROWS)]


def ours(model: Transformer) -> list[Tensor]:
    """The same; what answers for a column."""
    ends = torch.tensor([len(row) for row in ROWS])
    ids = torch.tensor([row + [0] * (int(ends.max()) - len(row)) for row in ROWS])
    canvas = Canvas.corrupt(ids, ids < 0, start=ends * 0, end=ends, mask_id=model.outline.blank_id)
    out = model(canvas, canvas.inside, canvas.inside, None, LOGITS).logits
    assert out is not None
    return list(out.split(ends.tolist()))


def equal(model: Transformer, truth: list[Tensor]) -> bool:
    shifted = [torch.cat([row[:1], row[:-1]]) for row in truth] if model.architecture.shift else truth
    return all((a - b).abs().max() < 1e-4 for a, b in zip(ours(model), shifted, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """Causal as published; bidirectional by transformers' own setting, by our keyword, and as dLLM converts."""
    truth = published(name, tmp_path)
    model = load_checkpoint(Folder(tmp_path))
    assert model.outline.rule == Causal() and model.outline.mask_id is None and model.outline.shift == 1
    assert model.outline.blank_id == 64
    assert equal(model, theirs(truth))
    set_config(tmp_path, mask_token_id=MASK)
    model = load_checkpoint(Folder(tmp_path), attention="bidirectional")
    assert not equal(model, theirs(truth))  # what it sees matters
    truth.config.is_causal = False
    assert model.outline.rule == Bidirectional() and model.outline.mask_id == MASK and model.outline.shift == 1
    assert equal(model, theirs(truth))
    set_config(tmp_path, is_causal=False)
    assert equal(load_checkpoint(Folder(tmp_path)), theirs(truth))
    assert load_checkpoint(Folder(tmp_path), attention="causal").architecture.rule == Causal()
    set_config(tmp_path, is_causal=True, model_type=f"a2d-{truth.config.model_type}")
    model = load_checkpoint(Folder(tmp_path))
    assert model.architecture.rule == Bidirectional() and model.architecture.shift == 0
    assert equal(model, theirs(truth))


@pytest.mark.parametrize("cache", ["none", "block"])
@pytest.mark.parametrize("name", MODELS)
def test_left_to_right_decodes_what_generate_does(name: str, cache: str, tmp_path: Path) -> None:
    """A ragged batch, greedily; with an end id too."""
    truth, new = published(name, tmp_path, eos_token_id=None), 12
    model = load_checkpoint(Folder(tmp_path))
    assert model.architecture.end_ids == ()
    inputs = [torch.tensor([row]) for row in ROWS]
    answers = [truth.generate(ids, do_sample=False, max_new_tokens=new)[0, ids.shape[1] :].tolist() for ids in inputs]
    end = answers[0][4]
    for end_ids in ((), (end,)):
        canvas = Canvas.blank(ROWS, new, mask_id=model.outline.blank_id, end_ids=end_ids)
        out = left_to_right(new, cache=cache).decode(model, canvas)
        until = [row.index(end) if end in row and end_ids else new for row in answers]
        assert [out.answer(row) for row in range(len(ROWS))] == [a[:u] for a, u in zip(answers, until, strict=True)]
        assert out.nfe.tolist() == [min(u + 1, new) for u in until]


def test_a_causal_model_is_decoded_left_to_right_and_not_otherwise(tmp_path: Path) -> None:
    published("qwen3", tmp_path, max_position_embeddings=64)
    CODEC.save(tmp_path / "tokenizer.json")
    model = unveil.load(tmp_path)
    answers = model.decode(["ab=", "c"], new_tokens=6)
    assert answers == model.decode(["ab=", "c"], "left_to_right", new_tokens=6, batch=1)
    assert answers == model.decode(["ab=", "c"], "llada:block=1", new_tokens=6)
    with pytest.raises(ValueError) as caught:
        model.decode(["ab="], "fast_dllm", new_tokens=6)
    assert str(caught.value) == (
        f"{tmp_path} is causal and predicts only the token after what it sees: use left_to_right"
    )
    set_config(tmp_path, mask_token_id=MASK)
    assert unveil.load(tmp_path, attention="bidirectional").decode(["ab="], "fast_dllm", new_tokens=4)[0].complete


@pytest.mark.parametrize("converted", ["causal", "is_causal", "a2d"])
@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name: str, converted: str, tmp_path: Path) -> None:
    """What is saved is the model again, for us and, where they know it, for transformers."""
    truth = published(name, tmp_path)
    kind = truth.config.model_type
    if converted != "causal":
        set_config(tmp_path, mask_token_id=MASK, is_causal=False)
    if converted == "a2d":
        kind = f"a2d-{kind}"
        set_config(tmp_path, model_type=kind)
    model = load_checkpoint(Folder(tmp_path))
    save_checkpoint(model, tmp_path / "again", families()[kind])
    again = load_checkpoint(Folder(tmp_path / "again"))
    assert again.architecture == model.architecture
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    names = set(load_file(tmp_path / "again" / "model.safetensors"))
    assert names == set(load_file(tmp_path / "model.safetensors"))
    if converted != "a2d":
        theirs_again = AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
        assert theirs_again.config.model_type == kind
        assert equal(again, theirs(theirs_again))


def test_llama3_is_a_part(tmp_path: Path) -> None:
    published("llama stretched", tmp_path)
    found = load_checkpoint(Folder(tmp_path)).architecture
    assert found.rope_scaling == Llama3(factor=8.0, low=1.0, high=4.0, original=32) and found.rope_base == 500.0
    older = {name: value for name, value in STRETCHED.items() if name != "rope_theta"}
    set_config(tmp_path, rope_parameters=None, rope_scaling=older, rope_theta=500.0)
    assert load_checkpoint(Folder(tmp_path)).architecture == found


def test_a_published_config_of_llama_3_2(tmp_path: Path) -> None:
    """The fields of meta-llama/Llama-3.2-1B's config.json, at a small size."""
    published("llama tied", tmp_path)
    config = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 16, "hidden_act": "silu", "hidden_size": 32,
        "initializer_range": 0.02, "intermediate_size": 48, "max_position_embeddings": 131072, "mlp_bias": False,
        "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": True,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0", "use_cache": True, "vocab_size": 64,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    a = load_checkpoint(Folder(tmp_path)).architecture
    assert a.rope_scaling == Llama3(factor=32.0, low=1.0, high=4.0, original=8192)
    assert (a.max_columns, a.rope_base, a.end_ids, a.tied) == (131072, 500000.0, (128001,), True)


def dllm(folder: Path, **tokens: Any) -> Path:
    """A conversion as dLLM leaves it: only the tokenizer knows the mask token."""
    published("qwen3", folder)
    set_config(folder, model_type="a2d-qwen3")
    CODEC.save(folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    return folder


@pytest.mark.parametrize("mask", ["[MASK]", {"content": "[MASK]", "special": True}])
def test_a_mask_token_that_only_the_tokenizer_names(tmp_path: Path, mask: Any) -> None:
    model = unveil.load(dllm(tmp_path, mask_token=mask))
    assert model.denoiser.outline.blank_id == MASK
    answer = model.decode(["ab="], new_tokens=4)[0]
    assert answer.complete and len(answer.tokens) <= 4


def test_a_config_names_another_mask_token_than_its_tokenizer(tmp_path: Path) -> None:
    dllm(tmp_path, mask_token="[MASK]")
    set_config(tmp_path, mask_token_id=60)
    assert load_checkpoint(Folder(tmp_path)).outline.blank_id == 60


def test_the_tokenizer_is_read_only_where_it_must_name_the_mask_token(tmp_path: Path) -> None:
    """Here it is broken."""
    dllm(tmp_path, mask_token="[MASK]")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert Folder(tmp_path).config["model_type"] == "a2d-qwen3"
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer file"):
        load_checkpoint(Folder(tmp_path))
    set_config(tmp_path, mask_token_id=60)
    assert load_checkpoint(Folder(tmp_path)).outline.blank_id == 60
    set_config(tmp_path, mask_token_id=None, model_type="qwen3")
    assert load_checkpoint(Folder(tmp_path)).outline.blank_id == 64
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer file"):
        load_checkpoint(Folder(tmp_path), attention="bidirectional")


@pytest.mark.parametrize("tokens", [{}, {"mask_token": None}, {"mask_token": "<|mask|>"}])
def test_a_bidirectional_model_without_a_mask_token_is_refused(tmp_path: Path, tokens: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        load_checkpoint(Folder(dllm(tmp_path, **tokens)))
    assert str(caught.value) == (
        "config.json lacks 'mask_token_id', which a bidirectional model needs: name the id of its mask token there"
    )


def test_a_head_of_its_own_counts_although_the_config_calls_it_tied(tmp_path: Path) -> None:
    """dLLM's Qwen2.5-Coder-0.5B: trained apart; transformers does the same."""
    published("qwen2 tied", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(0)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    model = load_checkpoint(Folder(tmp_path))
    assert not model.architecture.tied and not torch.equal(model.head.weight, model.embed.weight)
    assert equal(model, theirs(AutoModelForCausalLM.from_pretrained(tmp_path)))
    save_checkpoint(model, tmp_path / "again", families()["qwen2"])
    assert equal(load_checkpoint(Folder(tmp_path / "again")), theirs(AutoModelForCausalLM.from_pretrained(tmp_path)))


def yarn(folder: Path) -> None:
    set_config(folder, rope_parameters={"rope_type": "yarn", "factor": 4.0})


def halved(folder: Path) -> None:
    set_config(folder, rope_parameters={"rope_type": "llama3", "factor": 4.0})


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "rope": (yarn, "config.json: rope_type='yarn' is not supported: give a checkpoint without it"),
    "half a rope": (
        halved,
        "config.json: rope_parameters lacks 'low_freq_factor': the checkpoint's layout cannot be known without it",
    ),
    "window": (
        lambda folder: set_config(folder, use_sliding_window=True),
        "config.json: use_sliding_window=True is not supported for qwen2, only False",
    ),
    "activation": (
        lambda folder: set_config(folder, hidden_act="gelu"),
        "config.json: hidden_act='gelu' is not supported for qwen2, only 'silu'",
    ),
}


@pytest.mark.parametrize(("harm", "message"), BROKEN.values(), ids=BROKEN)
def test_what_this_transformer_cannot_do_is_refused(
    tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    published("qwen2", tmp_path)
    harm(tmp_path)
    with pytest.raises(ValueError) as caught:
        load_checkpoint(Folder(tmp_path))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "attention", "message"),
    [
        ({}, "both", "attention='both' is not known for qwen2: use causal or bidirectional, or none"),
        (
            {"model_type": "a2d-qwen2"},
            "causal",
            "attention='causal' is not known for a2d-qwen2: use bidirectional, or none",
        ),
    ],
)
def test_an_attention_that_a_layout_does_not_know(
    tmp_path: Path, change: dict[str, Any], attention: str, message: str
) -> None:
    published("qwen2", tmp_path)
    set_config(tmp_path, **change)
    with pytest.raises(ValueError) as caught:
        load_checkpoint(Folder(tmp_path), attention=attention)
    assert str(caught.value) == message


def test_dream_is_qwen2_bidirectional(tmp_path: Path) -> None:
    """Under the fields of apple/DiffuCoder-7B's and Dream-Coder's config.json, which are Dream's, at a small size."""
    truth = published("qwen2", tmp_path)
    dream = {
        "architectures": ["DreamModel"], "attention_dropout": 0.0, "bos_token_id": 3, "eos_token_id": 3,
        "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 48,
        "mask_token_id": 60, "max_position_embeddings": 131072, "max_window_layers": 2, "model_type": "Dream",
        "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "pad_token_id": 3,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000.0, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "use_mrope": False,
        "use_sliding_window": False, "vocab_size": 64,
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(dream))
    truth.config.is_causal = False
    model = load_checkpoint(Folder(tmp_path))
    assert equal(model, theirs(truth)) and model.outline.blank_id == 60
    with pytest.raises(ValueError, match="attention='causal' is not known for Dream: use bidirectional"):
        load_checkpoint(Folder(tmp_path), attention="causal")


@pytest.mark.parametrize("older", [True, False], ids=["rope_scaling", "rope_parameters"])
def test_a_stretched_dream_is_read_under_both_names_and_saved(tmp_path: Path, older: bool) -> None:
    """Dream's code reads rope_scaling, which transformers 5 calls rope_parameters when it saves Dream's settings."""
    truth = published("qwen2", tmp_path, rope_parameters=STRETCHED)
    truth.config.is_causal = False
    rope = {name: value for name, value in STRETCHED.items() if name != "rope_theta"}
    new = {"rope_scaling": rope, "rope_parameters": None, "rope_theta": STRETCHED["rope_theta"]} if older else {}
    set_config(tmp_path, model_type="Dream", mask_token_id=60, **new)
    model = load_checkpoint(Folder(tmp_path))
    assert model.architecture.rope_scaling == Llama3(factor=8.0, low=1.0, high=4.0, original=32)
    assert equal(model, theirs(truth))
    save_checkpoint(model, tmp_path / "again", families()["Dream"])
    again = load_checkpoint(Folder(tmp_path / "again"))
    assert again.architecture == model.architecture and equal(again, theirs(truth))
    assert json.loads((tmp_path / "again" / "config.json").read_text())["rope_scaling"] == rope


def test_dreams_heads_are_as_wide_as_its_code_makes_them(tmp_path: Path) -> None:
    """It knows no head_dim."""
    published("qwen2", tmp_path)
    set_config(tmp_path, model_type="Dream", mask_token_id=60, head_dim=16)
    model = load_checkpoint(Folder(tmp_path))
    assert model.architecture.head_width == 8
    save_checkpoint(model, tmp_path / "again", families()["Dream"])
    assert load_checkpoint(Folder(tmp_path / "again")).architecture == model.architecture


def test_a_model_that_a_layout_cannot_hold_is_not_saved(tmp_path: Path) -> None:
    published("llama biased", tmp_path)
    model = load_checkpoint(Folder(tmp_path))
    for kind, fault in {
        "a2d-llama": r"a2d-llama's layout cannot hold rule=Causal\(\)",
        "qwen3": "qwen3's layout cannot hold feed_bias=True, qk_norm=False",
    }.items():
        with pytest.raises(ValueError, match=fault):
            save_checkpoint(model, tmp_path / "again", families()[kind])
    assert not (tmp_path / "again").exists()
