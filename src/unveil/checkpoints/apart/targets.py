"""Which layers an adapter changes, and with which rank and scale: as PEFT finds them, regular expressions included."""

import re
from typing import Any


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """For each of `names` that is aimed at its rank and lora_alpha; `failed` for what is no regular expression."""
    config = question["config"]
    try:
        found = {
            name: [_number(config["rank_pattern"], name, config["r"]), _number(config["alpha_pattern"], name, alpha)]
            for alpha in [config["lora_alpha"]]
            for name in question["names"]
            if not _excluded(config["exclude_modules"], name) and _aimed(config, name)
        }
    except (re.error, RecursionError, OverflowError) as error:
        return {"failed": str(error)}
    return {"found": found}


def _excluded(given: str | list[str] | None, name: str) -> bool:
    if isinstance(given, str):
        return bool(given) and re.fullmatch(given, name) is not None
    return any(name == one or name.endswith(f".{one}") for one in given or ())


def _aimed(config: dict[str, Any], name: str) -> bool:
    given = config["target_modules"]
    if isinstance(given, str):
        return re.fullmatch(given, name) is not None
    if name in given:
        return True
    if not any(name.endswith(f".{one}") for one in given):
        return False
    only = config["layers_to_transform"]
    if only is None or only == []:
        return True
    patterns = config["layers_pattern"] or [r"[^.]*"]
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if (match := re.match(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.", name)) is not None:
            return int(match["idx"]) in ([only] if isinstance(only, int) else only)
    return False


def _number(some: dict[str, Any], name: str, otherwise: Any) -> Any:
    for pattern, value in some.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return otherwise
