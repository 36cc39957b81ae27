"""The transformer under a trainer: hooks, recomputed activations, attention, autocast, several processes."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tests.toy import MASK, blank, toy
from unveil.models.attention import BlockCausal, products
from unveil.models.denoiser import Want
from unveil.models.transformer import Transformer, initialise
from unveil.objectives.loss import Batch, Example, loss
from unveil.objectives.masked import MaskedDiffusion

KINDS: dict[str, dict[str, Any]] = {
    "llada": {},
    "dream": {"shift": 1, "kv_heads": 2, "qkv_bias": True},
    "block-causal": {"rule": BlockCausal(size=4)},
}


def student(dtype: torch.dtype = torch.float64, **more: Any) -> Transformer:
    return toy(layers=3, heads=4, dtype=dtype, **more).requires_grad_(True).train()


def example() -> Example:
    """Four ragged rows."""
    end = torch.tensor([9, 5, 12, 7])
    tokens = torch.randint(MASK, (4, 12), generator=torch.Generator().manual_seed(0))
    return MaskedDiffusion().corrupt(Batch(tokens, end // 3, end), MASK, 1)


def gradients(model: Transformer) -> dict[str, Tensor]:
    """Of every parameter; none is without."""
    model.zero_grad()
    loss(model, example()).backward()
    found = {name: x.grad for name, x in model.named_parameters() if x.grad is not None}
    assert len(found) == len(list(model.parameters()))
    return found


def calls(model: Transformer) -> list[int]:
    """A list to which every call of a layer, as a module, adds the layer's number."""
    seen: list[int] = []
    for number, layer in enumerate(model.layers):
        layer.register_forward_pre_hook(lambda module, given, number=number: seen.append(number))
    return seen


def test_every_layer_is_called_as_a_module_with_and_without_a_cache() -> None:
    model, canvas = toy(layers=3), blank()
    seen = calls(model)
    for cache in (None, model.new_cache(canvas)):
        model(canvas, canvas.inside, canvas.undecided, cache, Want())
    assert seen == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("name", KINDS)
def test_recomputed_activations_give_the_same_gradients(name: str) -> None:
    model = student(**KINDS[name])
    seen, kept = calls(model), gradients(model)
    assert seen == [0, 1, 2]
    model.gradient_checkpointing_enable()
    again = gradients(model)
    assert seen[3:] == [0, 1, 2, 2, 1, 0]
    model.gradient_checkpointing_disable()
    gradients(model)
    assert seen[9:] == [0, 1, 2]
    assert all(torch.equal(kept[key], again[key]) for key in kept)


def test_only_training_without_a_cache_recomputes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **more: Any) -> None:
        raise AssertionError("recomputing")

    model, canvas = student(), blank()
    model.gradient_checkpointing_enable()
    monkeypatch.setattr("unveil.models.transformer.checkpoint", refuse)
    model.requires_grad_(False)(canvas, canvas.inside, canvas.undecided, model.new_cache(canvas), Want())
    with torch.no_grad():
        model(canvas, canvas.inside, canvas.undecided, None, Want())
    with pytest.raises(AssertionError, match="recomputing"):
        loss(model.requires_grad_(True), example())


@given(
    ends=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    num_groups=st.sampled_from([1, 2, 4]),
    width=st.integers(1, 5),
    masked=st.sampled_from(["nothing", "padding", "by column"]),
    seed=st.integers(0, 99),
)
def test_two_products_are_the_fused_kernel(
    ends: list[int], num_groups: int, width: int, masked: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    A, H, C, d = len(ends), 4, max(ends), 6
    shapes = [(A, H, width, d), (A, num_groups, C, d), (A, num_groups, C, d)]
    given = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    visible = None
    if masked != "nothing":
        visible = (torch.arange(C) < torch.tensor(ends)[:, None])[:, None, None]
    if masked == "by column":
        visible = visible & (torch.rand(A, 1, width, C, generator=generator) > 0.4)
        visible[..., 0] = True
    ours, fused = products(*given, visible), F.scaled_dot_product_attention(*given, visible, enable_gqa=True)
    assert torch.allclose(ours, fused, rtol=1e-12, atol=1e-13)
    towards = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    for mine, theirs in zip(*(torch.autograd.grad(out, given, towards) for out in (ours, fused)), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-11, atol=1e-12)


def test_the_fused_kernel_is_left_out_only_where_bfloat16_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **more: Any) -> None:
        raise AssertionError("fused")

    monkeypatch.setattr(F, "scaled_dot_product_attention", refuse)
    model = student(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss(model, example()).backward()
        with pytest.raises(AssertionError, match="fused"), torch.no_grad():
            loss(model, example())
    with pytest.raises(AssertionError, match="fused"):
        loss(model, example())


@pytest.mark.parametrize("name", KINDS)
def test_autocast_gives_nearly_the_same_gradients_in_float32(name: str) -> None:
    model = initialise(student(torch.float32, **KINDS[name]), 0, std=0.1)
    exact = gradients(model)
    model.gradient_checkpointing_enable()
    with torch.autocast("cpu", torch.bfloat16):
        rough = gradients(model)
    assert {x.dtype for x in rough.values()} == {torch.float32}
    a, b = (torch.cat([x.flatten() for x in found.values()]) for found in (exact, rough))
    assert 0 < (a - b).norm() < 0.05 * a.norm()


def sharded(model: Transformer) -> nn.Module:
    """FSDP, layer by layer."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def one_of_two(rank: int, folder: str) -> None:
    """Two steps of plain descent on half of the rows are those on all rows."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = example().rows(torch.arange(rank, 4, 2))
    for wrap in (DistributedDataParallel, sharded):
        alone, shared = student(), student()
        shared.gradient_checkpointing_enable()
        spread = wrap(shared)
        for _ in range(2):
            for module, rows, factor in ((alone, example(), 1), (spread, half, 2)):
                optimiser = torch.optim.SGD(module.parameters(), 0.01)
                (factor * loss(module, rows)).backward()
                optimiser.step()
                optimiser.zero_grad()
        for (name, whole), part in zip(alone.named_parameters(), spread.parameters(), strict=True):
            found = part.full_tensor() if hasattr(part, "full_tensor") else part
            assert torch.allclose(found, whole, rtol=1e-9, atol=1e-11), (wrap.__name__, name)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # all held; torch's threads sometimes abort a process on a busy machine while Python tears it down


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    multiprocessing.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
