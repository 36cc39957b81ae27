"""A family of published checkpoints: how its config.json reads and what its tensors are called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from unveil.models.transformer import Architecture


@dataclass(frozen=True, kw_only=True)
class Family:
    """One published layout, both ways."""

    model_type: str
    outer: dict[str, str]  # embed, norm, head -> published names
    layer: str  # published prefix of a layer, with {}
    inner: dict[str, str]  # what a Layer calls its parts -> published names
    read: Callable[[dict[str, Any]], Architecture]
    write: Callable[[Architecture], dict[str, Any]]
    constants: dict[str, Any] = field(default_factory=dict)  # settings that must have this value if they are there
    attentions: tuple[str, ...] = ("bidirectional",)  # causal, bidirectional: what its transformer may be run with

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
            if value != only and not (value in (None, False) and only in (None, False)):
                raise ValueError(f"config.json: {name}={value!r} is not supported for {self.model_type}, only {only!r}")

    def attending(self, config: dict[str, Any], attention: str | None) -> dict[str, Any]:
        """The settings with another attention (None: as they are). ValueError where the layout has no such model."""
        if attention is None:
            return config
        if attention not in self.attentions:
            legal = " or ".join(self.attentions)
            raise ValueError(f"attention={attention!r} is not known for {self.model_type}: use {legal}, or none")
        return config | {"is_causal": attention == "causal"}

    def causal(self, config: dict[str, Any]) -> bool:
        """Whether the settings are those of a causal model, which needs no mask token."""
        return "causal" in self.attentions and bool(optional(config, "is_causal", True))


def required(config: dict[str, Any], name: str) -> Any:
    """A setting without a default; ValueError where it is missing."""
    if config.get(name) is None:
        raise ValueError(f"config.json lacks {name!r}: the checkpoint's layout cannot be known without it")
    return config[name]


def ends(config: dict[str, Any], file: str = "config.json") -> tuple[int, ...]:
    """eos_token_id: one, several or none; ValueError, naming the file, for what is no id."""
    given = config.get("eos_token_id")
    ids = [] if given is None else given if isinstance(given, list) else [given]
    if any(isinstance(one, bool) or not isinstance(one, int) for one in ids):
        raise ValueError(f"{file}: eos_token_id={given!r} is neither a token's id nor a list of ids: correct it")
    return tuple(ids)


def named_mask(config: dict[str, Any]) -> int:
    """mask_token_id; ValueError where it is missing."""
    if config.get("mask_token_id") is None:
        raise ValueError(
            "config.json lacks 'mask_token_id', which a bidirectional model needs: name the id of its mask token there"
        )
    return int(config["mask_token_id"])


def optional(config: dict[str, Any], name: str, default: Any) -> Any:
    """A setting that may be missing or null."""
    value = config.get(name)
    return default if value is None else value


def written_ends(ids: Sequence[int]) -> int | list[int] | None:
    """What `ends` reads back: one id, several, or none."""
    return ids[0] if len(ids) == 1 else list(ids) or None
