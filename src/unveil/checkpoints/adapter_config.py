"""adapter_config.json of PEFT: read field by field, and refused where it asks for more than plain LoRA layers."""

from pathlib import Path
from typing import Any

from unveil.fields import Fields, is_number, is_whole, shown
from unveil.files import read_json

CONFIG = "adapter_config.json"
CHOICES = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")  # which layers
PATTERNS = {"r": "rank_pattern", "lora_alpha": "alpha_pattern"}  # what some of the layers have instead
IDLE = (  # settings that are looked at elsewhere, or say nothing about what the adapter computes
    "auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights", "loftq_config", "lora_dropout",
    "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type",
    "use_rslora",
)  # fmt: skip
UNSET: tuple[Any, ...] = (None, False, [], {}, "none")
ORDINARY = (None, True, False, "gaussian", "eva", "orthogonal")  # ways to begin that leave the model's weights alone
RANK = 1 << 16  # beyond all layers
SCALE = 1e9


def read_config(folder: Path) -> dict[str, Any]:
    """What chooses layers, ranks and scales; ValueError for what plain LoRA layers do not have."""
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} has no {CONFIG}: give the folder of an adapter in PEFT's format")
    config = read_json(path)
    _check_plain(path, config)
    fields = Fields(str(path), config, "save the adapter with PEFT")
    if config.get("target_modules") in (None, "", []):
        raise ValueError(f"{path} names no target_modules: save the adapter with PEFT")
    found: dict[str, Any] = {name: _named(fields, name) for name in CHOICES if name != "layers_to_transform"}
    found["layers_to_transform"] = _indices(fields)
    if isinstance(found["target_modules"], str) and found["layers_to_transform"] not in (None, []):
        raise fields.refusal("layers_to_transform", "of no use with target_modules that is one pattern")
    for name, patterns in PATTERNS.items():
        some = dict(fields.inner(patterns).values)
        for one in (config.get(name), *some.values()):
            if not (is_whole(one, 1, RANK) if name == "r" else is_number(one, 1e-9, SCALE)):
                raise ValueError(f"{path}: {name}={shown(one)} is no positive number: save the adapter with PEFT")
        found |= {name: config[name], patterns: some}
    return found | {"use_rslora": fields.flag("use_rslora", False)}


def _check_plain(path: Path, config: dict[str, Any]) -> None:
    if (kind := config.get("peft_type")) != "LORA":
        raise ValueError(f"{path}: peft_type={shown(kind)} is not supported, only 'LORA'")
    if (way := config.get("init_lora_weights")) not in ORDINARY:
        raise ValueError(
            f"{path}: init_lora_weights={shown(way)} changed the model's own weights: convert it to plain LoRA"
        )
    for name in sorted(config.keys() - {*CHOICES, *PATTERNS, *PATTERNS.values(), *IDLE}):
        if config[name] not in UNSET:
            what = f"{name if name.isidentifier() else shown(name)}={shown(config[name])}"
            raise ValueError(f"{path}: {what} is not supported: only plain LoRA layers are")


def _named(fields: Fields, name: str) -> str | list[str] | None:
    """A pattern, or a list of names; None where it is missing."""
    names = fields.texts(name, None)
    given = fields.values.get(name)
    return given if isinstance(given, str) else names


def _indices(fields: Fields) -> int | list[int] | None:
    """A layer's number, or several; None where it is missing."""
    given = fields.values.get("layers_to_transform")
    items = given if isinstance(given, list) else [] if given is None else [given]
    if not all(map(is_whole, items)):
        raise fields.refusal("layers_to_transform", "neither a layer's number nor a list of them")
    return given
