"""A family of published checkpoints: how its config.json reads and what its tensors are called."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from unveil.models.transformer import Architecture

# Our name of each tensor, without its layer; families say what they call it.
PARTS = ("attention_norm", "query", "key", "value", "output", "feed_norm", "gate", "up", "down")


@dataclass(frozen=True, kw_only=True)
class Family:
    """One published layout, both ways."""

    model_type: str
    outer: dict[str, str]  # embed, norm, head -> published names
    layer: str  # published prefix of a layer, with {}
    inner: dict[str, str]  # the nine parts -> published names
    read: Callable[[dict[str, Any]], Architecture]
    write: Callable[[Architecture], dict[str, Any]]
    constants: dict[str, Any] = field(default_factory=dict)  # settings that must have this value if they are there

    def published(self, name: str) -> str:
        """Our tensor name as the published layout's: embed.weight, layers.3.query.bias, ..."""
        first, _, rest = name.partition(".")
        if first != "layers":
            return f"{self.outer[first]}.{rest}"
        number, part, kind = rest.split(".")
        return f"{self.layer.format(number)}.{self.inner[part]}.{kind}"

    def check(self, config: dict[str, Any]) -> None:
        """Raise ValueError for a setting that this transformer does not have."""
        for name, only in self.constants.items():
            value = config.get(name, only)
            if isinstance(value, dict) and value.get("rope_type", value.get("type")) == "default":
                value = None
            if value != only and not (value in (None, False) and only in (None, False)):
                raise ValueError(f"config.json: {name}={value!r} is not supported for {self.model_type}, only {only!r}")


def required(config: dict[str, Any], name: str) -> Any:
    """A setting without a default; ValueError where it is missing."""
    if config.get(name) is None:
        raise ValueError(f"config.json lacks {name!r}: the checkpoint's layout cannot be known without it")
    return config[name]


def optional(config: dict[str, Any], name: str, default: Any) -> Any:
    """A setting that may be missing or null."""
    value = config.get(name)
    return default if value is None else value
