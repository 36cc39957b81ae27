"""The published code's recorded outputs: logits, tokens and forwards."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unveil.canvas import Canvas
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.models.denoiser import Denoiser, Guided, Want
from unveil.models.transformer import Transformer
from unveil.sampling import recipes
from unveil.sampling.sampler import Sampler

FOLDERS = ["llada_tiny", "dream_tiny", "llada_calm"]


@cache
def load(folder: Path) -> Transformer:
    return load_checkpoint(Folder(folder))


def sampler_of(name: str, settings: dict[str, Any], new: int) -> Sampler:
    """A recorded decode as a value."""
    s = settings
    assert not s.get("temperature") and not s.get("alg_temp")
    if name == "llada":
        return recipes.llada(new, steps=s["steps"], block=s["block_length"], remasking=s["remasking"])
    if name == "dream":
        return recipes.dream(new, steps=s["steps"], alg=s["alg"], eps=s["eps"])
    if name == "evotoken":
        given = {"threshold": s["threshold"]} if "threshold" in s else {"steps": s["steps"]}
        return recipes.evotoken(new, k=s["k_soft"], mask_share=s["alpha_soft_mask"], **given)
    cache = {"fast": "none", "fast_prefix": "prefix", "fast_dual": "dual"}[name]
    if "threshold" in s:  # `steps` is ignored there
        return recipes.fast_dllm(new, block=s["block_length"], threshold=s["threshold"], cache=cache)
    return recipes.fast_dllm(new, block=s["block_length"], steps=s["steps"], cache=cache)


def traces(folder: Path) -> Iterator[tuple[str, dict[str, Any], list[int], list[int], int]]:
    for path in folder.glob("*decodes.json"):
        for trace in json.loads(path.read_text())["traces"]:
            yield trace["sampler"], trace["settings"], trace["prompt"], trace["tokens"], trace["nfe"]


def denoiser_of(model: Transformer, settings: dict[str, Any]) -> Denoiser:
    scale = settings.get("cfg_scale", 0.0)
    return Guided(inner=model, scale=scale) if scale else model


@pytest.mark.parametrize("name", FOLDERS)
def test_logits(data: Path, name: str) -> None:
    recorded = load_file(data / "parity" / name / "forward.safetensors")
    ids = recorded["input_ids"]
    ends = torch.full((len(ids),), ids.shape[1])
    canvas = Canvas.corrupt(ids, torch.zeros_like(ids).bool(), start=ends * 0, end=ends, mask_id=255)
    logits = load(data / "parity" / name)(
        canvas, canvas.inside, canvas.inside, None, Want(proposals=False, logits=True)
    ).logits
    expected = recorded["logits_shifted" if "logits_shifted" in recorded else "logits"]
    assert logits is not None and (logits.view_as(expected) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name, count", [("llada_tiny", 71), ("dream_tiny", 27), ("llada_calm", 18)])
def test_every_decode(data: Path, name: str, count: int) -> None:
    folder, wrong, num = data / "parity" / name, [], 0
    for sampler, settings, prompt, tokens, nfe in traces(folder):
        canvas = Canvas.blank([prompt], len(tokens), mask_id=255)
        out = sampler_of(sampler, settings, len(tokens)).decode(denoiser_of(load(folder), settings), canvas)
        num += 1
        if out.tokens[0, len(prompt) :].tolist() != tokens or out.nfe.tolist() != [nfe]:
            wrong.append((sampler, settings, len(prompt), out.nfe.tolist(), nfe))
    assert not wrong and num == count


@pytest.mark.parametrize("name", ["llada_tiny", "dream_tiny"])
def test_decodes_of_several_prompts_in_one_batch(data: Path, name: str) -> None:
    """The recorded ones are one row at a time; a ragged batch of the same settings gives the same."""
    groups: dict[str, list[tuple[list[int], list[int], int]]] = {}
    for sampler, settings, prompt, tokens, nfe in traces(data / "parity" / name):
        groups.setdefault(json.dumps([sampler, settings]), []).append((prompt, tokens, nfe))
    batches = 0
    for key, rows in list(groups.items())[::4]:
        sampler, settings = json.loads(key)
        model = denoiser_of(load(data / "parity" / name), settings)
        canvas = Canvas.blank([prompt for prompt, _, _ in rows], len(rows[0][1]), mask_id=255)
        out = sampler_of(sampler, settings, len(rows[0][1])).decode(model, canvas)
        assert [out.answer(row) for row in range(len(rows))] == [tokens for _, tokens, _ in rows], key
        assert out.nfe.tolist() == [nfe for _, _, nfe in rows], key
        batches += len(rows) > 1
    assert batches > 1
