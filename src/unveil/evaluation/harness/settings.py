"""How lm-eval's settings read: model arguments as a sampler, a task's generation arguments as masks and stop texts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from unveil.decoding.spec import SAMPLERS, recipe_settings, split_spec

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # lm-eval's names, by precedence
CHANCE = {"temperature": 0.0, "top_p": 1.0, "top_k": 0}  # what a recipe without the setting does
EMPTY: Mapping[str, Any] = {"num_beams": 1}  # settings that say nothing with this value


class Asked(NamedTuple):
    """What a task asks of a generation."""

    new_tokens: int  # masks
    stop: tuple[str, ...]


def sampler_spec(sampler: str | None, settings: Mapping[str, object], options: tuple[str, ...]) -> str | None:
    """The spec with the settings that stand beside it: "llada:steps=64" and {"block": 32} are llada:steps=64,block=32.

    None where nothing is given. ValueError for what is neither one of the `options` nor a setting of the sampler.
    """
    if sampler is None and not settings:
        return None
    name, _, inner = (sampler or "llada").partition(":")
    parts = [part for part in (inner, *(f"{key}={value}" for key, value in settings.items())) if part]
    spec = f"{name}:{','.join(parts)}" if parts else name
    try:
        split_spec(spec)
    except ValueError as error:
        known = ", ".join(options)
        raise ValueError(f"{error}; of the model's arguments all but {known} are settings of the sampler") from None
    return spec


def generation(settings: Mapping[str, Any], spec: str | None, default: int) -> Asked:
    """Masks and stop texts of a task's generation arguments; `default` masks where it names no number.

    The sampler decides how tokens are drawn. ValueError for a task that asks for another way, with the remedy, and for
    arguments that have no meaning here.
    """
    left = {key: value for key, value in settings.items() if value is not None}
    until = left.pop("until", [])
    lengths = [left.pop(name) for name in LENGTHS if name in left]
    drawn = {name: float(left.pop(name)) for name in CHANCE if name in left}
    if left.pop("do_sample", drawn.get("temperature", 0) > 0):
        _check_chance(drawn, spec or "llada")
    unknown = [f"{key}={value!r}" for key, value in left.items() if EMPTY.get(key) != value]
    if unknown:
        raise ValueError(f"generation with {', '.join(unknown)} is not known here: leave it out of the task")
    count = int(lengths[0]) if lengths else default
    if count < 1:
        raise ValueError(f"{LENGTHS[0]}={count} asks for no tokens: give at least 1")
    texts = [until] if isinstance(until, str) else until
    return Asked(count, tuple(text for text in texts if text))


def _check_chance(drawn: Mapping[str, float], spec: str) -> None:
    """ValueError unless the sampler draws as is asked."""
    name, given = split_spec(spec)
    defaults = {key: setting.default for key, setting in recipe_settings(SAMPLERS[name]).items()}
    own = {key: given.get(key, defaults.get(key, neutral)) for key, neutral in CHANCE.items()}
    if not own["temperature"] or any(own[key] != value for key, value in drawn.items()):
        wanted, has = (", ".join(f"{key}={value:g}" for key, value in some.items()) for some in (drawn, own))
        raise ValueError(
            f"the task asks for samples ({wanted or 'of any temperature'}) and the sampler {spec!r} has {has}: "
            "write the same into the sampler, or decode as it does with --gen_kwargs do_sample=False"
        )
