"""Published checkpoints: a folder with config.json and safetensors to a transformer and back, without remote code."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unveil.checkpoints.families import Family, settings_of
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.quantise import check_whole
from unveil.checkpoints.shards import INDEX, WHOLE, few, open_weights
from unveil.files import write_json
from unveil.models.tensors import write_tensors
from unveil.models.transformer import Architecture, Transformer

# (model, name, weight as it was just read) -> what is kept under that name; None: it is in the model already
Change = Callable[[Transformer, str, Tensor], Tensor | None]


def load_checkpoint(
    folder: Folder,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    changes: Sequence[Change] = (),
) -> Transformer:
    """Read a folder of a known layout straight onto `device` in `dtype` (None: as stored).

    `attention` is causal or bidirectional where the layout leaves the choice (Llama, Qwen2, Qwen3); None: what
    config.json says. Weight after weight is read and goes through `changes`: a second copy of them all is never in
    memory. On a CPU, weights that stay as stored are used where they are, in the file. Raises ValueError for a missing
    or broken config.json, an unknown model_type, a truncated file, missing, surplus or wrongly shaped tensors, and
    weights that are not finite.
    """
    family, architecture = folder.laid_out(attention)
    with torch.device("meta"):
        model = Transformer(architecture)
    expected = {family.published(name): name for name in model.state_dict()}
    shapes = {published: model.get_parameter(name).shape for published, name in expected.items()}
    weights: dict[str, Tensor] = {}
    files = _files(folder, set(expected), family.published("head.weight") if architecture.tied else None)
    stored = {expected[published] for _, names in files for published in names}
    for file, names in files:
        for published, weight in _read(file, {name: shapes[name] for name in names}, str(device)):
            here = weight.to(device, dtype)
            both = expected[published] == "embed.weight" and "head.weight" not in stored
            for name in (expected[published], "head.weight") if both else (expected[published],):
                kept: Tensor | None = here
                for change in changes:
                    kept = None if kept is None else change(model, name, kept)
                if kept is not None:
                    weights[name] = kept
    embed = weights["embed.weight"]
    tied = architecture.tied and torch.equal(weights["head.weight"], embed)
    model.load_state_dict(weights, assign=True)
    if tied:
        model.head.weight = model.embed.weight
    model.architecture = replace(architecture, tied=tied)  # a head of its own counts, as in transformers
    return model.requires_grad_(False).eval()


def save_checkpoint(
    model: Transformer, folder: Path, family: Family, *, dtype: torch.dtype | None = None, shard: str | None = None
) -> None:
    """Write config.json and model.safetensors in the family's layout; each file replaces its old one at once.

    `shard`, such as 5GB, is the size from which on there are several files and an index. Raises ValueError for an
    architecture that the layout cannot hold, and for a model in 8 or 4 bits.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    check_whole(model, "a checkpoint")
    if what := lost(family, model.architecture):
        raise ValueError(f"{family.model_type}'s layout cannot hold {what}: save in another family, or change it")
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    if model.architecture.tied:
        del state["head.weight"]
    weights = {family.published(name): x.detach() for name, x in state.items()}
    sizes = {name: torch.empty(x.shape, dtype=dtype or x.dtype, device="meta") for name, x in weights.items()}
    split = split_torch_state_dict_into_shards(
        sizes, filename_pattern="model{suffix}.safetensors", max_shard_size=shard or sys.maxsize
    )
    for file, names in split.filename_to_tensors.items():
        part = {name: weights[name].to("cpu", dtype).contiguous() for name in names}
        write_tensors(folder / file, part, {"format": "pt"})
    if split.is_sharded:
        write_json(folder / INDEX, {"metadata": split.metadata, "weight_map": split.tensor_to_filename})
        (folder / WHOLE).unlink(missing_ok=True)  # an older one: of two sets none is read
    else:
        (folder / INDEX).unlink(missing_ok=True)  # of several older files, which would be read
    write_json(folder / "config.json", family.write(model.architecture))


def lost(family: Family, architecture: Architecture) -> str:
    """What of an architecture a layout cannot hold; empty if nothing."""
    mine = vars(architecture)
    try:
        theirs = vars(family.read(settings_of(family.write(architecture))))
    except ValueError:  # a causal model without [MASK], in a layout of bidirectional ones
        theirs = mine | {"mask_id": None, "rule": None}
    return ", ".join(f"{name}={mine[name]!r}" for name in mine if mine[name] != theirs[name])


def _files(folder: Folder, expected: set[str], spare: str | None) -> list[tuple[Path, list[str]]]:
    """Every safetensors file with the tensors to take from it; names are checked before anything is read.

    `spare` may be missing.
    """
    found = folder.shards.tensors()
    missing, extra = sorted(expected - set(found) - {spare}), sorted(set(found) - expected)
    if missing or extra:
        text = "; ".join(f"{kind} {few(names)}" for kind, names in (("missing", missing), ("surplus", extra)) if names)
        raise ValueError(f"{folder}: the tensors do not fit config.json: {text}")
    return [(path, [name for name in found if found[name] == path and name in expected]) for path in folder.weights]


def _read(path: Path, shapes: dict[str, torch.Size], device: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of these names and shapes; all their numbers are finite."""
    with open_weights(path, device) as file:
        for name, shape in shapes.items():
            tensor = file.get_tensor(name)
            if tensor.shape != shape:
                raise ValueError(f"{path}: {name} has shape {tuple(tensor.shape)}, config.json asks for {tuple(shape)}")
            if not torch.stack(tensor.aminmax()).isfinite().all():  # NaN is both; nothing as large is made on the way
                raise ValueError(f"{path}: {name} holds NaN or infinite weights: the checkpoint is damaged")
            yield name, tensor
