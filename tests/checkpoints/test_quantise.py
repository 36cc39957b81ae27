"""Weights in 8 and 4 bits: the model says nearly the same, takes less memory, and is not for training or saving."""

import sys
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import unveil
from tests.checkpoints.test_adapters import model_of, random_adapter
from tests.toy import toy
from tests.training.folder import model_folder
from unveil.checkpoints import quantise
from unveil.checkpoints.adapters import load_adapter
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.quantise import BITS, Packed, bitsandbytes, packing
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.models.transformer import Transformer
from unveil.objectives.masked import MaskedDiffusion
from unveil.training.settings import Training
from unveil.training.trainer import train

PUZZLES = [f"{a}\n=\n" for a in ("1000\n0002\n4003\n0000", "0200\n3000\n0004\n0010", "0030\n1000\n0002\n4000")]
WRONG = {8: 0.012, 4: 0.11}  # root mean square of the rounding over that of the weights: 0.9 and 9 %


def packed(model: Transformer, folder: Path, bits: int, **more: Any) -> Transformer:
    save_checkpoint(model, folder, LLADA)
    return load_checkpoint(Folder(folder), changes=[packing(bits)], **more)


def num_bytes(module: nn.Module) -> int:
    return sum(x.numel() * x.element_size() for x in chain(module.parameters(), module.buffers()))


@settings(max_examples=30)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    bits=st.sampled_from(BITS),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    bias=st.booleans(),
)
def test_a_packed_layer_is_the_product_with_rounded_weights(
    rows: int, columns: int, bits: int, dtype: torch.dtype, bias: bool
) -> None:
    torch.manual_seed(rows * columns)
    linear = nn.Linear(columns, rows, bias=bias).to(dtype).requires_grad_(False)
    linear.weight.normal_(0, 0.02)
    layer, x = Packed(linear.weight, linear.bias, bits), torch.randn(3, columns).to(dtype)
    whole = layer.whole(dtype)
    assert whole.shape == linear.weight.shape and whole.dtype == dtype == layer(x).dtype
    off = (whole - linear.weight).float().square().mean() / linear.weight.float().square().mean()
    assert off.sqrt() < WRONG[bits] * (1 + 10 / (rows * columns) ** 0.5)
    assert torch.equal(layer(x), F.linear(x, whole, linear.bias))


@pytest.mark.parametrize("bits", BITS)
def test_rounding_piece_by_piece_is_rounding_at_once(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(37, 29, generator=torch.Generator().manual_seed(0))
    whole = Packed(weight, None, bits).whole(torch.float32)
    monkeypatch.setattr(quantise, "PIECE", 128)
    assert torch.equal(Packed(weight, None, bits).whole(torch.float32), whole)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("name", ["lab-sudoku", "lab-puzzles"])
def test_a_trained_model_says_nearly_the_same(name: str, dtype: str | None) -> None:
    whole = unveil.load(name, dtype=dtype)
    canvas = whole.canvas(PUZZLES[0], new_tokens=19)
    want, distances, sizes = logits_of(whole, canvas), {}, {16: 0.5 * size_of(unveil.load(name, dtype="float32"))}
    for bits in BITS:
        model = unveil.load(name, dtype=dtype, bits=bits)
        assert model.bits == bits and model.denoiser.embed.weight.dtype == whole.denoiser.embed.weight.dtype
        found, sizes[bits] = logits_of(model, canvas), size_of(model)
        distances[bits] = F.kl_div(found.log_softmax(-1), want.log_softmax(-1), log_target=True, reduction="none").sum(
            -1
        )
    assert 10 * distances[8].mean() < distances[4].mean() < 0.2 and distances[8].mean() < 2e-3
    assert sizes[4] < 0.6 * sizes[8] and sizes[8] < 0.6 * sizes[16]


def logits_of(model: unveil.Model, canvas: unveil.Canvas) -> torch.Tensor:
    from unveil.models.denoiser import Want

    out = model.denoiser(canvas, canvas.inside, canvas.inside, None, Want(proposals=False, logits=True)).logits
    assert out is not None
    return out.float()


def size_of(model: unveil.Model) -> int:
    """The layers' matrices."""
    return num_bytes(model.denoiser.layers)


@pytest.mark.parametrize("bits", BITS)
def test_decodes_run_and_a_row_is_as_alone(bits: int) -> None:
    model = unveil.load("lab-sudoku", bits=bits)
    for sampler in ("llada:steps=8", "fast_dllm:threshold=0.9,block=8,cache=dual", "evotoken:steps=8"):
        together = model.decode(PUZZLES, sampler)
        alone = [model.decode([puzzle], sampler, seed=number)[0] for number, puzzle in enumerate(PUZZLES)]
        assert [answer.text for answer in together] == [answer.text for answer in alone]
        assert all(answer.complete and len(answer.text) == 19 for answer in together)
    exact = unveil.load("lab-sudoku").decode(PUZZLES)
    assert model.decode(PUZZLES) == exact or bits == 4  # these three are sure


def test_only_the_layers_matrices_are_rounded(tmp_path: Path) -> None:
    whole = toy(dtype=torch.float32, qkv_bias=True, output_bias=True, feed_bias=True, head_bias=True)
    model = packed(whole, tmp_path, 8)
    rounded = {name for name, layer in model.named_modules() if isinstance(layer, Packed)}
    matrices = {name for name, layer in whole.layers.named_modules() if isinstance(layer, nn.Linear)}
    assert rounded == {f"layers.{name}" for name in matrices} and len(rounded) == 14
    state = model.state_dict()
    assert state.keys() == {n for n in whole.state_dict() if n.removesuffix(".weight") not in rounded}
    assert all(torch.equal(x, whole.state_dict()[name]) for name, x in state.items())


def test_an_adapter_is_added_before_the_weights_are_rounded(tmp_path: Path) -> None:
    save_checkpoint(model_of("llada"), tmp_path, LLADA)
    adapter = random_adapter()
    model = load_checkpoint(Folder(tmp_path), changes=[adapter.merge, packing(8)])
    merged = load_checkpoint(Folder(tmp_path), changes=[adapter.merge])
    found, want = (x.layers[1].down for x in (model, merged))
    assert torch.equal(found.whole(torch.float32), Packed(want.weight, None, 8).whole(torch.float32))


def test_bits_are_part_of_a_models_fingerprint(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    models = [unveil.load(folder, bits=bits) for bits in (None, *BITS)]
    assert [model.bits for model in models] == [None, 8, 4]
    assert len({model.revision for model in models}) == 3 and all(model.adapter is None for model in models)


def test_what_needs_whole_weights_is_refused(tmp_path: Path) -> None:
    model = packed(model_of("llada"), tmp_path / "model", 4)
    needs = "needs whole weights and this model's are in 4 bits: load it without bits"
    with pytest.raises(ValueError) as caught:
        save_checkpoint(model, tmp_path / "copy", LLADA)
    assert str(caught.value) == f"a checkpoint {needs}" and not (tmp_path / "copy").exists()
    with pytest.raises(ValueError) as caught:
        load_adapter(model, random_adapter())
    assert str(caught.value) == f"an adapter beside the weights {needs}"
    with pytest.raises(ValueError) as caught:
        train(model, MaskedDiffusion(), lambda step: None, Training(steps=1), out=tmp_path / "out")  # type: ignore[arg-type, return-value]
    assert str(caught.value) == f"training {needs}"


def test_other_bits_and_dtypes_are_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    for bits in (0, 3, 16):
        with pytest.raises(ValueError) as caught:
            unveil.load(folder, bits=bits)
        assert str(caught.value) == f"bits={bits} is not supported: give 8 or 4, or none"
    with pytest.raises(ValueError) as caught:
        unveil.load(folder, bits=8, dtype="float64")
    assert str(caught.value) == "bits=8 takes weights in float32, bfloat16 or float16, not torch.float64"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program that has not imported bitsandbytes yet; afterwards as before."""
    for name in ("kernels", *(name for name in sys.modules if name.split(".")[0] == "bitsandbytes")):
        monkeypatch.setitem(sys.modules, name, sys)
        monkeypatch.delitem(sys.modules, name)
    for name in ("bitsandbytes", "bitsandbytes.functional"):
        monkeypatch.setitem(sys.modules, name, sys)
        del sys.modules[name]


def test_without_bitsandbytes_it_says_what_to_install(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError) as caught:
        packing(8)
    assert str(caught.value) == "bits need bitsandbytes: pip install 'unveil[quantise]', or load without bits"


@pytest.mark.parametrize("imported", [True, False])
def test_bitsandbytes_does_not_see_what_would_fetch_code(
    fresh: None, imported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the package `kernels` it would load compiled code from the hub."""
    (tmp_path / "kernels.py").write_text("")
    (tmp_path / "bitsandbytes").mkdir()
    (tmp_path / "bitsandbytes" / "__init__.py").write_text("")
    (tmp_path / "bitsandbytes" / "functional.py").write_text(
        "try:\n    import kernels\n    SEEN = True\nexcept ImportError:\n    SEEN = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = import_module("kernels") if imported else None
    assert not bitsandbytes().SEEN
    assert sys.modules.get("kernels") is before
