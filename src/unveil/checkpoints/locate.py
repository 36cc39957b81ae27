"""Where a model is: the name of a shipped lab model, a folder, or a repository on the Hugging Face hub."""

import hashlib
import json
from difflib import get_close_matches
from pathlib import Path

import torch

LAB = Path(__file__).parent.parent / "lab"
PIECE = 1 << 20
PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.txt", "tokenizer*"]  # no code


def lab_models() -> dict[str, Path]:
    """The models that come with the package."""
    return {folder.name: folder for folder in sorted(LAB.iterdir()) if (folder / "config.json").is_file()}


def locate(name: str, revision: str | None = None, *, code: bool = False) -> Path:
    """The folder of a model. A hub repository (owner/name) is downloaded, with its `code` or not, unless it is cached.

    Raises ValueError for a name that is none of the three, and for a repository that cannot be had.
    """
    lab = lab_models()
    if name in lab:
        return lab[name]
    if Path(name).is_dir():
        return Path(name)
    if (folder := hub_folder(name, revision, code=code)) is not None:
        return folder
    near = get_close_matches(name, lab, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(lab) or 'none'}"
    raise ValueError(f"no model {name!r}: give a shipped model, a folder, or a hub repository owner/name; {hint}")


def hub_folder(name: str, revision: str | None = None, *, code: bool = False) -> Path | None:
    """The folder of a hub repository, downloaded unless it is in the cache; None for a name that can be none."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        return None
    return _download(name, revision, [*PATTERNS, "*.py"] if code else PATTERNS)


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        text = str(error).splitlines()[0]
        raise ValueError(
            f"{name!r} is neither a folder here nor could it be had from the hub ({text}): "
            "check the name and the network, or download it and give the folder"
        ) from None


def fingerprint(folder: Path) -> str:
    """Twelve hexadecimal digits: config, vocabulary, and 64 pieces of 1 MiB of each weights file (small ones whole)."""
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "vocab.json", "merges.txt", "adapter_config.json"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        if path.name.startswith(("model", "adapter")):
            size = path.stat().st_size
            digest.update(json.dumps([path.name, size]).encode())
            with path.open("rb") as file:
                for start in range(0, size, max(PIECE, size // 64)):
                    file.seek(start)
                    digest.update(file.read(PIECE))
    return digest.hexdigest()[:12]


def commit_of(folder: Path) -> str | None:
    """The commit of a hub repository's folder in the cache, where each has a folder of its own; None elsewhere."""
    return folder.name if folder.parent.name == "snapshots" else None


def changed(revision: str, adapter: str | None, bits: int | None) -> str:
    """The fingerprint of a model to which an adapter (its fingerprint) was added, and whose weights were rounded."""
    if adapter is None and bits is None:
        return revision
    return hashlib.sha256(json.dumps([revision, adapter, bits]).encode()).hexdigest()[:12]


def dtype_of(name: str) -> torch.dtype:
    """torch's dtype of that name; ValueError for others."""
    kinds = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in kinds:
        raise ValueError(f"dtype {name!r} is unknown: choose one of {', '.join(kinds)}")
    return kinds[name]


def place(device: str | None = None, dtype: str | None = None) -> tuple[torch.device, torch.dtype | None]:
    """Device and dtype: a GPU if there is one, float32 on a CPU, else as stored (None). ValueError for other names."""
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = None if dtype is None else dtype_of(dtype)
    try:
        where = torch.device(chosen)
    except RuntimeError:
        raise ValueError(f"device {chosen!r} is unknown: use cpu, cuda, cuda:1 or mps") from None
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {chosen!r} asks for a GPU and torch sees none: use cpu, or install torch for CUDA")
    if where.type == "cpu":
        where = torch.device("cpu")  # safetensors knows no cpu:0, as torch calls it among processes
    return where, kind or (torch.float32 if where.type == "cpu" else None)
