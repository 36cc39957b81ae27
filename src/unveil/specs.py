"""Names with settings as text, `NAME:key=value,...`: how samplers and tasks are written.

Commas part settings, and nothing quotes them: a path that has one must be renamed or linked.
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

Known = TypeVar("Known")


def read_spec(
    kind: str, text: str, known: Mapping[str, Known], settings_of: Callable[[Known], Iterable[str]]
) -> tuple[str, dict[str, str]]:
    """The name and the settings, still text; `kind` is what errors call it, "task" or "sampler".

    Raises ValueError for an unknown name or key, with the nearest known one, and for a key given twice.
    """
    name, _, rest = (part.strip() for part in text.partition(":"))
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}: {nearest(name, known)}")
    legal, settings = list(settings_of(known[name])), dict[str, str]()
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            ended = [f": a comma ends the value of {given}, rename or link a path that has one" for given in settings]
            raise ValueError(f"{item!r} in {kind} {text!r} is not key=value{''.join(ended[-1:])}")
        if key not in legal:
            raise ValueError(f"{kind} {name} has no setting {key!r}: {nearest(key, legal)}")
        if key in settings:
            raise ValueError(f"{kind} {text!r} gives {key} twice: give it once")
        settings[key] = value
    return name, settings


def nearest(name: str, legal: Iterable[str]) -> str:
    """What to write instead of an unknown name."""
    near = get_close_matches(name, list(legal), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known are {', '.join(legal)}"
