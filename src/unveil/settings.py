"""Settings as text: `NAME:key=value,...` for samplers and tasks, `key=value` after --set, `r=8,alpha=16` for LoRA.

Every one of them is read here, so that an unknown key, a value of the wrong type or one given twice is refused in the
same words everywhere. Commas part the settings of a spec and nothing quotes them: a path with one must be renamed.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from difflib import get_close_matches
from os import PathLike
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

Known = TypeVar("Known")


def listed(given: Any) -> list[Any]:
    """Several as a list; one text or path as a list of it, so that nobody reads it letter by letter."""
    return [given] if isinstance(given, str | PathLike) else list(given)


def nearest(name: str, legal: Iterable[str]) -> str:
    """What to write instead of an unknown name: the nearest legal one, then all of them."""
    legal = list(legal)
    near = get_close_matches(name, legal, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known are {', '.join(legal)}"


def split_spec(
    kind: str, text: str, known: Mapping[str, Known], settings_of: Callable[[Known], Iterable[str]]
) -> tuple[str, dict[str, str]]:
    """The name in `NAME:key=value,...` and its settings, still text; `kind` is what errors call it, such as "task".

    Raises ValueError for an unknown name or key (with the nearest known one) and as `split_pairs`.
    """
    name, _, rest = (part.strip() for part in text.partition(":"))
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}: {nearest(name, known)}")
    return name, split_pairs(f"{kind} {name}", rest.split(","), list(settings_of(known[name])))


def split_pairs(owner: str, items: Iterable[str], legal: Sequence[str]) -> dict[str, str]:
    """The settings `key=value` of `owner`, still text; empty items are passed over.

    Raises ValueError for an item without "=", a key that is not legal (with the nearest), and one that is given twice.
    """
    settings = dict[str, str]()
    for item in filter(None, (part.strip() for part in items)):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            ended = [f": a comma ends the value of {given}, rename or link a path that has one" for given in settings]
            raise ValueError(f"{item!r} is no setting of {owner}, which are key=value{''.join(ended[-1:])}")
        if key not in legal:
            raise ValueError(f"{owner} has no setting {key!r}: {nearest(key, legal)}")
        if key in settings:
            raise ValueError(f"{owner} is given {key} twice: give it once")
        settings[key] = value
    return settings


def convert(key: str, text: str, kind: Any) -> Any:
    """The value of a setting from its text, in the type `kind` that its annotation names.

    `none` where None is legal, true or false, numbers, one of a Literal's words. Several values are parted by `|` or a
    comma; a pair of whole numbers may be written 2-6, or 4 for 4-4. A class with a `parse` method reads its own text.
    Raises ValueError, with the setting's name, for what does not fit.
    """
    if kind is inspect.Parameter.empty:
        raise ValueError(f"{key} has no type: annotate it in the sampler's function with int, float, bool or str")
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if NoneType in get_args(kind):
        if text.lower() == "none":
            return None
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    if kind is bool:
        return one_of(key, text.lower(), ("true", "false")) == "true"
    if get_origin(kind) is Literal:
        return one_of(key, text, get_args(kind))
    if get_origin(kind) is tuple:
        return _several(key, text, get_args(kind))
    if hasattr(kind, "parse"):
        return kind.parse(text)
    try:
        return kind(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{key}={text!r} is not a {'whole ' * (kind is int)}number") from None


def one_of(key: str, value: str, legal: Iterable[str]) -> str:
    """The value of a setting that is a word. ValueError where it is not one of the legal words."""
    if value not in legal:
        raise ValueError(f"{key}={value!r} is unknown: choose one of {', '.join(legal)}")
    return value


def _several(key: str, text: str, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if kinds == (int, int):
        return _pair(key, text)
    parts = [part.strip() for part in text.replace("|", ",").split(",")]
    kinds = kinds[:1] * len(parts) if kinds[-1] is Ellipsis else kinds
    if len(parts) != len(kinds):
        raise ValueError(f"{key}={text!r} is not {len(kinds)} values with commas between them")
    return tuple(convert(key, part, kind) for part, kind in zip(parts, kinds, strict=True))


def _pair(key: str, text: str) -> tuple[int, int]:
    """Two whole numbers: 2-6, or with a comma; 4 is 4-4."""
    low, comma, high = text.replace("|", ",").partition(",")
    if not comma:
        low, dash, high = text.partition("-")
        high = high if dash else low
    try:
        return int(low), int(high)
    except ValueError:
        raise ValueError(f"{key}={text!r} is not two whole numbers such as 2-6") from None


def written(value: Any) -> str:
    """A value as `convert` reads it."""
    if isinstance(value, tuple):
        return ",".join(written(one) for one in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function: the settings of a sampler's recipe."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}


def defaults(kind: type[Any]) -> dict[str, Any]:
    """What --set can change in a dataclass and the defaults: its own settings, then those of its dataclass fields."""
    own: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for field in fields(kind):
        value = _default(field)
        if is_dataclass(value) and not isinstance(value, type):
            inner |= {part.name: getattr(value, part.name) for part in fields(value)}
        elif value is not MISSING:
            own[field.name] = value
    return own | {name: value for name, value in inner.items() if name not in own}


def read_values(kind: type[Any], items: Sequence[str]) -> dict[str, Any]:
    """`key=value` settings of a dataclass or of its dataclass fields, in the types of their fields.

    Raises ValueError as `split_pairs` and `convert`.
    """
    kinds = _kinds(kind)
    texts = split_pairs(kind.name, items, list(defaults(kind)))
    return {key: convert(key, text, kinds[key]) for key, text in texts.items()}


def with_settings(part: Any, items: Sequence[str]) -> Any:
    """A dataclass with `key=value` settings changed. ValueError as `read_values`."""
    return changed(part, read_values(type(part), items))


def changed(part: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass with other values, of its own fields or of those of its dataclass fields.

    Raises ValueError for an unknown name, with the nearest.
    """
    legal = {field.name for field in fields(part)} | defaults(type(part)).keys()
    for name in values:
        if name not in legal:
            raise ValueError(f"{part.name} has no setting {name!r}: {nearest(name, sorted(legal))}")
    own = {field.name for field in fields(part)}
    new = {name: value for name, value in values.items() if name in own}
    for field in fields(part):
        inner = new.get(field.name, getattr(part, field.name))
        if is_dataclass(inner):
            names = {one.name for one in fields(inner)} - own
            more = {name: value for name, value in values.items() if name in names}
            new |= {field.name: replace(inner, **more)} if more else {}  # type: ignore[type-var]
    return replace(part, **new)


def _default(field: "Field[Any]") -> Any:
    """The default of a dataclass's field; MISSING where it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _kinds(kind: type[Any]) -> dict[str, Any]:
    """The type of every setting, those of the dataclass fields behind its own."""
    inner = {one.name: one.type for part in map(_default, fields(kind)) if is_dataclass(part) for one in fields(part)}
    return inner | {field.name: field.type for field in fields(kind)}
