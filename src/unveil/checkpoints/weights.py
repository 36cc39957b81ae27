"""Published checkpoints: a folder with config.json and safetensors to a transformer and back, without remote code."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unveil.checkpoints.dream import DREAM
from unveil.checkpoints.family import Family
from unveil.checkpoints.llada import LLADA
from unveil.files import read_json, write_json
from unveil.models.tensors import write_tensors
from unveil.models.transformer import Transformer

FAMILIES = {family.model_type: family for family in (LLADA, DREAM)}


def load_checkpoint(
    folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Transformer:
    """Read a folder of LLaDA's or Dream's layout straight onto `device` in `dtype` (None: as stored).

    Raises ValueError for a missing or broken config.json, an unknown model_type, a truncated file, missing, surplus or
    wrongly shaped tensors, and weights that are not finite.
    """
    config = read_config(folder)
    family = family_of(folder, config)
    family.check(config)
    architecture = family.read(config)
    with torch.device("meta"):
        model = Transformer(architecture)
    expected = {family.published(name): name for name in model.state_dict()}
    if architecture.tied:
        del expected[family.published("head.weight")]
    weights = {}
    for file, names in _files(folder, set(expected), family.published("head.weight") if architecture.tied else None):
        weights.update(_read(file, names, expected, model, device, dtype))
    model.load_state_dict(weights, strict=not architecture.tied, assign=True)
    if architecture.tied:
        model.head.weight = model.embed.weight
    return model.requires_grad_(False).eval()


def save_checkpoint(model: Transformer, folder: Path, family: Family, *, dtype: torch.dtype | None = None) -> None:
    """Write config.json and model.safetensors in the family's layout; each file replaces its old one at once.

    Raises ValueError for an architecture that the layout cannot hold.
    """
    config = family.write(model.architecture)
    if (back := family.read(config)) != model.architecture:
        mine, theirs = vars(model.architecture), vars(back)
        lost = ", ".join(f"{name}={mine[name]!r}" for name in mine if mine[name] != theirs[name])
        raise ValueError(f"{family.model_type}'s layout cannot hold {lost}: save in another family, or change it")
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    if model.architecture.tied:
        del state["head.weight"]
    tensors = {family.published(name): x.detach().to("cpu", dtype).contiguous() for name, x in state.items()}
    write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    write_json(folder / "config.json", config)


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json; ValueError where it is missing or broken."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json: give a folder that holds a published checkpoint")
    return read_json(folder / "config.json")


def family_of(folder: Path, config: dict[str, Any]) -> Family:
    """The layout that a folder's config.json names; ValueError for an unknown one."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise ValueError(f"{folder}: model_type {kind!r} is unknown, known are {', '.join(FAMILIES)}")
    return FAMILIES[kind]


def _files(folder: Path, expected: set[str], surplus: str | None) -> list[tuple[Path, list[str]]]:
    """Every safetensors file with the tensors to take from it; names are checked before anything is read."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        mapping = read_json(index).get("weight_map")
        if not isinstance(mapping, dict):
            raise ValueError(f"{index} has no weight_map: download it again")
        paths = [folder / name for name in sorted(set(mapping.values()))]
    else:
        paths = [folder / "model.safetensors"]
    found: dict[str, Path] = {}
    for path in paths:
        for name in _open(path).keys():
            found[name] = path
    missing, extra = sorted(expected - set(found)), sorted(set(found) - expected - {surplus})
    if missing or extra:
        text = "; ".join(f"{kind} {_few(names)}" for kind, names in (("missing", missing), ("surplus", extra)) if names)
        raise ValueError(f"{folder}: the tensors do not fit config.json: {text}")
    return [(path, [name for name in found if found[name] == path and name in expected]) for path in paths]


def _open(path: Path, device: str = "cpu") -> Any:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: the checkpoint is incomplete, download it again")
    try:
        return safe_open(path, framework="pt", device=device)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): download it again") from None


def _read(
    path: Path,
    names: list[str],
    expected: dict[str, str],
    model: Transformer,
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    shapes = {name: parameter.shape for name, parameter in model.state_dict().items()}
    weights = {}
    with _open(path, str(device)) as file:
        for name in names:
            tensor = file.get_tensor(name)
            if tensor.shape != shapes[expected[name]]:
                want, have = tuple(shapes[expected[name]]), tuple(tensor.shape)
                raise ValueError(f"{path}: {name} has shape {have}, config.json asks for {want}")
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{path}: {name} holds NaN or infinite weights: the checkpoint is damaged")
            weights[expected[name]] = tensor.to(device, dtype)
    return weights


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
