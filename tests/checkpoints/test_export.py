"""Exports: the same model in another published layout, and the refusal where that layout has no such model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import unveil
from tests.checkpoints.published import Tree
from tests.checkpoints.test_adapters import made_by_peft
from tests.checkpoints.test_llama import ours
from tests.training.folder import CODEC, EOS, MASK, TEMPLATE, model_folder
from unveil.checkpoints.export import export, layouts
from unveil.checkpoints.families import families, settings_of
from unveil.checkpoints.families.dream import DREAM
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.models.attention import Bidirectional, Causal
from unveil.models.transformer import Architecture, Transformer, initialise

SIZES = {"vocabulary": 64, "width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "feed_width": 48}
PUZZLE = "1000\n0002\n4003\n0000\n=\n"
HELD: dict[str, dict[str, Any]] = {  # what only this layout holds, and those of its kin
    "llada": {"kv_heads": 1, "end_ids": (EOS, 3)},
    "dream": {"shift": 1, "qkv_bias": True},
    "llama": {"shift": 1, "qkv_bias": True, "output_bias": True, "feed_bias": True, "head_width": 16},
    "qwen2": {"qkv_bias": True, "tied": True},
    "qwen3": {"qk_norm": True, "head_width": 16},
    "a2d-llama": {"head_width": 6},
    "a2d-qwen2": {"qkv_bias": True, "kv_heads": 4},
    "a2d-qwen3": {"qk_norm": True, "qkv_bias": True, "output_bias": True},
}


def folder_of(family_name: str, folder: Path, **more: Any) -> Path:
    """A random model over characters, in bfloat16, as model_folder but in any layout."""
    sizes = SIZES | {"mask_id": MASK, "end_ids": (EOS,), "max_columns": 96, "rope_base": 10000.0}
    model = initialise(Transformer(Architecture(**(sizes | more))), 0, std=0.3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.3)
    save_checkpoint(model, folder, layouts()[family_name], dtype=torch.bfloat16)
    CODEC.save(folder / "tokenizer.json")
    return folder


def same(one: Transformer, other: Transformer) -> bool:
    """Bit for bit."""
    mine, theirs = one.state_dict(), other.state_dict()
    equal = all(torch.equal(x, theirs[name]) and x.dtype == theirs[name].dtype for name, x in mine.items())
    return mine.keys() == theirs.keys() and one.architecture == other.architecture and equal


@pytest.mark.parametrize("name", HELD)
def test_there_and_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    source = folder_of(name, tmp_path / "source", **HELD[name])
    model = load_checkpoint(Folder(source))
    for layout in (name, "hf") if name in ("llama", "qwen2", "qwen3") else (name,):
        family = export(Folder(source), tmp_path / layout, layout)
        assert family is layouts()[name] and same(load_checkpoint(Folder(tmp_path / layout)), model)
    first, again = (torch.cat(ours(load_checkpoint(Folder(x), dtype=torch.float32))) for x in (source, tmp_path / name))
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", ["lab-sudoku", "lab-puzzles"])
def test_a_lab_model_in_other_layouts(name: str, tmp_path: Path) -> None:
    model = load_checkpoint(Folder.named(name))
    for layout in ("llada", "llama", "a2d-llama", "hf"):
        export(Folder.named(name), tmp_path / layout, layout)
        assert same(load_checkpoint(Folder(tmp_path / layout)), model)
        other = unveil.load(tmp_path / layout)
        assert other.new_tokens == unveil.load(name).new_tokens
        assert other.decode([PUZZLE], "llada:steps=4", new_tokens=19) == unveil.load(name).decode(
            [PUZZLE], "llada:steps=4", new_tokens=19
        )


def transformers_logits(folder: Path, ids: list[int]) -> Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def own_logits(model: unveil.Model, ids: list[int]) -> Tensor:
    """As in transformers, whatever column they are of."""
    from unveil.canvas import Canvas
    from unveil.models.denoiser import Want

    row, end = torch.tensor([ids]), torch.tensor([len(ids)])
    canvas = Canvas.corrupt(row, row < 0, start=end * 0, end=end, mask_id=model.denoiser.outline.blank_id)
    out = model.denoiser(canvas, canvas.inside, canvas.inside, None, Want(proposals=False, logits=True)).logits
    assert out is not None
    return out


@pytest.mark.parametrize("name", ["lab-sudoku", "lab-puzzles"])
def test_transformers_gives_the_same_logits_and_ids(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    assert export(Folder.named(name), tmp_path / "out", "hf") is layouts()["llama"]
    model, tokenizer = unveil.load(name), AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = model.tokenizer.encode(PUZZLE)
    want, found = own_logits(model, ids), transformers_logits(tmp_path / "out", ids)
    assert (want - found).abs().max() < 1e-5 * want.abs().max()
    assert tokenizer(PUZZLE).input_ids == ids
    a = model.denoiser.architecture
    assert (tokenizer.mask_token_id, tokenizer.eos_token_id) == (a.mask_id, a.end_ids[0])


def test_a_model_with_biases_and_a_shift_is_of_qwens_and_dreams_kind(tmp_path: Path) -> None:
    source = folder_of("qwen2", tmp_path / "source", qkv_bias=True, shift=1)
    model = load_checkpoint(Folder(source))
    assert export(Folder(source), tmp_path / "hf", "hf") is layouts()["qwen2"]
    assert export(Folder(source), tmp_path / "dream", "dream") is DREAM
    assert all(same(load_checkpoint(Folder(tmp_path / name)), model) for name in ("dream", "hf"))
    ids = list(range(1, 30))
    want = own_logits(unveil.load(source), ids)  # column i's, read at column i - 1
    found = transformers_logits(tmp_path / "hf", ids)
    assert (want[1:] - found[:-1]).abs().max() < 1e-5 * want.abs().max()
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["is_causal"] is False and "logits_shift" not in config


def test_the_published_tiny_dream_stays_itself(data: Path, tmp_path: Path) -> None:
    source = data / "parity" / "dream_tiny"
    folder = tmp_path / "source"
    save_checkpoint(load_checkpoint(Folder(source)), folder, DREAM)
    CODEC.save(folder / "tokenizer.json")
    export(Folder(folder), tmp_path / "out", "dream")
    mine, theirs = (load_file(path / "model.safetensors") for path in (tmp_path / "out", source))
    assert mine.keys() == theirs.keys() and all(torch.equal(x, theirs[name]) for name, x in mine.items())


def test_an_adapter_is_merged_and_weights_are_sharded_in_another_dtype(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "source")
    weights = {n: x.float() for n, x in load_file(source / "model.safetensors").items() if "_proj" in n}
    made_by_peft(Tree(weights), tmp_path / "adapter", target_modules=["q_proj"], r=2)
    export(
        Folder(source), tmp_path / "out", "llada", dtype=torch.float32, adapter=tmp_path / "adapter", shard="10KB"
    )  # fmt: skip
    want = unveil.load(source, adapter=tmp_path / "adapter").denoiser
    found = load_checkpoint(Folder(tmp_path / "out"))
    assert all(torch.equal(x, found.state_dict()[name]) for name, x in want.state_dict().items())
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files)
    assert index["metadata"]["total_size"] == sum(x.numel() * 4 for x in found.state_dict().values())


def test_what_other_programs_need_comes_along(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "source", template=TEMPLATE)
    settings = {
        "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]},
        "tokenizer_class": "OwnTokenizer",
        "mask_token": "[MASK]",
    }
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    (source / "own.py").write_text("raise SystemExit")
    export(Folder(source), tmp_path / "out", "a2d-llama")
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"chat_template.jinja"}
    written = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    special = {"mask_token": "[MASK]", "eos_token": "[EOS]", "pad_token": "[EOS]"}
    assert written == special | {"tokenizer_class": "PreTrainedTokenizerFast"}
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation == {"eos_token_id": EOS, "max_new_tokens": 19, "temperature": 0.5}
    before, after = unveil.load(source), unveil.load(tmp_path / "out")
    assert after.chat_hash == before.chat_hash is not None and after.ends == before.ends
    chat = before.asked("abc")
    assert after.decode([chat], new_tokens=4) == before.decode([chat], new_tokens=4)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            "dream",
            "Dream's layout cannot hold qkv_bias=False, shift=0 (shift: how many columns before its own a token is "
            "predicted): give llada or llama or a2d-llama",
        ),
        ("qwen2", "qwen2's layout cannot hold qkv_bias=False: give llada or llama or a2d-llama"),
        ("lama", "layout='lama' is unknown: did you mean 'llama'? known are " + ", ".join([*layouts(), "hf"])),
    ],
)
def test_a_layout_without_such_a_model_is_refused(layout: str, message: str, tmp_path: Path) -> None:
    """Before weights are read: here there are none."""
    source = model_folder(tmp_path / "source")
    (source / "model.safetensors").unlink()
    with pytest.raises(ValueError) as caught:
        export(Folder(source), tmp_path / "out", layout)
    assert str(caught.value) == message and not (tmp_path / "out").exists()


def test_a_model_of_no_layout_but_its_own(tmp_path: Path) -> None:
    source = folder_of("llada", tmp_path / "source", qkv_bias=True, output_bias=True, feed_bias=True, head_bias=True)
    with pytest.raises(ValueError) as caught:
        export(Folder(source), tmp_path / "out", "hf")
    assert str(caught.value) == (
        "llama's layout cannot hold head_bias=True; qwen2's layout cannot hold output_bias=True, feed_bias=True, "
        "head_bias=True; qwen3's layout cannot hold feed_bias=True, head_bias=True, qk_norm=False: give llada"
    )


def test_a_causal_model_is_of_its_kin_only(tmp_path: Path) -> None:
    source = folder_of("llama", tmp_path / "source", rule=Causal(), shift=1, mask_id=None)
    assert export(Folder(source), tmp_path / "out", "hf") is layouts()["llama"]
    assert load_checkpoint(Folder(tmp_path / "out")).architecture.rule == Causal()
    with pytest.raises(ValueError) as caught:
        export(Folder(source), tmp_path / "no", "llada")
    assert str(caught.value) == "llada's layout cannot hold rule=Causal(): give llama"
    changed = settings_of({**Folder(source).config, "is_causal": False, "mask_token_id": 3})
    assert families()["llama"].read(changed).rule == Bidirectional()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "source")
    (tmp_path / "out").mkdir()
    export(Folder(source), tmp_path / "out", LLADA.model_type)
    for taken in (tmp_path / "out", source / "config.json"):
        with pytest.raises(ValueError) as caught:
            export(Folder(source), taken, "llada")
        assert str(caught.value) == f"{taken} exists and is not an empty folder: name a new one"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = model_folder(tmp_path / "source")

    def full(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unveil.checkpoints.export.write_json", full)  # the weights are written by then
    with pytest.raises(OSError, match="No space left on device"):
        export(Folder(source), tmp_path / "out" / "new", "llada")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_size_of_files_that_is_none_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "source")
    (source / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="Supported units are TB, GB, MB, KB. Got '5'"):
        export(Folder(source), tmp_path / "out", "llada", shard="5")
