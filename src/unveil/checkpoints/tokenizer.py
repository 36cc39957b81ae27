"""Text to ids and back: a folder's tokenizer.json, or vocab.json and merges.txt, through the `tokenizers` library."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from unveil.fields import Fields, is_text, shown
from unveil.files import replacing

BYTE_PAIRS = ("Qwen2Tokenizer", "Qwen2TokenizerFast", "DreamTokenizer")  # the classes of byte_pairs
REMEDY = "save it once with transformers' save_pretrained, which writes tokenizer.json"
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
MOST = 200  # characters of an error of the library
QWEN2 = (  # its pieces: contractions, words with what is before them, single digits, signs, line breaks, blanks
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@runtime_checkable
class Codec(Protocol):
    """What the rest of the package needs of a tokenizer."""

    @property
    def front(self) -> Sequence[int]:
        """Ids that go in front of a raw text, such as Llama's BOS."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without anything added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class FileTokenizer:
    """A tokenizer of the `tokenizers` library."""

    tokenizer: Tokenizer
    front: tuple[int, ...] = ()
    room: int | None = None  # ids are below it: the model's embeddings; None: not known

    @classmethod
    def load(cls, path: Path) -> "FileTokenizer":
        """Read a tokenizer.json; ValueError where it is broken."""
        with _library(f"{path} is not a tokenizer file", "download it again"):
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.no_padding()  # neither is for us: texts are given whole, and rows as long as they are
            tokenizer.no_truncation()
        with _library(f"{path}: its post_processor does not fit its vocabulary", "download it again"):
            return cls(tokenizer=tokenizer, front=_front(tokenizer))

    @classmethod
    def characters(cls, alphabet: str, special: Sequence[str]) -> "FileTokenizer":
        """One token per character of `alphabet`, then the special tokens."""
        return cls.split(r"[\s\S]", alphabet, special)

    @classmethod
    def words(cls, vocabulary: Iterable[str], special: Sequence[str], *, digits: int = 1) -> "FileTokenizer":
        """One token per piece: words and numbers with the blank before them, other characters; then the special tokens.

        Numbers of up to `digits` digits are one piece, longer ones are spelled. Errors: as `split`.
        """
        return cls.split(_pieces(digits), vocabulary, special)

    @classmethod
    def split(cls, pattern: str, vocabulary: Iterable[str], special: Sequence[str]) -> "FileTokenizer":
        """One token per match of `pattern`, which must match everywhere; then the special tokens.

        An entry that comes twice counts once. ValueError for one that is not one piece, as "two words" or "123".
        """
        pieces = pre_tokenizers.Split(Regex(pattern), "isolated")
        entries = list(dict.fromkeys([*vocabulary, *special]))
        for entry in entries[: len(entries) - len(special)]:
            if len(pieces.pre_tokenize_str(entry)) != 1:
                raise ValueError(f"{entry!r} is not one token: give words, digits and other characters one by one")
        tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(entries)}))
        tokenizer.pre_tokenizer = pieces
        tokenizer.decoder = decoders.Fuse()
        tokenizer.add_special_tokens(list(special))
        return cls(tokenizer=tokenizer)

    def save(self, path: Path) -> None:
        """Write a tokenizer.json."""
        with replacing(path) as temporary:
            self.tokenizer.save(str(temporary))

    def encode(self, text: str) -> list[int]:
        """Ids of a text; ValueError for characters that the vocabulary lacks."""
        with _library(f"the model's vocabulary cannot write {shown(text)}", "use its characters"):
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        if self.room is not None and (beyond := [token for token in ids if token >= self.room]):
            raise ValueError(
                f"{shown(self.tokenizer.id_to_token(beyond[0]))} of {shown(text)} is token {beyond[0]}, beyond the "
                f"{self.room} embeddings of the model: leave it out, or give the tokenizer that belongs to the model"
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; with a warning, once, of ids that are no token's and so write nothing."""
        if not self._told and (unknown := set(ids) - self._known):
            self._told.append(min(unknown))
            warnings.warn(f"token {self._told[0]} is none of the tokenizer's: it is left out of texts", stacklevel=2)
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self.tokenizer.get_vocab(with_added_tokens=True).values())

    @cached_property
    def _told(self) -> list[int]:
        """The first id that is no token's, once that was said."""
        return []

    def is_special(self, token: int) -> bool:
        """Whether a token is left out of text."""
        added = self.tokenizer.get_added_tokens_decoder().get(token)
        return added is not None and added.special


def with_bos(tokenizer: FileTokenizer, bos: str | None, settings: Mapping[str, Any]) -> FileTokenizer:
    """The tokenizer with `bos` in front of raw texts, where only tokenizer_config.json asks for it."""
    if tokenizer.tokenizer.post_processor is None and bos is not None and settings.get("add_bos_token") is True:
        return replace(tokenizer, front=tuple(tokenizer.encode(bos)))
    return tokenizer


def byte_pairs(folder: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """Qwen2's tokenizer from its files: NFC, pieces, bytes, pairs; `settings`, tokenizer_config.json, list the rest.

    Dream's own class, which is code, does the same (tokenization_dream.py of its repositories).
    """
    if settings.get("tokenizer_class") not in BYTE_PAIRS:
        raise ValueError(
            f"{folder} has no tokenizer.json, and vocab.json of a {_plain(settings.get('tokenizer_class'))}; known are "
            f"{', '.join(BYTE_PAIRS)}: {REMEDY}"
        )
    with _library(f"{folder}: vocab.json and merges.txt do not fit", "download them again"):
        pairs = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = Tokenizer(pairs)
    tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    fields = Fields(f"{folder}/tokenizer_config.json", settings, REMEDY)
    added = fields.inner("added_tokens_decoder")
    if not added.values:
        raise ValueError(f"{folder}/tokenizer_config.json has no added_tokens_decoder, the special tokens: {REMEDY}")
    if odd := [number for number in added.values if not (number.isascii() and number.isdigit() and len(number) < 10)]:
        raise added.refusal(odd[0], "under no token's id")
    for number in sorted(map(int, added.values)):
        token = added.inner(str(number))
        content = token.text("content")
        flags = {name: token.flag(name, False) for name in FLAGS}
        tokenizer.add_tokens([AddedToken(content, **flags)])
        if (given := tokenizer.token_to_id(content)) != number:
            raise ValueError(
                f"{folder}: {content!r} is {number} in tokenizer_config.json, after vocab.json comes {given}: {REMEDY}"
            )
    return tokenizer


@contextmanager
def _library(what: str, remedy: str) -> Iterator[None]:
    """An error of `tokenizers` as ValueError, between these words; it raises plain Exception, and Rust's panics."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise ValueError(f"{what} ({str(error).strip()[:MOST]}): {remedy}") from None


def _front(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the post-processor puts in front of a text."""
    if tokenizer.post_processor is None:
        return ()
    encoding = tokenizer.encode("a")
    ids = zip(encoding.ids, encoding.sequence_ids, strict=True)
    return tuple(token for token, _ in takewhile(lambda each: each[1] is None, ids))


def _plain(value: Any) -> str:
    return value if is_text(value) and value.isprintable() else shown(value)


def _pieces(digits: int) -> str:
    """Words, numbers of up to `digits` digits, digits of longer ones, each with the blank before it; characters."""
    short = f"[0-9]{{1,{digits}}}(?![0-9])"
    return f" {short}|(?<![0-9]){short}| ?[0-9]| ?[A-Za-z]+|[\\s\\S]"
