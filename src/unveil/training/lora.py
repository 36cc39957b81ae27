"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685), through PEFT: few weights are trained, the model's stay."""

from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unveil.checkpoints.family import Family
from unveil.files import write_json
from unveil.models.tensors import write_tensors
from unveil.models.transformer import Transformer

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")
NAME = "default"  # PEFT's name for the only adapter


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
        settings: dict[str, Any] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = (part.strip() for part in item.partition("="))
            if not equals or name not in kinds or name in settings:
                near = get_close_matches(name, kinds, n=1) if name not in kinds else []
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                known = ", ".join(kinds)
                raise ValueError(f"{item!r} in LoRA {text!r}{hint}: give each of {known} at most once, as name=value")
            try:
                settings[name] = tuple(value.split("|")) if name == "targets" else kinds[name](value)
            except ValueError:
                raise ValueError(f"LoRA's {name}={value!r} is no {'whole ' * (kinds[name] is int)}number") from None
        return cls(**settings)

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


def merged(model: Transformer) -> Transformer:
    """A plain model with the adapters added to its weights; `model` stays as it is, other weights are shared."""
    weights = {name.replace(".base_layer.", "."): x for name, x in model.state_dict().items() if ".lora_" not in name}
    for name, layer in _adapted(model).items():
        weight = layer.base_layer.weight
        delta = layer.get_delta_weight(NAME)
        weights[f"{name}.weight"] = weight.detach().to(delta.dtype) + delta.detach()
    with torch.device("meta"):
        plain = Transformer(model.architecture)
    plain.load_state_dict(weights, assign=True)
    if model.architecture.tied:
        plain.head.weight = plain.embed.weight
    return plain.requires_grad_(False).eval()


def save_adapter(model: Transformer, lora: LoRA, folder: Path, family: Family, base: str) -> None:
    """Write the adapters as PEFT does, under the published names: they fit the published model as they fit ours."""
    from peft import LoraConfig

    tensors: dict[str, Tensor] = {}
    names = []
    for name, layer in _adapted(model).items():
        published = family.published(f"{name}.weight").removesuffix(".weight")
        names.append(published)
        for part in ("lora_A", "lora_B"):
            weight = getattr(layer, part)[NAME].weight
            tensors[f"base_model.model.{published}.{part}.weight"] = weight.detach().cpu().contiguous()
    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names,
        base_model_name_or_path=base, inference_mode=True,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    plain = {name: sorted(x) if isinstance(x, set) else x for name, x in config.to_dict().items()}
    write_json(folder / "adapter_config.json", plain)


def _adapted(model: Transformer) -> dict[str, Any]:
    """The layers with an adapter, by name."""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "lora_A")}
