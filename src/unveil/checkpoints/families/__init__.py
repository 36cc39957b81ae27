"""The published layouts of checkpoints, one file a layout and its kin; `unveil.catalogue` finds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from unveil import catalogue
from unveil.fields import ABSENT, Fields, is_whole, shown
from unveil.models.transformer import Architecture

# settings that change what a model computes and that this transformer lacks -> values with which they change nothing
FOREIGN: dict[str, tuple[Any, ...]] = {
    "block_size": (), "bd_size": (), "clip_qkv": (), "attention_chunk_size": (), "query_pre_attn_scalar": (),
    "attn_logit_softcapping": (), "final_logit_softcapping": (), "logit_softcapping": (), "no_rope_layers": ([],),
    "attention_multiplier": (), "embedding_multiplier": (1,), "residual_multiplier": (1,), "logits_scaling": (1,),
    "logit_scale": (1,), "partial_rotary_factor": (1,), "rotary_pct": (1,), "use_mrope": (), "qk_layernorm": (),
    "use_qk_norm": (), "qk_norm": (), "scale_emb": (1,),
}  # fmt: skip
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "expert_intermediate_size", "moe_intermediate_size")
LAYERS, COLUMNS, WORDS = 1 << 10, 1 << 24, 1 << 24  # the most of a model, of its context and of its vocabulary
DEPTHS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "encoder_layers", "decoder_layers")
WIDTHS = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "max_position_embeddings")
QUANTISED = ("quantization_config", "compression_config")
REAL = "give weights in float32, bfloat16 or float16, which --bits 8 or 4 can round here"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One published layout, both ways."""

    model_type: str
    outer: dict[str, str]  # embed, norm, head -> published names
    layer: str  # published prefix of a layer, with {}
    inner: dict[str, str]  # what a Layer calls its parts -> published names
    read: Callable[[Fields], Architecture]
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
        self._check_kind(config)
        for name, only in self.constants.items():
            value = config.get(name, only)
            if value != only and not (value in (None, False) and only in (None, False)):
                raise ValueError(
                    f"config.json: {name}={shown(value)} is not supported for {self.model_type}, only {only!r}"
                )
        for name, idle in FOREIGN.items():
            value = config.get(name)
            if value is not None and value is not False and (value is True or value not in idle):
                raise self._unsupported(name, value)
        self._check_attention(config)

    def _check_kind(self, config: dict[str, Any]) -> None:
        """Dense, and its weights as they were trained."""
        experts = [name for name in EXPERTS if config.get(name) not in (None, False, 0, 1)]
        given = config.get("architectures")
        named = [one for one in given if "moe" in str(one).lower()] if isinstance(given, list) else []
        if experts or named:
            kind = "LLaDA-MoE" if self.model_type == "llada" else f"a {self.model_type} model with experts"
            what = f"architectures={shown(named)}" if named else f"{experts[0]}={shown(config[experts[0]])}"
            raise ValueError(f"config.json: {what}: {kind} is not supported, only dense models: give one of these")
        for name in QUANTISED:
            if config.get(name) not in (None, False, {}):
                way = config[name].get("quant_method", config[name]) if isinstance(config[name], dict) else config[name]
                raise ValueError(f"config.json: {name} ({shown(way)}) is not supported: {REAL}")

    def _check_attention(self, config: dict[str, Any]) -> None:
        """Every column sees all that its rule lets it see."""
        window, longest = config.get("sliding_window"), config.get("max_position_embeddings")
        if window not in (None, False) and config.get("use_sliding_window") is not False:
            if not (isinstance(longest, int) and is_whole(window, longest)):
                raise self._unsupported("sliding_window", window)
        kinds = config.get("layer_types")
        if isinstance(kinds, list) and (odd := [one for one in kinds if one != "full_attention"]):
            raise self._unsupported("layer_types", odd)
        converted = self.model_type.startswith("a2d-")  # from causal models, whose settings may be left in the file
        if config.get("is_causal") not in (None, False) and "causal" not in self.attentions and not converted:
            raise self._unsupported("is_causal", config["is_causal"])

    def _unsupported(self, name: str, value: Any) -> ValueError:
        return ValueError(
            f"config.json: {name}={shown(value)} is not supported for {self.model_type}, and without it the model "
            "would be another one: give a checkpoint that does not need it"
        )

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
        return "causal" in self.attentions and bool(settings_of(config).flag("is_causal", True))


def settings_of(config: Mapping[str, Any]) -> Fields:
    """The settings of a config.json, to be read one by one."""
    return Fields("config.json", config)


def ends(fields: Fields) -> tuple[int, ...]:
    """eos_token_id: one, several or none; ValueError, naming the file, for what is no id."""
    given = fields.values.get("eos_token_id")
    ids = [] if given is None else given if isinstance(given, list) else [given]
    if not all(map(is_whole, ids)):
        raise fields.refusal("eos_token_id", "neither a token's id nor a list of ids")
    return tuple(ids)


def named_mask(fields: Fields) -> int:
    """mask_token_id; ValueError where it is missing."""
    if not fields.has("mask_token_id"):
        raise ValueError(
            "config.json lacks 'mask_token_id', which a bidirectional model needs: name the id of its mask token there"
        )
    return fields.whole("mask_token_id")


def check_apart(mask_id: int | None, end_ids: Sequence[int], file: str) -> None:
    """ValueError for a mask that is also an end: what is still to be written could not be told from an end."""
    if mask_id in end_ids:
        raise ValueError(
            f"{file}: eos_token_id={mask_id} is also the mask token (mask_token_id): rows would end where nothing is "
            "written yet; give the mask a token of its own"
        )


def head_width(fields: Fields, width: str, heads: str) -> int:
    """Width over heads; ValueError where that is no whole number."""
    whole, count = size(fields, width), size(fields, heads)
    if whole % count:
        raise fields.refusal(heads, f"no divisor of {width}={whole}")
    return whole // count


def size(fields: Fields, name: str, default: Any = ABSENT, *, most: int = 1 << 20) -> Any:
    """A size of a model: at least 1, at most what any model has."""
    return fields.whole(name, default, least=1, most=most)


def check_sizes(fields: Fields) -> None:
    """ValueError for sizes that no model has, under the names that most layouts of others give them."""
    for name in DEPTHS:
        fields.whole(name, 0, most=LAYERS)
    for name in WIDTHS:
        fields.whole(name, 0, most=WORDS)


def written_ends(ids: Sequence[int]) -> int | list[int] | None:
    """What `ends` reads back: one id, several, or none."""
    return ids[0] if len(ids) == 1 else list(ids) or None


@cache
def families() -> Mapping[str, Family]:
    """Every layout by its model_type."""
    return MappingProxyType({name: entry.load() for name, entry in catalogue.layouts().items()})
