"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) in PEFT's format, made for the published layers.

All of it is in `unveil.adapters`. For a model and an adapter for it in the folder `mine`:

    from unveil import adapters
    from unveil.checkpoints.folder import Folder
    from unveil.checkpoints.weights import load_checkpoint

    base = Folder.named("owner/name")
    model = adapters.load_adapter(load_checkpoint(base), adapters.read_adapter(mine, base))  # beside the weights
    whole, before = adapters.merged(model), adapters.unloaded(model)  # added to the weights; without it
    adapters.save_adapter(model, again, base.layout[0], "owner/name")

`unveil.load(base, adapter=mine)` adds it to the weights while they are read, which takes less memory.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unveil.checkpoints.adapter_config import CONFIG, read_config
from unveil.checkpoints.apart import Apart, Ended
from unveil.checkpoints.families import Family
from unveil.checkpoints.folder import Folder, digest_of
from unveil.checkpoints.hub import hub_folder
from unveil.checkpoints.quantise import bitsandbytes, check_whole
from unveil.checkpoints.shards import few
from unveil.fields import shown
from unveil.files import write_json
from unveil.models.tensors import open_tensors, write_tensors
from unveil.models.transformer import Transformer

NAME = "default"  # PEFT's name for the only adapter
WEIGHTS, PREFIX = "adapter_model.safetensors", "base_model.model."
OUTER = ("embed", "head")  # the layers outside the layers


class Factors(NamedTuple):
    """The change of one linear layer: scale * B A."""

    a: Tensor  # (r, in)
    b: Tensor  # (out, r)
    scale: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """The changed layers by our names, layers.0.query."""

    parts: dict[str, Factors]
    bases: dict[str, Tensor] = field(default_factory=dict)  # weights that PEFT saved with it, to be changed instead

    def merge(self, model: Transformer, name: str, weight: Tensor) -> Tensor:
        """A weight with its change added in at least float32 and rounded once, as `load_checkpoint` keeps it."""
        place, _, kind = name.rpartition(".")
        if kind != "weight" or place not in self.parts:
            return weight
        a, b, scale = self.parts[place]
        weight = self.bases.get(place, weight).to(weight)
        wide = torch.promote_types(weight.dtype, torch.float32)
        change = b.to(weight.device, wide) @ a.to(weight.device, wide) * scale
        return (weight.to(wide) + change).to(weight.dtype)


def adapter_folder(name: str) -> Path:
    """The folder of an adapter, downloaded if it is a hub repository. ValueError for what is neither."""
    folder = Path(name) if Path(name).is_dir() else hub_folder(name)
    if folder is None:
        raise ValueError(f"no adapter {name!r}: give a folder that holds {CONFIG}, or a hub repository owner/name")
    return folder


def adapter_mark(folder: Path) -> str:
    """Twelve hexadecimal digits of an adapter's settings and weights."""
    return digest_of(folder, (CONFIG,), (folder / WEIGHTS,))


def read_adapter(folder: Path, base: Folder) -> Adapter:
    """An adapter for the model in the folder `base`; its names are those of that model's published layout.

    Raises ValueError, by name, for a missing file, a setting that plain LoRA does not have, targets that the model
    lacks, missing or surplus tensors, wrong shapes, and numbers that are not finite.
    """
    config = read_config(folder)
    family, architecture = base.layout
    with torch.device("meta"):
        model = Transformer(architecture)
    layers = _published(model, family)
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} has no {WEIGHTS}: save the adapter as safetensors (.bin files are never read)")
    parts, bases = {}, {}
    with open_tensors(folder / WEIGHTS) as file:
        there = set(file.keys())
        if architecture.tied:  # some published models have no head then, and PEFT could not adapt one
            head = family.published("head.weight").removesuffix(".weight")
            layers = {name: mine for name, mine in layers.items() if name != head or _names(name, mine)[0] in there}
        aimed = _aimed(config, layers, family, folder)
        extra = {f"{PREFIX}{name}.base_layer.weight": layers[name] for name in aimed if layers[name] in OUTER}
        _fit(folder, {name for layer in aimed for name in _names(layer, layers[layer])}, there - extra.keys())
        for layer, (rank, scale) in aimed.items():
            out, inner = model.get_parameter(f"{layers[layer]}.weight").shape
            turned = layers[layer] == "embed"  # PEFT's factors of an embedding are those of its transpose
            shapes = ((rank, out), (inner, rank)) if turned else ((rank, inner), (out, rank))
            a, b = (
                _factor(folder, file.get_tensor(name), f"{name.split('.')[-1 - (not turned)]} of {layer}", wanted)
                for name, wanted in zip(_names(layer, layers[layer]), shapes, strict=True)
            )
            parts[layers[layer]] = Factors(b.T, a.T, scale) if turned else Factors(a, b, scale)
            if (name := f"{PREFIX}{layer}.base_layer.weight") in there:
                bases[layers[layer]] = _factor(folder, file.get_tensor(name), f"base_layer of {layer}", (out, inner))
    return Adapter(parts=parts, bases=bases)


def load_adapter(model: Transformer, adapter: Adapter) -> Transformer:
    """Put an adapter beside the weights of `model`, in place, through PEFT; the weights stay as they are, frozen.

    Example: `load_adapter(load_checkpoint(base), read_adapter(mine, base))`. ValueError for a model in 8 or 4 bits or
    with an adapter already, and where peft is not installed.
    """
    if adapted(model):
        raise ValueError("the model has an adapter already: take it away with unloaded, or add it with merged, first")
    check_whole(model, "an adapter beside the weights")
    if beside := [name for name in OUTER if name in adapter.parts]:
        raise ValueError(
            f"the adapter changes {' and '.join(beside)}, which can only be added to the weights: load the model with "
            "adapter=..., or changes=[adapter.merge]"
        )
    peft = _peft()
    config = peft.LoraConfig(
        target_modules=list(adapter.parts),
        rank_pattern={name: len(part.a) for name, part in adapter.parts.items()},
        alpha_pattern={name: part.scale * len(part.a) for name, part in adapter.parts.items()},
    )
    peft.inject_adapter_in_model(config, model, NAME)
    for name, layer in adapted(model).items():
        for target, weight in ((layer.lora_A, adapter.parts[name].a), (layer.lora_B, adapter.parts[name].b)):
            target[NAME].weight.data = weight.to(layer.base_layer.weight.device)
    return model.requires_grad_(False).eval()


def merged(model: Transformer) -> Transformer:
    """A plain model with the adapters added to its weights, these in at least float32.

    `model` stays as it is, other weights are shared. Example: `save_checkpoint(merged(model), folder, family)`.
    """

    def added(layer: Any, weight: Tensor) -> Tensor:
        change: Tensor = layer.get_delta_weight(NAME).detach()
        return weight.to(torch.promote_types(weight.dtype, change.dtype)) + change

    return _plain(model, added)


def unloaded(model: Transformer) -> Transformer:
    """A plain model without the adapters: it shares the weights that were there before them.

    Example: `model = load_adapter(unloaded(model), other)` takes another adapter in the place of the first.
    """
    return _plain(model, lambda layer, weight: weight)


def save_adapter(model: Transformer, folder: Path, family: Family, base: str) -> None:
    """Write the adapters as PEFT does, under the published names: they fit the published model as they fit ours.

    `base` is the name of that model. Example: `save_adapter(model, folder, family, "owner/name")`. ValueError for a
    model without an adapter, and where peft is not installed.
    """
    if not adapted(model):
        raise ValueError("the model has no adapter beside its weights to save: put one there with load_adapter")
    peft = _peft()
    layers = {family.published(f"{name}.weight").removesuffix(".weight"): x for name, x in adapted(model).items()}
    tensors = {
        f"{PREFIX}{name}.{part}.weight": getattr(layer, part)[NAME].weight.detach().cpu().contiguous()
        for name, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    ranks, alphas = ({name: getattr(x, what)[NAME] for name, x in layers.items()} for what in ("r", "lora_alpha"))
    (rank, _), (alpha, _) = (Counter(x.values()).most_common(1)[0] for x in (ranks, alphas))
    dropout = next(iter(layers.values())).lora_dropout[NAME]
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=getattr(dropout, "p", 0.0), target_modules=list(layers),
        rank_pattern={name: x for name, x in ranks.items() if x != rank},
        alpha_pattern={name: x for name, x in alphas.items() if x != alpha},
        base_model_name_or_path=base, inference_mode=True,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    plain = {name: sorted(x) if isinstance(x, set) else x for name, x in config.to_dict().items()}
    write_json(folder / CONFIG, plain)


def adapted(model: Transformer) -> dict[str, Any]:
    """The layers with an adapter beside them, by name."""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "lora_A")}


def _plain(model: Transformer, weight_of: Callable[[Any, Tensor], Tensor]) -> Transformer:
    """The model without PEFT's layers; `weight_of` says what is in the place of one of them."""
    weights = {name.replace(".base_layer.", "."): x for name, x in model.state_dict().items() if ".lora_" not in name}
    for name, layer in adapted(model).items():
        weights[f"{name}.weight"] = weight_of(layer, layer.base_layer.weight.detach())
    with torch.device("meta"):
        plain = Transformer(model.architecture)
    plain.load_state_dict(weights, assign=True)
    if model.architecture.tied:
        plain.head.weight = plain.embed.weight
    return plain.requires_grad_(False).eval()


def _published(model: Transformer, family: Family) -> dict[str, str]:
    """The published names and ours of the layers that can be adapted: linear ones and embeddings."""
    ours = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Embedding)]
    return {family.published(f"{name}.weight").removesuffix(".weight"): name for name in ours}


def _names(layer: str, mine: str) -> tuple[str, str]:
    """What PEFT calls the two factors of a layer."""
    if mine == "embed":
        return f"{PREFIX}{layer}.lora_embedding_A", f"{PREFIX}{layer}.lora_embedding_B"
    return f"{PREFIX}{layer}.lora_A.weight", f"{PREFIX}{layer}.lora_B.weight"


def _aimed(
    config: dict[str, Any], layers: dict[str, str], family: Family, folder: Path
) -> dict[str, tuple[int, float]]:
    """The layers that an adapter changes, each with its rank and scale, as PEFT finds them in the published model."""
    inner = [name for name, mine in layers.items() if mine not in OUTER]
    everywhere = config["target_modules"] == "all-linear"
    asked = {"config": config | ({"target_modules": inner} if everywhere else {}), "names": list(layers)}
    try:
        found = Apart("targets").ask(asked)
    except Ended as error:
        raise ValueError(
            f"{folder / CONFIG}: to find the layers that it means {error}: write names in the place of patterns"
        ) from None
    if "failed" in found:
        raise ValueError(f"{folder / CONFIG}: a pattern is no regular expression ({found['failed']}): correct it")
    if not found["found"]:
        kinds = dict.fromkeys(name.removeprefix(family.layer.format(0) + ".") for name in layers if ".0." in name)
        raise ValueError(
            f"{folder}: target_modules={shown(config['target_modules'])} names no layer of a {family.model_type} "
            f"model; it has {', '.join(kinds)}"
        )
    root = 0.5 if config["use_rslora"] else 1
    return {name: (rank, alpha / rank**root) for name, (rank, alpha) in found["found"].items()}


def _fit(folder: Path, wanted: set[str], found: set[str]) -> None:
    """ValueError for missing and surplus tensors."""
    both = (("missing", sorted(wanted - found)), ("surplus", sorted(found - wanted)))
    if text := "; ".join(f"{kind} {few(names)}" for kind, names in both if names):
        raise ValueError(f"{folder}: the tensors do not fit {CONFIG} and the model: {text}")


def _factor(folder: Path, tensor: Tensor, name: str, shape: tuple[int, int]) -> Tensor:
    """The tensor; ValueError where it is not of this shape or not finite."""
    if not tensor.is_floating_point() or tensor.dtype.itemsize < 2:
        raise ValueError(f"{folder}: {name} has dtype {tensor.dtype}: save the adapter in float32, bfloat16 or float16")
    if tensor.shape != shape:
        raise ValueError(f"{folder}: {name} has shape {tuple(tensor.shape)}, the model and {CONFIG} ask for {shape}")
    if not tensor.isfinite().all():
        raise ValueError(f"{folder}: {name} holds NaN or infinite weights: the adapter is damaged")
    return tensor


def _peft() -> Any:
    with suppress(ValueError):
        bitsandbytes()  # peft imports it, and then it says what it could not fetch
    try:
        import peft
    except ImportError:
        raise ValueError("adapters need peft: pip install 'unveil[lora]', or load without one") from None
    return peft
