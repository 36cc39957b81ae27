"""Settings of recipes as text: `--set name=value`."""

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from types import NoneType
from typing import Any, get_args, get_origin

from unveil.specs import nearest


def defaults(kind: type[Any]) -> dict[str, Any]:
    """What --set can change, the recipe's own settings before those of its parts; with the defaults."""
    found: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for field in fields(kind):
        value = field.default if field.default_factory is MISSING else field.default_factory()
        if is_dataclass(value) and not isinstance(value, type):
            inner |= {part.name: getattr(value, part.name) for part in fields(value)}
        elif value is not MISSING:
            found[field.name] = value
    return found | {name: value for name, value in inner.items() if name not in found}


def with_settings(recipe: Any, settings: Sequence[str]) -> Any:
    """The recipe with `name=value` settings, of its own or of its parts, in the types of their fields.

    ValueError for an unknown name (with the nearest), one given twice, or a value that does not fit.
    """
    legal = defaults(type(recipe))
    own = {field.name: field.type for field in fields(recipe)}
    parts = {name: getattr(recipe, name) for name in own.keys() - legal.keys() if is_dataclass(getattr(recipe, name))}
    inner = {field.name: (name, field.type) for name, part in parts.items() for field in fields(part)}
    kinds = {name: kind for name, (_, kind) in inner.items()} | own
    values: dict[str, Any] = {}
    for item in settings:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not equals:
            raise ValueError(f"--set {item!r} is not name=value")
        if name not in legal:
            raise ValueError(f"{recipe.name} has no setting {name!r}: {nearest(name, legal)}")
        if name in values:
            raise ValueError(f"--set gives {name} twice: give it once")
        values[name] = convert(name, text, kinds[name])
    changed = {name: x for name, x in values.items() if name in own}
    for name, part in parts.items():
        more = {key: x for key, x in values.items() if key not in own and inner[key][0] == name}
        changed[name] = replace(part, **more)
    return replace(recipe, **changed)


def convert(name: str, text: str, kind: Any) -> Any:
    """A value from its text; `none`, true or false, numbers, several with commas. ValueError if it does not fit."""
    if NoneType in get_args(kind):
        if text.lower() == "none":
            return None
        (kind,) = (x for x in get_args(kind) if x is not NoneType)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name}={text!r} is neither true nor false")
        return text.lower() == "true"
    if get_origin(kind) is tuple:
        parts, kinds = text.split(","), get_args(kind)
        kinds = kinds[:1] * len(parts) if kinds[-1] is Ellipsis else kinds
        if len(parts) != len(kinds):
            raise ValueError(f"{name}={text!r} is not {len(kinds)} values with commas between them")
        return tuple(convert(name, part.strip(), x) for part, x in zip(parts, kinds, strict=True))
    if hasattr(kind, "parse"):
        return kind.parse(text)
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not a {'whole ' * (kind is int)}number") from None


def written(value: Any) -> str:
    """A value as `convert` reads it."""
    if isinstance(value, tuple):
        return ",".join(written(x) for x in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
