"""Adapters in PEFT's format: what PEFT made for the published layers changes ours in the same way, and back."""

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from tests.checkpoints.published import Tree, published
from tests.checkpoints.test_llama import ours, theirs
from tests.toy import all_logits, toy
from tests.training.folder import model_folder
from unveil import adapters
from unveil.checkpoints.adapters import Adapter, load_adapter, merged, read_adapter, save_adapter, unloaded
from unveil.checkpoints.families import Family
from unveil.checkpoints.families.dream import DREAM
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.decoding.loading import load
from unveil.models.transformer import Transformer

LAYOUTS: dict[str, tuple[Family, dict[str, Any]]] = {
    "llada": (LLADA, {}),
    "dream": (DREAM, {"shift": 1, "qkv_bias": True, "heads": 4, "kv_heads": 2}),
}
TARGETS: dict[str, list[Any]] = {  # a list of layers, some of them, a pattern; as they are called there
    "llada": [["q_proj", "v_proj"], ["attn_out", "ff_proj", "up_proj", "ff_out"], r".*blocks\.1\.(q|k)_proj"],
    "dream": [
        ["q_proj", "v_proj"],
        ["o_proj", "gate_proj", "up_proj", "lm_head"],
        r".*layers\.1\.self_attn\.(q|k)_proj",
    ],
}


@cache
def model_of(layout: str, dtype: torch.dtype = torch.float32) -> Transformer:
    return toy(dtype=dtype, **LAYOUTS[layout][1])


def linears(layout: str) -> dict[str, torch.Tensor]:
    """The weights of the published model's linear layers, the head's too, by their names."""
    family = LAYOUTS[layout][0]
    weights = {family.published(name): x for name, x in model_of(layout).state_dict().items()}
    return {name: x for name, x in weights.items() if x.ndim == 2 and name != family.published("embed.weight")}


def made_by_peft(model: nn.Module, folder: Path, **config: Any) -> Any:
    """PEFT's model with a random adapter, saved as PEFT saves it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(**config)).eval()
    with torch.no_grad():
        for name, x in model.named_parameters():
            if ".lora_" in name:
                x.normal_(0, 0.2)
    model.save_pretrained(folder)
    return model


def base_folder(layout: str, folder: Path) -> Path:
    save_checkpoint(model_of(layout), folder / "base", LAYOUTS[layout][0])
    return folder / "base"


def set_json(path: Path, **change: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@settings(max_examples=12)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    which=st.integers(0, 2),
    r=st.integers(1, 5),
    lora_alpha=st.integers(1, 9),
    use_rslora=st.booleans(),
    rank_pattern=st.sampled_from([{}, {"q_proj": 2}, {r".*\.1\..*": 3}]),
    alpha_pattern=st.sampled_from([{}, {"up_proj": 7, "v_proj": 5}, {r".*\.0\..*": 3}]),
)
def test_a_merged_adapter_is_what_peft_merges(
    tmp_path_factory: pytest.TempPathFactory, layout: str, which: int, **config: Any
) -> None:
    tmp_path = tmp_path_factory.mktemp("adapter")
    family, base = LAYOUTS[layout][0], base_folder(layout, tmp_path)
    plain = linears(layout)
    peft = made_by_peft(Tree(plain), tmp_path / "adapter", target_modules=TARGETS[layout][which], **config)
    truth = peft.merge_and_unload().state_dict()
    adapter = read_adapter(tmp_path / "adapter", Folder(base))
    model = load_checkpoint(Folder(base), changes=[adapter.merge])
    found = {family.published(name): x for name, x in model.state_dict().items()}
    for name, weight in truth.items():
        assert torch.allclose(found[name], weight, rtol=0, atol=1e-5), name
    changed = {name for name in truth if not torch.equal(found[name], plain[name])}
    assert changed == {family.published(f"{name}.weight") for name in adapter.parts} and changed
    for name, weight in model_of(layout).state_dict().items():
        assert torch.equal(model.state_dict()[name], weight) == (family.published(name) not in changed), name


@pytest.mark.parametrize("chosen", [["q_proj", "up_proj"], "all-linear"], ids=str)
def test_logits_are_those_of_transformers_with_the_adapter(tmp_path: Path, chosen: Any) -> None:
    base = published("llama", tmp_path / "base")
    truth = theirs(made_by_peft(base, tmp_path / "adapter", target_modules=chosen, r=4))
    if chosen == "all-linear":  # PEFT writes which layers these are
        set_json(tmp_path / "adapter" / "adapter_config.json", target_modules=chosen)
    adapter = read_adapter(tmp_path / "adapter", Folder(tmp_path / "base"))
    assert len(adapter.parts) == 2 * (7 if chosen == "all-linear" else 2)
    model = load_checkpoint(Folder(tmp_path / "base"), changes=[adapter.merge])
    shifted = [torch.cat([row[:1], row[:-1]]) for row in truth]
    plain = ours(load_checkpoint(Folder(tmp_path / "base")))
    for mine, row, before in zip(ours(model), shifted, plain, strict=True):
        assert (mine - row).abs().max() < 1e-5 * row.abs().max() < 0.1 < (mine - before).abs().max()


def random_adapter(layout: str = "llada", scale: float = 0.7) -> Adapter:
    """Of ranks 1 to 3, for every linear layer but the head."""
    from unveil.checkpoints.adapters import Factors

    generator = torch.Generator().manual_seed(0)
    parts = {}
    for number, (name, layer) in enumerate(model_of(layout).named_modules()):
        if isinstance(layer, nn.Linear) and name != "head":
            out, inner = layer.weight.shape
            r = 1 + number % 3
            a, b = (torch.randn(shape, generator=generator) * 0.2 for shape in ((r, inner), (out, r)))
            parts[name] = Factors(a, b, scale)
    return Adapter(parts=parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_beside_the_weights_merged_and_taken_away_again(layout: str, dtype: torch.dtype, tmp_path: Path) -> None:
    save_checkpoint(model_of(layout, dtype), tmp_path, LAYOUTS[layout][0])
    adapter = random_adapter(layout)
    plain, model = load_checkpoint(Folder(tmp_path)), load_adapter(load_checkpoint(Folder(tmp_path)), adapter)
    assert not model.training and not any(x.requires_grad for x in model.parameters())
    near = 0.2 if dtype == torch.bfloat16 else 1e-5  # eight bits of mantissa
    one, at_once = merged(model), load_checkpoint(Folder(tmp_path), changes=[adapter.merge])
    for name, weight in at_once.state_dict().items():
        want = one.state_dict()[name].to(dtype)
        assert weight.dtype == dtype and torch.allclose(weight, want, rtol=0, atol=1e-6), name
    found, want, before = (all_logits(x).softmax(-1) for x in (at_once, model, plain))
    assert (found - want).abs().max() <= near < 0.5 < (before - want).abs().max()
    again = unloaded(model)
    assert again.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(x, plain.state_dict()[name]) for name, x in again.state_dict().items())
    assert torch.equal(all_logits(again), all_logits(plain))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_it_is_read_by_peft_and_by_us(layout: str, tmp_path: Path) -> None:
    from peft import PeftModel

    family, adapter = LAYOUTS[layout][0], random_adapter(layout)
    model = load_adapter(load_checkpoint(Folder(base_folder(layout, tmp_path))), adapter)
    save_adapter(model, tmp_path / "adapter", family, "owner/name")
    theirs = PeftModel.from_pretrained(Tree(linears(layout)), tmp_path / "adapter").merge_and_unload().state_dict()
    ours = {family.published(name): x for name, x in merged(model).state_dict().items()}
    assert all(torch.allclose(x, ours[name], rtol=0, atol=1e-6) for name, x in theirs.items())
    again = read_adapter(tmp_path / "adapter", Folder(tmp_path / "base"))
    assert again.parts.keys() == adapter.parts.keys()
    for name, (a, b, scale) in again.parts.items():
        assert torch.equal(a, adapter.parts[name].a) and torch.equal(b, adapter.parts[name].b)
        assert scale == pytest.approx(adapter.parts[name].scale)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_read_loaded_merged_taken_away_and_saved_by_public_names(layout: str, tmp_path: Path) -> None:
    """Saved and read again it is the same, loaded beside the weights that an adapter was taken from."""
    folder, base = tmp_path / "adapter", base_folder(layout, tmp_path)
    made_by_peft(Tree(linears(layout)), folder, target_modules=TARGETS[layout][0], r=3, lora_alpha=5)
    adapter, family = adapters.read_adapter(folder, Folder(base)), Folder(base).layout[0]
    model = adapters.load_adapter(load_checkpoint(Folder(base)), adapter)
    adapters.save_adapter(model, tmp_path / "again", family, str(base))
    again = adapters.load_adapter(adapters.unloaded(model), adapters.read_adapter(tmp_path / "again", Folder(base)))
    assert torch.equal(all_logits(again), all_logits(model))
    assert not torch.equal(all_logits(model), all_logits(model_of(layout)))
    one, other = adapters.merged(model).state_dict(), adapters.merged(again).state_dict()
    assert all(torch.equal(x, other[name]) for name, x in one.items())


def test_one_adapter_at_a_time_and_none_to_save(tmp_path: Path) -> None:
    model = load_adapter(toy(dtype=torch.float32), random_adapter())
    with pytest.raises(ValueError) as caught:
        load_adapter(model, random_adapter())
    assert str(caught.value) == (
        "the model has an adapter already: take it away with unloaded, or add it with merged, first"
    )
    for plain in (unloaded(model), merged(model)):
        with pytest.raises(ValueError) as caught:
            save_adapter(plain, tmp_path / "no", LLADA, "owner/name")
        assert str(caught.value) == (
            "the model has no adapter beside its weights to save: put one there with load_adapter"
        )
    assert not (tmp_path / "no").exists()


def test_a_loaded_model_has_the_adapter_and_says_so(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    adapter = tmp_path / "adapter"
    peft = made_by_peft(
        Tree({name: x.float() for name, x in load_file(folder / "model.safetensors").items() if "_proj" in name}),
        adapter, target_modules=["q_proj", "k_proj"], r=2,
    )  # fmt: skip
    plain, model = load(folder), load(str(folder), adapter=str(adapter))
    truth = peft.merge_and_unload().state_dict()["model.transformer.blocks.1.k_proj.weight"]
    assert torch.allclose(model.denoiser.layers[1].key.weight, truth, rtol=0, atol=1e-6)
    assert plain.adapter is None and model.adapter is not None and len(model.adapter) == 12
    assert len({plain.revision, model.revision, model.adapter}) == 3
    before = model.adapter, model.revision
    set_json(adapter / "adapter_config.json", lora_alpha=9)  # its scale is in the config alone
    other = load(folder, adapter=adapter)
    assert other.adapter != before[0] and other.revision != before[1]


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "another method": ({"peft_type": "IA3"}, "FILE: peft_type='IA3' is not supported, only 'LORA'"),
    "dora": ({"use_dora": True}, "FILE: use_dora=True is not supported: only plain LoRA layers are"),
    "bias": ({"bias": "lora_only"}, "FILE: bias='lora_only' is not supported: only plain LoRA layers are"),
    "whole modules": (
        {"modules_to_save": ["lm_head"]},
        "FILE: modules_to_save=['lm_head'] is not supported: only plain LoRA layers are",
    ),
    "a later setting": ({"use_new": 3}, "FILE: use_new=3 is not supported: only plain LoRA layers are"),
    "changed weights": (
        {"init_lora_weights": "pissa"},
        "FILE: init_lora_weights='pissa' changed the model's own weights: convert it to plain LoRA",
    ),
    "no targets": ({"target_modules": None}, "FILE names no target_modules: save the adapter with PEFT"),
    "no rank": ({"r": 0}, "FILE: r=0 is no positive number: save the adapter with PEFT"),
    "a bad pattern": (
        {"alpha_pattern": {"q_proj": "4"}},
        "FILE: lora_alpha='4' is no positive number: save the adapter with PEFT",
    ),
    "unknown targets": (
        {"target_modules": ["c_attn"]},
        "FOLDER: target_modules=['c_attn'] names no layer of a llada model; it has "
        "q_proj, k_proj, v_proj, attn_out, ff_proj, up_proj, ff_out",
    ),
    "more targets than tensors": (
        {"target_modules": ["q_proj", "v_proj", "k_proj"]},
        "FOLDER: the tensors do not fit adapter_config.json and the model: missing "
        "base_model.model.model.transformer.blocks.0.k_proj.lora_A.weight, "
        "base_model.model.model.transformer.blocks.0.k_proj.lora_B.weight, "
        "base_model.model.model.transformer.blocks.1.k_proj.lora_A.weight and 1 more",
    ),
    "fewer": (
        {"target_modules": r".*(v_proj|0\.q_proj)"},
        "FOLDER: the tensors do not fit adapter_config.json and the model: surplus "
        "base_model.model.model.transformer.blocks.1.q_proj.lora_A.weight, "
        "base_model.model.model.transformer.blocks.1.q_proj.lora_B.weight",
    ),
    "another rank": (
        {"rank_pattern": {"v_proj": 3}},
        "FOLDER: lora_A of model.transformer.blocks.0.v_proj has shape (4, 32), the model and adapter_config.json ask "
        "for (3, 32)",
    ),
}  # fmt: skip


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A good one for LLaDA's layout, beside its base."""
    base_folder("llada", tmp_path)
    made_by_peft(Tree(linears("llada")), tmp_path / "adapter", target_modules=["q_proj", "v_proj"], r=4)
    return tmp_path / "adapter"


def refusal(adapter: Path) -> str:
    with pytest.raises(ValueError) as caught:
        read_adapter(adapter, Folder(adapter.parent / "base"))
    return str(caught.value).replace(str(adapter / "adapter_config.json"), "FILE").replace(str(adapter), "FOLDER")


@pytest.mark.parametrize(("change", "message"), CONFIGS.values(), ids=CONFIGS)
def test_what_does_not_fit_is_named(adapter: Path, change: dict[str, Any], message: str) -> None:
    set_json(adapter / "adapter_config.json", **change)
    assert refusal(adapter) == message


@pytest.mark.parametrize("name", ["llama", "llama tied"])
def test_embedding_and_head_are_read_as_peft_writes_them(tmp_path: Path, name: str) -> None:
    """With the whole weights beside (`base_layer`), which count; a head that was the embedding becomes its own."""
    base = published(name, tmp_path / "base")
    targets = ["embed_tokens", "lm_head", "q_proj"]
    peft = made_by_peft(base, tmp_path / "adapter", target_modules=targets, r=3, lora_alpha=5)
    with torch.no_grad():
        for name, x in peft.named_parameters():
            if "lora_embedding" in name:
                x.normal_(0, 0.2)
    peft.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sum(".base_layer.weight" in name for name in saved) == 2
    truth = theirs(peft)
    adapter = read_adapter(tmp_path / "adapter", Folder(tmp_path / "base"))
    assert adapter.parts.keys() == {"embed", "head", "layers.0.query", "layers.1.query"}
    model = load_checkpoint(Folder(tmp_path / "base"), changes=[adapter.merge])
    assert not model.architecture.tied
    for mine, row in zip(ours(model), truth, strict=True):
        assert (mine - torch.cat([row[:1], row[:-1]])).abs().max() < 1e-5 * row.abs().max()
    with pytest.raises(ValueError, match="^the adapter changes embed and head, which can only be added to the weights"):
        load_adapter(load_checkpoint(Folder(tmp_path / "base")), adapter)


def test_a_saved_base_layer_counts(adapter: Path) -> None:
    """PEFT loads it into the model, so it does here."""
    made_by_peft(Tree(linears("llada")), adapter, target_modules=["model.transformer.ff_out"], r=4)
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    other = torch.randn(50, 32)
    save_file(weights | {"base_model.model.model.transformer.ff_out.base_layer.weight": other}, path)
    read = read_adapter(adapter, Folder(adapter.parent / "base"))
    a, b, scale = read.parts["head"]
    model = load_checkpoint(Folder(adapter.parent / "base"), changes=[read.merge])
    assert torch.allclose(model.head.weight, other + b @ a * scale, rtol=0, atol=1e-6)


def test_a_published_model_whose_head_is_the_embedding_may_have_no_head_to_adapt(tmp_path: Path) -> None:
    """LLaDA's, which calls another layer the same."""
    save_checkpoint(toy(dtype=torch.float32, tied=True), tmp_path / "base", LLADA)
    inner = {name: x for name, x in linears("llada").items() if "blocks" in name}
    made_by_peft(Tree(inner), tmp_path / "adapter", target_modules=["ff_out"], r=4)
    parts = read_adapter(tmp_path / "adapter", Folder(tmp_path / "base")).parts
    assert parts.keys() == {"layers.0.down", "layers.1.down"}


def test_a_damaged_factor_is_named(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    weights["base_model.model.model.transformer.blocks.1.v_proj.lora_B.weight"][3, 1] = float("nan")
    save_file(weights, adapter / "adapter_model.safetensors")
    assert refusal(adapter) == (
        "FOLDER: lora_B of model.transformer.blocks.1.v_proj holds NaN or infinite weights: the adapter is damaged"
    )


REMOVALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights": (
        lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
        "FOLDER has no adapter_model.safetensors: save the adapter as safetensors (.bin files are never read)",
    ),
    "config": (
        lambda folder: (folder / "adapter_config.json").unlink(),
        "FOLDER has no adapter_config.json: give the folder of an adapter in PEFT's format",
    ),
}


@pytest.mark.parametrize(("remove", "message"), REMOVALS.values(), ids=REMOVALS)
def test_a_missing_file_is_named(adapter: Path, remove: Callable[[Path], object], message: str) -> None:
    remove(adapter)
    assert refusal(adapter) == message


def test_no_adapter_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        load(base_folder("llada", tmp_path), adapter="nowhere")
    assert str(caught.value) == (
        "no adapter 'nowhere': give a folder that holds adapter_config.json, or a hub repository owner/name"
    )


def test_without_peft_it_is_read_and_beside_the_weights_it_says_what_to_install(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    read, model = read_adapter(adapter, Folder(adapter.parent / "base")), model_of("llada")
    assert len(read.parts) == 4
    with pytest.raises(ValueError, match=r"^adapters need peft: pip install 'unveil\[lora\]', or load without one"):
        load_adapter(model, read)
