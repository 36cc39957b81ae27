"""Foreign JSON, field by field: what is of another type or out of its range is refused by file, field and value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
ABSENT: Any = object()  # the default of a field that must be there
LARGEST = (1 << 63) - 1  # what a tensor of ids can hold
SHOWN = 60  # characters of a value


@dataclass(frozen=True, eq=False)
class Fields:
    """The fields of a JSON object. A field that is missing or null has its default; without one it is refused.

    Every method raises ValueError, naming the file, the field, its value, what would be legal and the remedy.
    """

    file: str
    values: Mapping[str, Any]
    remedy: str = "correct it"
    lacking: str = "the checkpoint's layout cannot be known without it"

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def whole(self, name: str, default: T | int = ABSENT, *, least: int = 0, most: int = LARGEST) -> T | int:
        """A whole number from `least` to `most`."""
        value = self._given(name, default)
        if value is default or is_whole(value, least, most):
            return value
        raise self.refusal(name, f"no whole number of at least {least}" if most == LARGEST else _span(least, most))

    def number(self, name: str, default: T | float = ABSENT, *, least: float = 0.0, most: float = 1e12) -> T | float:
        """A number from `least` to `most`; never NaN or infinite."""
        value = self._given(name, default)
        if value is default:
            return value
        if is_number(value, least, most):
            return float(value)
        raise self.refusal(name, f"no number from {least:g} to {most:g}")

    def flag(self, name: str, default: T | bool = ABSENT) -> T | bool:
        """The setting as true or false; ValueError for anything else."""
        value = self._given(name, default)
        if value is default or isinstance(value, bool):
            return value
        raise self.refusal(name, "neither true nor false")

    def text(self, name: str, default: T | str = ABSENT) -> T | str:
        """The setting as a text; ValueError for anything else."""
        value = self._given(name, default)
        if value is default or is_text(value):
            return value
        raise self.refusal(name, "no text")

    def texts(self, name: str, default: T | list[str] = ABSENT) -> T | list[str]:
        """A list of texts; a text alone is a list of one."""
        value = self._given(name, default)
        if value is default:
            return value
        items: list[str] = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(map(is_text, items)):
            return items
        raise self.refusal(name, "neither a text nor a list of texts")

    def ids(self, name: str, *, most: int) -> list[int]:
        """A list of tokens from 0 to `most`, at least one."""
        value = self._given(name, ABSENT)
        if not isinstance(value, list) or not value:
            raise self.refusal(name, "no list of tokens")
        for token in value:
            if not is_whole(token, 0, most):
                raise ValueError(f"{self.file}: {name} holds {shown(token)}, no token from 0 to {most}: {self.remedy}")
        return value

    def inner(self, name: str) -> "Fields":
        """The fields of an object in this one; none where it is missing or null."""
        value = self._given(name, None)
        if value is None or isinstance(value, dict):
            return Fields(f"{self.file}: {name}", value or {}, self.remedy, self.lacking)
        raise self.refusal(name, "no object {...}")

    def refusal(self, name: str, why: str) -> ValueError:
        """The error for a value that is not `why`."""
        return ValueError(f"{self.file}: {name}={shown(self.values.get(name))} is {why}: {self.remedy}")

    def _given(self, name: str, default: Any) -> Any:
        if (value := self.values.get(name)) is not None:
            return value
        if default is ABSENT:
            raise ValueError(f"{self.file} lacks {name!r}: {self.lacking}")
        return default


def is_whole(value: Any, least: int = 0, most: int = LARGEST) -> bool:
    """Whether it is a whole number in a range; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: Any, least: float, most: float) -> bool:
    """Whether it is a number in a range; NaN is in none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def is_text(value: Any) -> bool:
    """Whether it is a text that UTF-8 can write, so without half a surrogate pair."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def shown(value: Any, most: int = SHOWN) -> str:
    """A value for an error's text, in at most so many characters however large or deep it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError, MemoryError):  # too long a number, too deep a list
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _span(least: int, most: int) -> str:
    return f"no whole number from {least} to {most}"
