"""Llama's layout and its kin's (Qwen2, Qwen3): causal as published, or bidirectional after a conversion.

model_type llama, qwen2, qwen3: causal, unless config.json says `is_causal: false`, transformers' own setting. Converted
or not, a column's token is predicted at the column before (DiffuLLaMA, Gong et al. 2025; Open-dCoder), unless it says
`logits_shift: 0`, a setting of ours: transformers passes it over, and gives the same logits either way.
model_type a2d-llama, a2d-qwen2, a2d-qwen3: dLLM's conversions (github.com/ZHZisZZ/dllm); a column answers for itself.
"""

from functools import partial
from typing import Any

from unveil.checkpoints.families import (
    COLUMNS,
    LAYERS,
    WORDS,
    Family,
    ends,
    head_width,
    named_mask,
    size,
    written_ends,
)
from unveil.fields import Fields, shown
from unveil.models.attention import Bidirectional, Causal, Llama3, Scaling, Unscaled
from unveil.models.transformer import Architecture

KIN = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}  # model_type -> how transformers' classes begin
CONVERTED = "a2d-"  # how dLLM's model_types begin


def rope_of(config: Fields) -> tuple[float, Scaling]:
    """RoPE's base and scaling: rope_theta and rope_scaling in older files, rope_parameters in newer ones.

    ValueError for a scaling that is not known here.
    """
    older, newer = config.inner("rope_scaling"), config.inner("rope_parameters")
    rope = older if older.values else newer
    base: float = rope.number("rope_theta", config.number("rope_theta", 10000.0, least=1.0), least=1.0)
    kind = rope.text("rope_type", None) or rope.text("type", None) or "default"
    if nested := [name for name, value in rope.values.items() if isinstance(value, dict)]:
        raise rope.refusal(nested[0], "a scaling for some of the layers, which is not supported")
    if kind == "default" and not (rope.has("rope_type") or rope.has("type")) and rope.has("factor"):
        raise rope.refusal("factor", "given without a rope_type")
    if kind == "default":
        return base, Unscaled()
    if kind != "llama3":
        raise ValueError(f"config.json: rope_type={shown(kind)} is not supported: give a checkpoint without it")
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if low == high:
        raise rope.refusal("high_freq_factor", "not above low_freq_factor")
    return base, Llama3(
        factor=rope.number("factor", least=1e-6),
        low=low,
        high=high,
        original=size(rope, "original_max_position_embeddings", most=COLUMNS),
    )


def _read(config: Fields) -> Architecture:
    model_type = config.text("model_type")
    kind = model_type.removeprefix(CONVERTED)
    converted = kind != model_type
    causal = not converted and config.flag("is_causal", True)
    heads = size(config, "num_attention_heads")
    wide = size(config, "head_dim", 128 if kind == "qwen3" else None)
    biased = config.flag("attention_bias", False)
    base, scaling = rope_of(config)
    return Architecture(
        vocabulary=size(config, "vocab_size", most=WORDS),
        width=size(config, "hidden_size"),
        layers=size(config, "num_hidden_layers", most=LAYERS),
        heads=heads,
        kv_heads=size(config, "num_key_value_heads", heads),
        head_width=wide or head_width(config, "hidden_size", "num_attention_heads"),
        feed_width=size(config, "intermediate_size"),
        mask_id=None if causal else named_mask(config),
        end_ids=ends(config),
        max_columns=size(config, "max_position_embeddings", 2048 if kind == "llama" else 32768, most=COLUMNS),
        norm_eps=config.number("rms_norm_eps", 1e-6, most=1.0),
        rope_base=base,
        rope_scaling=scaling,
        qkv_bias=kind == "qwen2" or biased,
        output_bias=kind != "qwen2" and biased,
        feed_bias=kind == "llama" and config.flag("mlp_bias", False),
        qk_norm=kind == "qwen3",
        tied=config.flag("tie_word_embeddings", False),
        shift=0 if converted else config.whole("logits_shift", 1, most=1),
        rule=Causal() if causal else Bidirectional(),
    )


def _write(model_type: str, a: Architecture) -> dict[str, Any]:
    kind = model_type.removeprefix(CONVERTED)
    config: dict[str, Any] = {
        "architectures": [f"{KIN[kind]}ForCausalLM" if kind == model_type else f"A2D{KIN[kind]}LMHeadModel"],
        "model_type": model_type,
        "head_dim": a.head_width,
        **written_sizes(a),
    }
    if kind != "qwen2":
        config["attention_bias"] = a.output_bias
    if kind == "llama":
        config["mlp_bias"] = a.feed_bias
    if not isinstance(a.rule, Causal):
        config |= {"is_causal": False, "mask_token_id": a.mask_id}
    if kind == model_type and a.shift != 1:
        config["logits_shift"] = a.shift
    return config


def written_sizes(a: Architecture) -> dict[str, Any]:
    """The settings that Llama, its kin and Dream call by the same names."""
    return {
        "vocab_size": a.vocabulary,
        "hidden_size": a.width,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "intermediate_size": a.feed_width,
        "max_position_embeddings": a.max_columns,
        "rms_norm_eps": a.norm_eps,
        "rope_theta": a.rope_base,
        "rope_scaling": _written_scaling(a.rope_scaling),
        "tie_word_embeddings": a.tied,
        "eos_token_id": written_ends(a.end_ids),
        "attention_dropout": 0.0,
        **CONSTANTS,
    }


def _written_scaling(scaling: Scaling) -> dict[str, Any] | None:
    if not isinstance(scaling, Llama3):
        return None
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low,
        "high_freq_factor": scaling.high,
        "original_max_position_embeddings": scaling.original,
    }


CONSTANTS = {"hidden_act": "silu", "use_sliding_window": False}
OUTER = {"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
LAYER = "model.layers.{}"
INNER = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "output": "self_attn.o_proj",
    "feed_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def _family(model_type: str) -> Family:
    return Family(
        model_type=model_type,
        outer=OUTER,
        layer=LAYER,
        inner=INNER,
        read=_read,
        write=partial(_write, model_type),
        constants=CONSTANTS,
        attentions=("bidirectional",) if model_type.startswith(CONVERTED) else ("causal", "bidirectional"),
    )


LLAMA = _family(model_type="llama")
QWEN2 = _family(model_type="qwen2")
QWEN3 = _family(model_type="qwen3")
A2D_LLAMA = _family(model_type="a2d-llama")
A2D_QWEN2 = _family(model_type="a2d-qwen2")
A2D_QWEN3 = _family(model_type="a2d-qwen3")
