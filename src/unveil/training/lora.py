"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685), through PEFT: few weights are trained, the model's stay."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from unveil.checkpoints.adapters import NAME
from unveil.models.transformer import Transformer
from unveil.settings import convert, split_pairs

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """W x + alpha / r * B A x in the linear layers `targets` of every layer; A is random, B zero at first."""

    r: int = 64
    alpha: int = 128
    dropout: float = 0.0
    targets: tuple[str, ...] = ("query", "key", "value")

    def __post_init__(self) -> None:
        for name in ("r", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"LoRA's {name}={getattr(self, name)} is not positive: give at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRA's dropout={self.dropout} is outside [0, 1): 0 is none")
        for target in self.targets or ("",):
            if target not in TARGETS:
                raise ValueError(f"LoRA has no target {target!r}: choose from {', '.join(TARGETS)}")

    @classmethod
    def parse(cls, text: str) -> "LoRA":
        """`r=64,alpha=128,targets=query|value`; what is not given has its default. ValueError names what is wrong."""
        kinds: dict[str, Any] = {field.name: field.type for field in fields(cls)}
        texts = split_pairs("lora", text.split(","), list(kinds))
        return cls(**{name: convert(name, value, kinds[name]) for name, value in texts.items()})

    def inject(self, model: Transformer, seed: int) -> Transformer:
        """Put adapters, in at least float32, into `model` and freeze all else. ValueError if peft is not installed."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise ValueError("LoRA needs peft: pip install 'unveil[lora]', or train all weights without it") from None
        config = LoraConfig(
            r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=list(self.targets)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model, NAME)
        for x in model.parameters():
            if x.requires_grad:
                x.data = x.data.to(torch.promote_types(x.dtype, torch.float32))
        return model
