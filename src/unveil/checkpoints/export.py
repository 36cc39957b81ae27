"""A checkpoint written again in another published layout, with all that other programs need to use it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from unveil.checkpoints.adapters import read_adapter
from unveil.checkpoints.families import Family, families, written_ends
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint, lost, save_checkpoint
from unveil.files import write_bytes, write_json
from unveil.models.transformer import Architecture
from unveil.settings import nearest

ANY = "hf"  # whichever of these fits: transformers loads them without remote code
LOADED_BY_TRANSFORMERS = ("llama", "qwen2", "qwen3")
COPIED = ("special_tokens_map.json", "chat_template.jinja")


def export(
    source: Folder,
    folder: Path,
    layout: str,
    *,
    dtype: torch.dtype | None = None,
    adapter: Path | None = None,
    shard: str = "5GB",
) -> Family:
    """Write the model in `source`, an adapter added, to a new folder: a name of `layouts`, or "hf". Returns the layout.

    What the new folder gives is what the old one gives, bit for bit where the dtype stays (None: as stored). `shard` is
    the size of a file of weights. Raises ValueError for an unknown layout, for one that cannot hold the architecture
    (naming those that can), for a folder that holds files, and as `load_checkpoint` and `read_adapter`.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    if layout not in (*layouts(), ANY):
        raise ValueError(f"layout={layout!r} is unknown: {nearest(layout, (*layouts(), ANY))}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not an empty folder: name a new one")
    family = _fitting(layout, source.layout[1])
    split_torch_state_dict_into_shards({}, max_shard_size=shard)  # a bad size is refused before weights are read, too
    assert source.tokenizer  # a broken one is refused before weights are read, too
    changes = [] if adapter is None else [read_adapter(adapter, source).merge]
    model = load_checkpoint(source, dtype=dtype, changes=changes)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        whole = Path(name) / folder.name
        save_checkpoint(model, whole, family, shard=shard)
        _write_texts(source, whole, model.architecture)
        whole.replace(folder)
    return family


def layouts() -> dict[str, Family]:
    """The layouts by name: their model_type in lower case."""
    return {name.lower(): family for name, family in families().items()}


def _fitting(layout: str, a: Architecture) -> Family:
    """The layout that is meant; ValueError if it cannot hold the architecture."""
    wanted = LOADED_BY_TRANSFORMERS if layout == ANY else (layout,)
    for name in wanted:
        if not lost(layouts()[name], a):
            return layouts()[name]
    faults = "; ".join(
        f"{layouts()[name].model_type}'s layout cannot hold {lost(layouts()[name], a)}" for name in wanted
    )
    why = " (shift: how many columns before its own a token is predicted)" if "shift=" in faults else ""
    fit = [name for name, family in layouts().items() if not lost(family, a)]
    raise ValueError(f"{faults}{why}: {'give ' + ' or '.join(fit) if fit else 'no layout can'}")


def _write_texts(source: Folder, folder: Path, a: Architecture) -> None:
    """tokenizer.json and tokenizer_config.json, which transformers' AutoTokenizer reads, and generation_config.json."""
    given = source.path / "tokenizer.json"
    if given.is_file():
        write_bytes(folder / "tokenizer.json", given.read_bytes())
    else:
        source.tokenizer.save(folder / "tokenizer.json")
    write_json(folder / "tokenizer_config.json", _tokenizer_settings(source, a))
    ends: Any = {"eos_token_id": written_ends(a.end_ids)} if a.end_ids else {}
    write_json(folder / "generation_config.json", ends | dict(source.generation))
    for name in COPIED:
        if (source.path / name).is_file():
            write_bytes(folder / name, (source.path / name).read_bytes())


def _tokenizer_settings(source: Folder, a: Architecture) -> dict[str, Any]:
    """The settings of the source, without its code, and the special tokens that only config.json says."""
    settings = dict(source.tokenizer_settings)
    code = settings.pop("auto_map", None) is not None
    if code or "tokenizer_class" not in settings:
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    end = a.end_ids[0] if a.end_ids else None
    for name, token in (("mask_token", a.mask_id), ("eos_token", end), ("pad_token", end)):
        text = None if token is None else source.tokenizer.tokenizer.id_to_token(token)
        if settings.get(name) is None and text is not None:
            settings[name] = text
    return settings
