"""Fine-tuning an autoregressive model as a bidirectional one: Llama and its kin are bases like any other."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unveil
from tests.checkpoints.published import published, set_config
from tests.training.folder import CODEC, MASK, lines, words
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.files import read_jsonl
from unveil.training.settings import Training
from unveil.training.sft import SFT
from unveil.training.trainer import run
from unveil.training.tuning import LoRA

TRAINING = Training(steps=30, lr=1e-2, warmup=3, validate_every=15, save_every=30)


def recipe(name: str, tmp_path: Path, **config: Any) -> SFT:
    published(name, tmp_path / "base")
    set_config(tmp_path / "base", **config)
    CODEC.save(tmp_path / "base" / "tokenizer.json")
    data = lines(tmp_path / "d.jsonl", words())
    return SFT(base=str(tmp_path / "base"), data=str(data), canvas=12, rows=8, training=TRAINING)


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["all", "lora"])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("llama stretched", {"is_causal": False}),
        ("qwen2 tied", {"is_causal": False}),
        ("qwen3", {"model_type": "a2d-qwen3"}),
    ],
)
def test_a_conversion_learns(name: str, config: dict[str, Any], lora: LoRA | None, tmp_path: Path) -> None:
    """What is saved is in the base's layout; norms and scalings that are not trained stay as they are."""
    sft = replace(recipe(name, tmp_path, mask_token_id=MASK, **config), lora=lora)
    best = run(sft, out=tmp_path / "run")
    records = [record for record in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "loss" in record]
    assert sum(x["loss"] for x in records[-5:]) < 0.8 * sum(x["loss"] for x in records[:5])
    before, after = (load_checkpoint(Folder(folder)) for folder in (tmp_path / "base", best))
    assert after.architecture == before.architecture
    changed = {n.split(".")[-2] for n, x in after.state_dict().items() if not torch.equal(x, before.state_dict()[n])}
    assert changed and (lora is None or changed <= set(lora.targets))
    saved, was = (json.loads((folder / "config.json").read_text()) for folder in (best, tmp_path / "base"))
    assert saved["model_type"] == was["model_type"] and saved["mask_token_id"] == MASK
    assert unveil.load(best).decode(["ab="], new_tokens=4)[0].complete


def test_a_causal_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        recipe("qwen2", tmp_path).model()
    assert str(caught.value) == (
        f"{tmp_path / 'base'} is causal and has no mask token to train with: put is_causal false and a mask_token_id "
        "into its config.json"
    )
