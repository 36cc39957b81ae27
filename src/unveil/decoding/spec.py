"""Samplers by name: `llada:steps=32,block=16` is recipes.llada(new_tokens, steps=32, block=16)."""

from itertools import product
from typing import Any

from unveil import catalogue
from unveil.legal import SAMPLERS, check
from unveil.policies.store import locate_policy, policy_mark
from unveil.sampling.sampler import Sampler
from unveil.settings import convert, keywords, split_spec


def parse_sampler(text: str, new_tokens: int) -> Sampler:
    """The sampler that `NAME:key=value,...` names, for so many new tokens.

    Raises ValueError for an unknown name or key (with the nearest known one), for values of the wrong type, and for
    settings that the recipe refuses (a policy that does not load, for example).
    """
    name, settings = read_sampler(text)
    sampler: Sampler = catalogue.samplers()[name].load()(new_tokens, **settings)
    return sampler


def read_sampler(text: str) -> tuple[str, dict[str, Any]]:
    """The recipe's name and its settings, checked against its signature but not built."""
    name, colon, rest = text.partition(":")
    known = catalogue.samplers()
    name, texts = split_spec("sampler", name.replace("-", "_") + colon + rest, known, lambda entry: entry.settings)
    legal = keywords(known[name].load())
    settings = {key: convert(key, value, legal[key].annotation) for key, value in texts.items()}
    check(SAMPLERS, **settings)
    return name, settings


def mark(text: str) -> str:
    """What a sampler's results belong to: its spec, and the contents of the policy that it names.

    ValueError as `read_sampler`, and for a policy that is not there.
    """
    name, settings = read_sampler(text)
    if name != "policy":
        return text
    folder = locate_policy(path=settings.get("path"), name=settings.get("name"))
    return f"{text} {policy_mark(folder)}"


def expand(spec: str) -> list[str]:
    """The samplers of a grid: `NAME:a=1|2,b=3|4` is four, and b varies fastest.

    ValueError for an alternative without text. Names and values are not checked here.
    """
    name, items = grid_items(spec)
    texts = [[f"{key}={value}" if equals else key for value in values] for key, equals, values in items]
    return list(dict.fromkeys(name + (":" if items else "") + ",".join(chosen) for chosen in product(*texts)))


def grid_items(spec: str) -> tuple[str, list[tuple[str, str, list[str]]]]:
    """The name, and (key, "=", alternatives) of each setting."""
    name, _, rest = spec.partition(":")
    items = []
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, text = (part.strip() for part in item.partition("="))
        values = [value.strip() for value in text.split("|")]
        if equals and not all(values):
            raise ValueError(f"{item!r} in sampler {spec!r} has an empty value: write {key}=VALUE or {key}=VALUE|VALUE")
        items.append((key, equals, values))
    return name.strip(), items
