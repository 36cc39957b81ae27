"""Small random models of transformers, saved as it saves them; trees of linear layers under published names."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedModel, Qwen2Config, Qwen3Config

from tests.training.folder import EOS

SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "eos_token_id": EOS, "tie_word_embeddings": False,
    "bos_token_id": None, "pad_token_id": None,
}  # fmt: skip
STRETCHED = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
MODELS: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "llama": (LlamaConfig, {}),
    "llama stretched": (LlamaConfig, {"rope_parameters": STRETCHED, "rms_norm_eps": 1e-5}),
    "llama biased": (LlamaConfig, {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    "llama tied": (LlamaConfig, {"tie_word_embeddings": True, "head_dim": 16, "eos_token_id": [EOS, 3]}),
    "qwen2": (Qwen2Config, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2 tied": (Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3 biased": (Qwen3Config, {"head_dim": 8, "attention_bias": True}),
}


def published(name: str, folder: Path, **more: Any) -> PreTrainedModel:
    """transformers' model, every weight random, saved as they save it."""
    kind, settings = MODELS[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**(SIZES | settings | more))).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.3 + (weight.ndim == 1))
    model.save_pretrained(folder)
    return model


def set_config(folder: Path, **change: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))


class Tree(nn.Module):
    """The linear layers of a published model, by their names."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, weight in weights.items():
            place: nn.Module = self
            *path, last = name.removesuffix(".weight").split(".")
            for word in path:
                if not hasattr(place, word):
                    place.add_module(word, nn.Module())
                place = getattr(place, word)
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight.data = weight.clone()
            place.add_module(last, linear)
