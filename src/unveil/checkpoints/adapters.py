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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unveil.checkpoints.family import Family
from unveil.checkpoints.folder import Folder, digest_of, hub_folder
from unveil.checkpoints.quantise import check_whole
from unveil.checkpoints.weights import few
from unveil.files import read_json, write_json
from unveil.models.tensors import open_tensors, write_tensors
from unveil.models.transformer import Transformer

NAME = "default"  # PEFT's name for the only adapter
CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
CHOICES = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")  # which layers
PATTERNS = {"r": "rank_pattern", "lora_alpha": "alpha_pattern"}  # what some of the layers have instead
IDLE = (  # settings that are looked at elsewhere, or say nothing about what the adapter computes
    "auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights", "loftq_config", "lora_dropout",
    "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type",
    "use_rslora",
)  # fmt: skip
UNSET: tuple[Any, ...] = (None, False, [], {}, "none")
ORDINARY = (None, True, False, "gaussian", "eva", "orthogonal")  # ways to begin that leave the model's weights alone


class Factors(NamedTuple):
    """The change of one linear layer: scale * B A."""

    a: Tensor  # (r, in)
    b: Tensor  # (out, r)
    scale: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """The changed layers by our names, layers.0.query."""

    parts: dict[str, Factors]

    def merge(self, model: Transformer, name: str, weight: Tensor) -> Tensor:
        """A weight with its change added in at least float32 and rounded once, as `load_checkpoint` keeps it."""
        place, _, kind = name.rpartition(".")
        if kind != "weight" or place not in self.parts:
            return weight
        a, b, scale = self.parts[place]
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
    lacks, missing or surplus tensors, wrong shapes, numbers that are not finite, and where peft is not installed.
    """
    config = _config(folder)
    family, architecture = base.layout
    with torch.device("meta"):
        model = Transformer(architecture)
    layers = _published(model, family)
    aimed = _aimed(config, layers, family, folder)
    names = {f"{PREFIX}{layer}.{part}.weight" for layer in aimed for part in ("lora_A", "lora_B")}
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} has no {WEIGHTS}: save the adapter as safetensors (.bin files are never read)")
    parts = {}
    with open_tensors(folder / WEIGHTS) as file:
        _fit(folder, names, set(file.keys()))
        for layer, (rank, scale) in aimed.items():
            out, inner = model.get_parameter(f"{layers[layer]}.weight").shape
            a, b = (
                _factor(folder, file.get_tensor(f"{PREFIX}{layer}.{part}.weight"), f"{part} of {layer}", shape)
                for part, shape in (("lora_A", (rank, inner)), ("lora_B", (out, rank)))
            )
            parts[layers[layer]] = Factors(a, b, scale)
    return Adapter(parts=parts)


def load_adapter(model: Transformer, adapter: Adapter) -> Transformer:
    """Put an adapter beside the weights of `model`, in place, through PEFT; the weights stay as they are, frozen.

    Example: `load_adapter(load_checkpoint(base), read_adapter(mine, base))`. ValueError for a model in 8 or 4 bits or
    with an adapter already, and where peft is not installed.
    """
    if adapted(model):
        raise ValueError("the model has an adapter already: take it away with unloaded, or add it with merged, first")
    check_whole(model, "an adapter beside the weights")
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


def _config(folder: Path) -> dict[str, Any]:
    """adapter_config.json; ValueError for what plain LoRA layers do not have."""
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} has no {CONFIG}: give the folder of an adapter in PEFT's format")
    config = read_json(path)
    if (kind := config.get("peft_type")) != "LORA":
        raise ValueError(f"{path}: peft_type={kind!r} is not supported, only 'LORA'")
    if (way := config.get("init_lora_weights")) not in ORDINARY:
        raise ValueError(f"{path}: init_lora_weights={way!r} changed the model's own weights: convert it to plain LoRA")
    for name in sorted(config.keys() - {*CHOICES, *PATTERNS, *PATTERNS.values(), *IDLE}):
        if config[name] not in UNSET:
            raise ValueError(f"{path}: {name}={config[name]!r} is not supported: only plain LoRA layers are")
    if not config.get("target_modules"):
        raise ValueError(f"{path} names no target_modules: save the adapter with PEFT")
    for name in ("r", "lora_alpha"):
        numbers = [config.get(name), *(config.get(PATTERNS[name]) or {}).values()]
        if bad := [x for x in numbers if not isinstance(x, int | float) or not x > 0]:
            raise ValueError(f"{path}: {name}={bad[0]!r} is no positive number: save the adapter with PEFT")
    return config


def _published(model: Transformer, family: Family) -> dict[str, str]:
    """The linear layers' published names and ours; without the head where it is the embedding."""
    ours = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    names = {family.published(f"{name}.weight").removesuffix(".weight"): name for name in ours}
    return {name: mine for name, mine in names.items() if mine != "head" or not model.architecture.tied}


def _aimed(
    config: dict[str, Any], layers: dict[str, str], family: Family, folder: Path
) -> dict[str, tuple[int, float]]:
    """The layers that an adapter changes, each with its rank and scale, as PEFT finds them in the published model."""
    peft = _peft()
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.other import get_pattern_key

    chosen = peft.LoraConfig(**{name: config[name] for name in CHOICES if config.get(name) is not None})
    if chosen.target_modules == "all-linear":
        names = [name for name, mine in layers.items() if mine != "head"]
    else:
        names = [name for name in layers if check_target_module_exists(chosen, name)]
    if not names:
        kinds = dict.fromkeys(name.removeprefix(family.layer.format(0) + ".") for name in layers if ".0." in name)
        raise ValueError(
            f"{folder}: target_modules={config['target_modules']!r} names no layer of a {family.model_type} model; "
            f"it has {', '.join(kinds)}"
        )

    def number(what: str, name: str) -> Any:
        some = config.get(PATTERNS[what]) or {}
        return some.get(get_pattern_key(list(some), name), config[what])

    def scale(name: str) -> float:
        rank: float = number("r", name)
        return number("lora_alpha", name) / (rank**0.5 if config.get("use_rslora") else rank)

    return {name: (number("r", name), scale(name)) for name in names}


def _fit(folder: Path, wanted: set[str], found: set[str]) -> None:
    """ValueError for missing and surplus tensors."""
    both = (("missing", sorted(wanted - found)), ("surplus", sorted(found - wanted)))
    if text := "; ".join(f"{kind} {few(names)}" for kind, names in both if names):
        raise ValueError(f"{folder}: the tensors do not fit {CONFIG} and the model: {text}")


def _factor(folder: Path, tensor: Tensor, name: str, shape: tuple[int, int]) -> Tensor:
    """The tensor; ValueError where it is not of this shape or not finite."""
    if tensor.shape != shape:
        raise ValueError(f"{folder}: {name} has shape {tuple(tensor.shape)}, the model and {CONFIG} ask for {shape}")
    if not tensor.isfinite().all():
        raise ValueError(f"{folder}: {name} holds NaN or infinite weights: the adapter is damaged")
    return tensor


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise ValueError("adapters need peft: pip install 'unveil[lora]', or load without one") from None
    return peft
