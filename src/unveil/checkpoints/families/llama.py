"""Llama's layout and its kin's (Qwen2, Qwen3): causal as published, or bidirectional after a conversion.

model_type llama, qwen2, qwen3: causal, unless config.json says `is_causal: false`, transformers' own setting. Converted
or not, a column's token is predicted at the column before (DiffuLLaMA, Gong et al. 2025; Open-dCoder), unless it says
`logits_shift: 0`, a setting of ours: transformers passes it over, and gives the same logits either way.
model_type a2d-llama, a2d-qwen2, a2d-qwen3: dLLM's conversions (github.com/ZHZisZZ/dllm); a column answers for itself.
"""

from functools import partial
from typing import Any

from unveil.checkpoints.family import Family, ends, named_mask, optional, required, written_ends
from unveil.models.attention import Bidirectional, Causal
from unveil.models.rope import Llama3, Scaling, Unscaled
from unveil.models.transformer import Architecture

KIN = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}  # model_type -> how transformers' classes begin
CONVERTED = "a2d-"  # how dLLM's model_types begin


def rope_of(config: dict[str, Any]) -> tuple[float, Scaling]:
    """RoPE's base and scaling: rope_theta and rope_scaling in older files, rope_parameters in newer ones.

    ValueError for a scaling that is not known here.
    """
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    base = rope.get("rope_theta") or config.get("rope_theta") or 10000.0
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return base, Unscaled()
    if kind != "llama3":
        raise ValueError(f"config.json: rope_type={kind!r} is not supported, only 'default' and 'llama3'")
    return base, Llama3(
        factor=required(rope, "factor"),
        low=required(rope, "low_freq_factor"),
        high=required(rope, "high_freq_factor"),
        original=required(rope, "original_max_position_embeddings"),
    )


def _read(config: dict[str, Any]) -> Architecture:
    kind = config["model_type"].removeprefix(CONVERTED)
    converted = kind != config["model_type"]
    causal = not converted and optional(config, "is_causal", True)
    vocabulary, width, heads = (required(config, n) for n in ("vocab_size", "hidden_size", "num_attention_heads"))
    biased = bool(config.get("attention_bias", False))
    base, scaling = rope_of(config)
    return Architecture(
        vocabulary=vocabulary,
        width=width,
        layers=required(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or (128 if kind == "qwen3" else width // heads),
        feed_width=required(config, "intermediate_size"),
        mask_id=None if causal else named_mask(config),
        end_ids=ends(config),
        max_columns=optional(config, "max_position_embeddings", 2048 if kind == "llama" else 32768),
        norm_eps=optional(config, "rms_norm_eps", 1e-6),
        rope_base=base,
        rope_scaling=scaling,
        qkv_bias=kind == "qwen2" or biased,
        output_bias=kind != "qwen2" and biased,
        feed_bias=kind == "llama" and bool(config.get("mlp_bias", False)),
        qk_norm=kind == "qwen3",
        tied=bool(config.get("tie_word_embeddings", False)),
        shift=0 if converted else optional(config, "logits_shift", 1),
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
