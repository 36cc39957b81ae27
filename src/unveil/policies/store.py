"""Policies on disk: a folder with policy.json (the settings) and policy.safetensors (the weights)."""

import hashlib
from dataclasses import asdict, fields
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unveil import catalogue
from unveil.checkpoints.folder import LAB
from unveil.files import read_json, write_json
from unveil.models.tensors import write_tensors
from unveil.policies.learned import Policy
from unveil.settings import nearest

SHIPPED = LAB / "policies"


def save_policy(net: Policy, folder: str | PathLike[str]) -> None:
    """Write both files; each replaces its old one at once. OSError, as of `replacing`, where the disk refuses."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in net.state_dict().items()}
    write_tensors(folder / "policy.safetensors", tensors, {"format": "pt"})
    write_json(folder / "policy.json", {"policy": net.name, **asdict(net.settings)})


def policy_mark(folder: str | PathLike[str]) -> str:
    """Twelve hexadecimal digits of what is in a policy's files. ValueError if one is missing."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in _files(Path(folder)))).hexdigest()[:12]


def load_policy(folder: str | PathLike[str]) -> Policy:
    """Read what `save_policy` wrote, onto the CPU, in the dtype it was saved in.

    Raises ValueError for a folder that lacks a file, settings that are not those of a policy, and weights that do not
    fit them, are damaged or are not finite.
    """
    about, tensors = _files(Path(folder))
    net = _network(about)
    weights = _weights(tensors, net)
    net.to(next(iter(weights.values())).dtype).load_state_dict(weights)  # copied: in aligned memory, as it was trained
    return net.requires_grad_(False).eval()


def shipped_policies() -> dict[str, Path]:
    """The policies that come with the package."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob("*/policy.json"))}


def locate_policy(*, path: str | None, name: str | None) -> Path:
    """The folder of a policy. ValueError unless exactly one of both is given, and for a name that is not shipped."""
    if (path is None) == (name is None):
        both = "neither path nor name" if path is None else "path and name, which exclude each other"
        raise ValueError(f"a policy needs path=FOLDER or name=NAME: got {both}")
    if path is not None:
        return Path(path)
    shipped = shipped_policies()
    if name not in shipped:
        assert name is not None
        known = nearest(name, shipped) if shipped else "no policy is shipped yet, give path=FOLDER of a saved one"
        raise ValueError(f"no shipped policy {name!r}: {known}")
    return shipped[name]


def _files(folder: Path) -> tuple[Path, Path]:
    """Settings and weights. ValueError if one is missing."""
    for name in ("policy.json", "policy.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}: give a folder that a policy was saved in")
    return folder / "policy.json", folder / "policy.safetensors"


def _network(path: Path) -> Policy:
    """A fresh network with the settings of policy.json. ValueError for an unknown kind, or wrong settings."""
    values, known = read_json(path), catalogue.policies()
    if (kind := values.pop("policy", None)) not in known:
        raise ValueError(f"{path}: policy {kind!r} is unknown, known is {', '.join(known)}")
    made: type[Any] = known[kind].load()
    kinds = {field.name: field.type for field in fields(made.Settings)}
    if values.keys() != kinds.keys():
        odd = ", ".join(sorted(values.keys() ^ kinds.keys()))
        raise ValueError(f"{path}: missing or surplus settings {odd}: it must have {', '.join(kinds)}")
    for name, value in values.items():
        if type(value) is not kinds[name]:
            raise ValueError(f"{path}: {name}={value!r} is of the wrong kind: save the policy again")
    try:
        net: Policy = made(made.Settings(**values))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return net


def _weights(path: Path, net: Policy) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): copy it again") from None
    want = {name: weight.shape for name, weight in net.state_dict().items()}
    have = {name: weight.shape for name, weight in weights.items()}
    if want != have:
        odd = ", ".join(sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))[:3])
        raise ValueError(f"{path}: {odd} are missing, surplus or of another shape than policy.json says")
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{path}: {name} holds NaN or infinite weights: the policy is damaged")
    return weights
