"""Text to ids and back: a folder's tokenizer.json, or vocab.json and merges.txt, through the `tokenizers` library."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from unveil.files import replacing

BYTE_PAIRS = ("Qwen2Tokenizer", "Qwen2TokenizerFast", "DreamTokenizer")  # the classes of byte_pairs
REMEDY = "save it once with transformers' save_pretrained, which writes tokenizer.json"
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

    @classmethod
    def load(cls, path: Path) -> "FileTokenizer":
        """Read a tokenizer.json; ValueError where it is broken."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"{path} is not a tokenizer file ({error}): download it again") from None
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
        try:
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"the model's vocabulary cannot write {text!r} ({error}): use its characters") from None
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

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
            f"{folder} has no tokenizer.json, and vocab.json of a {settings.get('tokenizer_class')}; known are "
            f"{', '.join(BYTE_PAIRS)}: {REMEDY}"
        )
    try:
        pairs = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{folder}: vocab.json and merges.txt do not fit ({error}): download them again") from None
    tokenizer = Tokenizer(pairs)
    tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    added = settings.get("added_tokens_decoder")
    if not added:
        raise ValueError(f"{folder}/tokenizer_config.json has no added_tokens_decoder, the special tokens: {REMEDY}")
    for number, token in sorted((int(key), token) for key, token in added.items()):
        tokenizer.add_tokens([AddedToken(**token)])
        if (given := tokenizer.token_to_id(token["content"])) != number:
            raise ValueError(
                f"{folder}: {token['content']!r} is {number} in tokenizer_config.json, after vocab.json comes {given}: "
                f"{REMEDY}"
            )
    return tokenizer


def _front(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the post-processor puts in front of a text."""
    if tokenizer.post_processor is None:
        return ()
    encoding = tokenizer.encode("a")
    ids = zip(encoding.ids, encoding.sequence_ids, strict=True)
    return tuple(token for token, _ in takewhile(lambda each: each[1] is None, ids))


def _pieces(digits: int) -> str:
    """Words, numbers of up to `digits` digits, digits of longer ones, each with the blank before it; characters."""
    short = f"[0-9]{{1,{digits}}}(?![0-9])"
    return f" {short}|(?<![0-9]){short}| ?[0-9]| ?[A-Za-z]+|[\\s\\S]"
