"""Published layouts: there and back, and the clear refusal of whatever is broken."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.toy import MASK, blank, toy
from unveil.checkpoints.families import Family, families
from unveil.checkpoints.families.dream import DREAM
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.models.attention import Causal
from unveil.models.denoiser import Want
from unveil.models.transformer import Transformer

LOGITS = Want(proposals=False, logits=True)
MODELS: dict[str, tuple[Family, dict[str, Any]]] = {
    "llada": (LLADA, {}),
    "llada grouped": (LLADA, {"kv_heads": 1, "end_ids": (3,)}),
    "llada biased": (
        LLADA,
        {"qkv_bias": True, "output_bias": True, "feed_bias": True, "head_bias": True, "end_ids": (3, 4)},
    ),
    "llada half biased": (LLADA, {"qkv_bias": True}),
    "llada tied": (LLADA, {"tied": True}),
    "dream": (DREAM, {"shift": 1, "qkv_bias": True, "end_ids": (3, 4, 5)}),
    "dream grouped and tied": (DREAM, {"shift": 1, "qkv_bias": True, "tied": True, "kv_heads": 1}),
}


def logits(model: Transformer) -> torch.Tensor:
    canvas = blank()
    out = model(canvas, canvas.inside, canvas.inside, None, LOGITS).logits
    assert out is not None
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole LLaDA checkpoint in float32."""
    save_checkpoint(toy(dtype=torch.float32), tmp_path, LLADA)
    return tmp_path


def set_config(folder: Path, **change: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))


def set_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    family, more = MODELS[name]
    model = toy(**more)
    save_checkpoint(model, tmp_path, family)
    again = load_checkpoint(Folder(tmp_path))
    assert again.architecture == model.architecture
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert torch.allclose(logits(again), logits(model), rtol=0, atol=1e-12)
    assert not again.training and not any(parameter.requires_grad for parameter in again.parameters())
    assert (again.head.weight is again.embed.weight) == model.architecture.tied
    assert (again.head.bias is not None) == model.architecture.head_bias
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == family.model_type
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_rope_scaling_that_scales_nothing_is_accepted(tmp_path: Path) -> None:
    save_checkpoint(toy(shift=1, qkv_bias=True, dtype=torch.float32), tmp_path, DREAM)
    set_config(tmp_path, rope_scaling={"rope_type": "default"})
    load_checkpoint(Folder(tmp_path))
    for name in ("rope_scaling", "rope_parameters"):
        set_config(tmp_path, **{"rope_scaling": None, name: {"rope_type": "yarn", "factor": 4}})
        assert refusal(tmp_path) == "config.json: rope_type='yarn' is not supported: give a checkpoint without it"


def test_published_names(tmp_path: Path) -> None:
    for family, more, want in (
        (LLADA, {"layers": 1}, "model.transformer."),
        (DREAM, {"layers": 1, "shift": 1, "qkv_bias": True}, ""),
    ):
        save_checkpoint(toy(**more), tmp_path, family)
        names = {name.removeprefix(want).removesuffix(".weight") for name in load_file(tmp_path / "model.safetensors")}
        assert names == NAMES[family.model_type]


NAMES = {
    "llada": {"wte", "ln_f", "ff_out"}
    | {f"blocks.0.{part}" for part in ("attn_norm", "q_proj", "k_proj", "v_proj", "attn_out")}
    | {f"blocks.0.{part}" for part in ("ff_norm", "ff_proj", "up_proj", "ff_out")},
    "Dream": {"model.embed_tokens", "model.norm", "lm_head"}
    | {f"model.layers.0.self_attn.{part}_proj" for part in "qkvo"}
    | {f"model.layers.0.self_attn.{part}_proj.bias" for part in "qkv"}
    | {f"model.layers.0.mlp.{part}_proj" for part in ("gate", "up", "down")}
    | {f"model.layers.0.{part}_layernorm" for part in ("input", "post_attention")},
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtype_on_the_way_out_and_in(folder: Path, dtype: torch.dtype) -> None:
    model = load_checkpoint(Folder(folder), dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    save_checkpoint(model, folder / "copy", LLADA, dtype=torch.float32)
    assert load_checkpoint(Folder(folder / "copy")).embed.weight.dtype == torch.float32
    assert load_checkpoint(Folder(folder)).embed.weight.dtype == torch.float32  # as stored


def test_a_sharded_checkpoint(folder: Path) -> None:
    truth = logits(load_checkpoint(Folder(folder)))
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-1.safetensors": names[:7], "model-2.safetensors": names[7:]}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.allclose(logits(load_checkpoint(Folder(folder))), truth, rtol=0, atol=1e-5)
    (folder / "model-2.safetensors").unlink()
    assert (
        refusal(folder) == "FOLDER/model-2.safetensors does not exist: the checkpoint is incomplete, download it again"
    )


@pytest.mark.parametrize("sizes", [("9KB", None), (None, "9KB"), ("9KB", "20KB")])
def test_what_was_saved_last_is_read(tmp_path: Path, sizes: tuple[str | None, str | None]) -> None:
    for seed, shard in enumerate(sizes):
        model = toy(seed=seed, dtype=torch.float32)
        save_checkpoint(model, tmp_path, LLADA, shard=shard)
        assert torch.equal(logits(load_checkpoint(Folder(tmp_path))), logits(model))


def test_a_shard_without_a_tensor_of_the_index_is_named(folder: Path) -> None:
    save_checkpoint(load_checkpoint(Folder(folder)), folder / "shards", LLADA, shard="9KB")
    first, *rest = sorted((folder / "shards").glob("*.safetensors"))
    sharded, whole = (load_checkpoint(Folder(path)) for path in (folder / "shards", folder))
    assert len(rest) > 2 and torch.equal(logits(sharded), logits(whole))
    weights = load_file(rest[0])
    gone, *kept = sorted(weights)
    save_file({name: weights[name] for name in kept}, rest[0])
    assert refusal(folder / "shards") == f"FOLDER: the tensors do not fit config.json: missing {gone}"
    save_file(weights | {"extra.weight": torch.zeros(1)}, rest[0])
    assert refusal(folder / "shards") == "FOLDER: the tensors do not fit config.json: surplus extra.weight"


def test_a_tied_checkpoint_may_hold_the_head_too(tmp_path: Path) -> None:
    model = toy(tied=True)
    save_checkpoint(model, tmp_path, LLADA)
    head = {"model.transformer.ff_out.weight": model.embed.weight.clone()}
    set_weights(tmp_path, lambda weights: weights.update(head))
    assert torch.allclose(logits(load_checkpoint(Folder(tmp_path))), logits(model), rtol=0, atol=1e-12)


def test_defaults_of_a_published_config(folder: Path) -> None:
    """What LLaDA-8B's config.json leaves out has the value of its code."""
    config = json.loads((folder / "config.json").read_text())
    for name in ("n_kv_heads", "embedding_size", "rms_norm_eps", "rope_theta", "max_sequence_length", "weight_tying"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    a = load_checkpoint(Folder(folder)).architecture
    assert (a.kv_heads, a.vocabulary, a.norm_eps, a.rope_base, a.max_columns) == (2, 50, 1e-5, 10000.0, 4096)
    assert a.mask_id == MASK and not a.tied


def refusal(folder: Path) -> str:
    """What load_checkpoint says, with the folder's name and the libraries' words taken out."""
    with pytest.raises(ValueError) as caught:
        load_checkpoint(Folder(folder))
    return str(caught.value).replace(str(folder), "FOLDER")


EMBED = "model.transformer.wte.weight"
CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "gpt2"}, f"FOLDER: model_type 'gpt2' is unknown, known are {', '.join(families())}"),
    ({"model_type": None}, f"FOLDER: model_type None is unknown, known are {', '.join(families())}"),
    ({"alibi": True}, "config.json: alibi=True is not supported for llada, only False"),
    ({"activation_type": "gelu"}, "config.json: activation_type='gelu' is not supported for llada, only 'silu'"),
    ({"d_model": None}, "config.json lacks 'd_model': the checkpoint's layout cannot be known without it"),
    ({"n_kv_heads": 3}, "kv_heads=3 does not divide heads=2: choose a divisor"),
    (
        {"mlp_hidden_size": 65},
        "FOLDER/model.safetensors: model.transformer.blocks.0.ff_out.weight has shape (32, 64), "
        "config.json asks for (32, 65)",
    ),
    (
        {"n_layers": 3},
        "FOLDER: the tensors do not fit config.json: missing model.transformer.blocks.2.attn_norm.weight, "
        "model.transformer.blocks.2.attn_out.weight, model.transformer.blocks.2.ff_norm.weight and 6 more",
    ),
]


@pytest.mark.parametrize("change, message", CONFIGS, ids=[str(change) for change, _ in CONFIGS])
def test_a_config_that_does_not_fit_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    set_config(folder, **change)
    assert refusal(folder) == message


def test_missing_and_surplus_tensors_are_named(folder: Path) -> None:
    set_weights(folder, lambda weights: weights.update({"extra.weight": weights.pop(EMBED)}))
    assert refusal(folder) == (
        "FOLDER: the tensors do not fit config.json: missing model.transformer.wte.weight; surplus extra.weight"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    set_weights(folder, lambda weights: weights[EMBED][3].fill_(value))
    assert refusal(folder) == (
        f"FOLDER/model.safetensors: {EMBED} holds NaN or infinite weights: the checkpoint is damaged"
    )


def cut(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: cut(path, 0.5),
        lambda path: cut(path, 0.0),
        lambda path: path.write_bytes(struct.pack("<Q", 1 << 40)),
        lambda path: path.write_text("<html>not found</html>"),
    ],
    ids=["half", "empty", "header too long", "a web page"],
)
def test_a_file_that_is_not_whole_is_refused(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder / "model.safetensors")
    message = refusal(folder)
    assert message.startswith("FOLDER/model.safetensors is not a whole safetensors file (")
    assert message.endswith("): download it again")


def test_what_is_not_there_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    missing = "FOLDER/model.safetensors does not exist: the checkpoint is incomplete, download it again"
    assert refusal(folder) == missing
    (folder / "config.json").unlink()
    assert refusal(folder) == "FOLDER has no config.json: give a folder that holds a published checkpoint"
    assert refusal(folder / "nowhere") == (
        "FOLDER/nowhere has no config.json: give a folder that holds a published checkpoint"
    ).replace("FOLDER/nowhere", "FOLDER")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
def test_broken_json_is_refused(folder: Path, file: str) -> None:
    (folder / file).write_text('{"weight_map": {')
    assert refusal(folder).startswith(f"FOLDER/{file} is not valid JSON (")
    (folder / file).write_text("[1, 2]")
    assert refusal(folder) == f"FOLDER/{file} is not a JSON object: download it again"
    (folder / file).write_bytes(b"\xff\xfe\x00")
    assert refusal(folder).startswith(f"FOLDER/{file} is not valid JSON (")


def test_an_index_without_a_map_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")
    assert refusal(folder) == "FOLDER/model.safetensors.index.json has no weight_map: download it again"


@pytest.mark.parametrize(
    "family, more, lost",
    [
        (LLADA, {"shift": 1}, "llada's layout cannot hold shift=1"),
        (LLADA, {"rule": Causal()}, "llada's layout cannot hold rule=Causal()"),
        (DREAM, {}, "Dream's layout cannot hold qkv_bias=False, shift=0"),
        (DREAM, {"shift": 1, "qkv_bias": True, "feed_bias": True}, "Dream's layout cannot hold feed_bias=True"),
    ],
)
def test_a_model_that_a_layout_cannot_hold_is_not_saved(
    tmp_path: Path, family: Family, more: dict[str, Any], lost: str
) -> None:
    with pytest.raises(ValueError) as caught:
        save_checkpoint(toy(**more), tmp_path / "model", family)
    assert str(caught.value) == f"{lost}: save in another family, or change it"
    assert not (tmp_path / "model").exists()


def test_a_disk_that_refuses_leaves_the_old_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = logits(load_checkpoint(Folder(folder)))

    def full(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unveil.models.tensors.save_file", full)
    with pytest.raises(OSError, match="No space left on device.*unchanged"):
        save_checkpoint(toy(seed=1, dtype=torch.float32), folder, LLADA)
    assert torch.equal(logits(load_checkpoint(Folder(folder))), truth)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
