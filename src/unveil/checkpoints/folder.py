"""A checkpoint's folder as a value: all that the directory says, each part read and checked once, when it is asked for.

`Folder.named` finds it: a shipped lab model, a folder, or a repository on the Hugging Face hub.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch

from unveil.checkpoints.chat import ChatTemplate
from unveil.checkpoints.families import Family, check_apart, ends, families, settings_of
from unveil.checkpoints.hub import hub_folder
from unveil.checkpoints.shards import Shards, open_weights
from unveil.checkpoints.tokenizer import FileTokenizer, byte_pairs, with_bos
from unveil.fields import Fields, is_text, shown
from unveil.files import read_json, read_settings
from unveil.models.transformer import Architecture

LAB = Path(__file__).parent.parent / "lab"
GENERATION = "generation_config.json"
PIECE = 1 << 20
NEW_TOKENS = 128  # of an answer, where nothing is said


@dataclass(frozen=True)
class Folder:
    """The directory `path` of a checkpoint. Nothing is read before it is asked for; what is read is kept.

    Every property raises ValueError, naming the file, for what is missing or broken in it.
    """

    path: Path

    @classmethod
    def named(cls, name: str | PathLike[str], revision: str | None = None, *, code: bool = False) -> "Folder":
        """A shipped model, a folder, or a hub repository owner/name, downloaded (with its `code` or not) unless cached.

        Raises ValueError for a name that is none of the three, and for a repository that cannot be had.
        """
        text, lab = fspath(name), lab_models()
        if text in lab:
            return cls(lab[text])
        if Path(text).is_dir():
            return cls(Path(text))
        if (found := hub_folder(text, revision, code=code)) is not None:
            return cls(found)
        near = get_close_matches(text, lab, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(lab) or 'none'}"
        raise ValueError(f"no model {text!r}: give a shipped model, a folder, or a hub repository owner/name; {hint}")

    def __str__(self) -> str:
        return str(self.path)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The settings in config.json. ValueError where the folder has no such file or it is broken."""
        if not (self.path / "config.json").is_file():
            raise ValueError(f"{self} has no config.json: give a folder that holds a published checkpoint")
        return read_json(self.path / "config.json")

    @cached_property
    def generation(self) -> Mapping[str, Any]:
        """generation_config.json; empty where there is none."""
        return read_settings(self.path / GENERATION)

    @cached_property
    def card(self) -> Mapping[str, Any]:
        """card.json, which our own trainings write; empty where there is none."""
        return read_settings(self.path / "card.json")

    @property
    def new_tokens(self) -> int:
        """How many masks a prompt gets where nothing is said: max_new_tokens of the generation settings, or 128."""
        return self._generated.whole("max_new_tokens", NEW_TOKENS, least=1)

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The end ids of the generation settings."""
        return ends(self._generated)

    @property
    def _generated(self) -> Fields:
        return Fields(str(self.path / GENERATION), self.generation)

    @cached_property
    def layout(self) -> tuple[Family, Architecture]:
        """The published layout and the architecture that config.json names; its attention as it says there."""
        return self.laid_out(None)

    def laid_out(self, attention: str | None) -> tuple[Family, Architecture]:
        """`layout`, with the attention causal or bidirectional where the layout leaves the choice (None: config.json).

        No weights are read. Raises ValueError for an unknown model_type, settings that this transformer does not have,
        and a bidirectional model without a mask token.
        """
        known, kind = families(), self.config.get("model_type")
        if not isinstance(kind, str) or kind not in known:
            raise ValueError(f"{self}: model_type {shown(kind)} is unknown, known are {', '.join(known)}")
        family = known[kind]
        family.check(dict(self.config))
        config = family.attending(dict(self.config), attention)
        found = family.read(settings_of(config if family.causal(config) else self.with_mask(config)))
        check_apart(found.mask_id, found.end_ids, "config.json")
        return family, found

    def with_mask(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with the tokenizer's mask token where they name none, as those of dLLM's models."""
        named = config.get("mask_token_id") is not None
        return dict(config) if named else {**config, "mask_token_id": self.mask_id}

    @cached_property
    def tokenizer_settings(self) -> Mapping[str, Any]:
        """tokenizer_config.json; empty where there is none."""
        return read_settings(self.path / "tokenizer_config.json")

    @cached_property
    def special(self) -> Mapping[str, str]:
        """The special tokens by name, such as bos_token: of tokenizer_config.json, else special_tokens_map.json."""
        named = {}
        for settings in (read_settings(self.path / "special_tokens_map.json"), self.tokenizer_settings):
            for name, token in settings.items():
                content = token.get("content") if isinstance(token, dict) else token
                if name.endswith("_token") and isinstance(content, str) and is_text(content):
                    named[name] = content
        return named

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The files of the vocabulary: tokenizer.json, else vocab.json and merges.txt; empty where there are none."""
        kinds = (("tokenizer.json",), ("vocab.json", "merges.txt"))
        return next((names for names in kinds if all((self.path / name).is_file() for name in names)), ())

    @cached_property
    def tokenizer(self) -> FileTokenizer:
        """tokenizer.json, or vocab.json and merges.txt of Qwen2's kind (Dream's)."""
        if not self.vocabulary:
            raise ValueError(
                f"{self} has no tokenizer.json: text needs one, or vocab.json and merges.txt; token ids can use "
                "load_checkpoint"
            )
        if len(self.vocabulary) == 1:
            read = FileTokenizer.load(self.path / self.vocabulary[0])
        else:
            read = FileTokenizer(tokenizer=byte_pairs(self.path, self.tokenizer_settings))
        return with_bos(read, self.special.get("bos_token"), self.tokenizer_settings)

    @property
    def mask_id(self) -> int | None:
        """The id of the mask token that the tokenizer names; None where it names none or is not tokenizer.json."""
        text = self.special.get("mask_token")
        if text is None or not (self.path / "tokenizer.json").is_file():
            return None
        return self.tokenizer.tokenizer.token_to_id(text)

    @cached_property
    def chat(self) -> ChatTemplate | None:
        """The chat template: a file of its own, else that of tokenizer_config.json (of several the default)."""
        file, text = self.path / "chat_template.jinja", self.tokenizer_settings.get("chat_template")
        if file.is_file():
            text = _text(file)
        elif isinstance(text, list) and all(isinstance(one, dict) for one in text):
            text = next((one.get("template") for one in text if one.get("name") == "default"), None)
        if text is not None and not isinstance(text, str):
            file = self.path / "tokenizer_config.json"
            raise ValueError(f"{file}: chat_template is neither a text nor a list of named ones: download it again")
        return ChatTemplate(text=text, names=self.special) if text else None

    def asked_in_chat(self) -> ChatTemplate:
        """The chat template. ValueError where there is none."""
        if self.chat is None:
            raise ValueError(
                f"{self} has no chat template: put its chat_template.jinja there, or use prompts without chat"
            )
        return self.chat

    @cached_property
    def shards(self) -> Shards:
        """The files of weights, and what is taken from which."""
        return Shards.of(self.path)

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files of weights: those that the index names, or model.safetensors; they need not be there."""
        return self.shards.files

    @property
    def stored_dtype(self) -> torch.dtype:
        """The dtype of the weights on disk, which is that of the first."""
        with open_weights(self.weights[0]) as file:
            found = [file.get_slice(name)[:1].dtype for name in list(file.keys())[:1]]
        if not found:
            raise ValueError(f"{self.weights[0]} holds no weights: download it again")
        return found[0]

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of what is loaded: config, vocabulary and weights, as `digest_of` reads them.

        Of the tokenizer's settings, too, what changes ids: tokens that they add, put in front or name as the mask.
        """
        told: list[Any] = []
        if len(self.vocabulary) > 1:
            told.append(self.tokenizer_settings.get("added_tokens_decoder"))
        if self.vocabulary and self.tokenizer_settings.get("add_bos_token") is True:
            told.append(self.special.get("bos_token"))
        if self.config.get("mask_token_id") is None and "mask_token" in self.special:
            told.append(self.special["mask_token"])
        if self.shards.allotted:
            told.append(sorted(self.shards.allotted.items()))
        return digest_of(self.path, ("config.json", *self.vocabulary), self.weights, told)

    @property
    def commit(self) -> str | None:
        """The commit of a hub repository's folder in the cache, where each has a folder of its own; None elsewhere."""
        return self.path.name if self.path.parent.name == "snapshots" else None


def lab_models() -> dict[str, Path]:
    """The models that come with the package."""
    return {folder.name: folder for folder in sorted(LAB.iterdir()) if (folder / "config.json").is_file()}


def _text(path: Path) -> str:
    """What is in a file of text; ValueError, naming it, where that is not UTF-8."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error}): download it again") from None


def digest_of(folder: Path, texts: tuple[str, ...], weights: tuple[Path, ...], told: Sequence[Any] = ()) -> str:
    """Twelve hexadecimal digits of the texts that are there, and of 64 pieces of 1 MiB of each file of weights.

    Small files of weights count as a whole; those that are not there are passed over. `told` is what else counts.
    """
    digest = hashlib.sha256()
    for name in texts:
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    for path in weights:
        for part in _pieces(path) if path.is_file() else ():
            digest.update(part)
    if told:
        digest.update(json.dumps(told, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def _pieces(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    yield json.dumps([path.name, size]).encode()
    with path.open("rb") as file:
        for start in range(0, size, max(PIECE, size // 64)):
            file.seek(start)
            yield file.read(PIECE)


def changed(revision: str, adapter: str | None, bits: int | None) -> str:
    """The fingerprint of a model to which an adapter (its fingerprint) was added, and whose weights were rounded."""
    if adapter is None and bits is None:
        return revision
    return hashlib.sha256(json.dumps([revision, adapter, bits]).encode()).hexdigest()[:12]
