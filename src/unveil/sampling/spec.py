"""Samplers by name: `llada:steps=32,block=16` is recipes.llada(new_tokens, steps=32, block=16)."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, get_args

from unveil.sampling.recipes import RECIPES
from unveil.sampling.sampler import Sampler


def parse_sampler(text: str, new_tokens: int) -> Sampler:
    """The sampler that `NAME:key=value,...` names, for so many new tokens.

    Raises ValueError for an unknown name or key (with the nearest known one), for values of the wrong type, and for
    settings that the recipe refuses.
    """
    name, settings = split_spec(text)
    return RECIPES[name](new_tokens, **settings)


def split_spec(text: str) -> tuple[str, dict[str, Any]]:
    """The recipe's name and its settings, checked against its signature but not built."""
    name, _, rest = text.partition(":")
    name = name.strip().replace("-", "_")
    if name not in RECIPES:
        raise ValueError(f"unknown sampler {name!r}: {_nearest(name, RECIPES)}")
    settings: dict[str, Any] = {}
    legal = recipe_settings(RECIPES[name])
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise ValueError(f"{item!r} in sampler {text!r} is not key=value")
        if key not in legal:
            raise ValueError(f"sampler {name} has no setting {key!r}: {_nearest(key, legal)}")
        if key in settings:
            raise ValueError(f"sampler {text!r} gives {key} twice: give it once")
        settings[key] = _convert(key, value, legal[key].annotation)
    return name, settings


def recipe_settings(recipe: Callable[..., Sampler]) -> dict[str, inspect.Parameter]:
    """The keyword settings of a recipe."""
    parameters = inspect.signature(recipe).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _convert(key: str, value: str, annotation: Any) -> Any:
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if kind is not type(None)]
    if value.lower() == "none" and len(kinds) < len(get_args(annotation)):
        return None
    kind = kinds[0]
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise ValueError(f"{key}={value!r} is not a truth value: use true or false")
        return value.lower() == "true"
    try:
        return kind(value)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}[kind]
        raise ValueError(f"{key}={value!r} is not {wanted}") from None


def _nearest(name: str, legal: Any) -> str:
    near = get_close_matches(name, legal, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known are {', '.join(legal)}"
