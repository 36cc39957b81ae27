"""Repositories of the Hugging Face hub: downloaded once, then a folder like any other."""

from pathlib import Path

PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.txt", "tokenizer*"]  # of a download: no code


def hub_folder(name: str, revision: str | None = None, *, code: bool = False) -> Path | None:
    """The folder of a hub repository, downloaded unless it is in the cache; None for a name that can be none."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        return None
    return _download(name, revision, [*PATTERNS, "*.py"] if code else PATTERNS)


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # of many kinds
        raise ValueError(
            f"{name!r} is neither a folder here nor could it be had from the hub ({_why(error, revision)}): "
            "check the name and the network, or download it and give the folder"
        ) from None


def _why(error: Exception, revision: str | None) -> str:
    """What happened, in words of ours where the hub's are for those who program it."""
    from huggingface_hub import errors

    known = (  # narrower kinds first
        (errors.GatedRepoError, "its owners ask for an agreement: give it on the page there, then hf auth login"),
        (errors.RevisionNotFoundError, f"it has no revision {revision!r}"),
        (errors.RepositoryNotFoundError, "there is no such repository, or it is private: hf auth login"),
        (errors.HFValidationError, "that is no repository's name, which has letters, digits, -, _ and ."),
        (errors.LocalEntryNotFoundError, "it is not in the cache, and the hub cannot be reached"),
    )
    for kind, words in known:
        if isinstance(error, kind):
            return words
    return (str(error) or type(error).__name__).splitlines()[0][:200]
