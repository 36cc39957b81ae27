"""Text to ids and back: a folder's tokenizer.json through the `tokenizers` library."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from unveil.files import replacing


@runtime_checkable
class Codec(Protocol):
    """What the rest of the package needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without anything added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class FileTokenizer:
    """A tokenizer.json."""

    tokenizer: Tokenizer

    @classmethod
    def load(cls, path: Path) -> "FileTokenizer":
        """Read a tokenizer.json; ValueError where it is broken."""
        try:
            return cls(tokenizer=Tokenizer.from_file(str(path)))
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"{path} is not a tokenizer file ({error}): download it again") from None

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


def _pieces(digits: int) -> str:
    """Words, numbers of up to `digits` digits, digits of longer ones, each with the blank before it; characters."""
    short = f"[0-9]{{1,{digits}}}(?![0-9])"
    return f" {short}|(?<![0-9]){short}| ?[0-9]| ?[A-Za-z]+|[\\s\\S]"
