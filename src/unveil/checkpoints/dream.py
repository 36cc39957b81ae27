"""Dream's layout (model_type Dream): Qwen2 with bias in q, k, v, grouped heads, and logits shifted by one column."""

from typing import Any

from unveil.checkpoints.family import Family, optional, required
from unveil.models.transformer import Architecture


def _read(config: dict[str, Any]) -> Architecture:
    width, heads = required(config, "hidden_size"), required(config, "num_attention_heads")
    eos, rope = config.get("eos_token_id"), config.get("rope_parameters") or {}
    return Architecture(
        vocabulary=required(config, "vocab_size"),
        width=width,
        layers=required(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or width // heads,
        feed_width=required(config, "intermediate_size"),
        mask_id=optional(config, "mask_token_id", 151666),
        end_ids=() if eos is None else tuple(eos) if isinstance(eos, list) else (eos,),
        max_columns=optional(config, "max_position_embeddings", 131072),
        norm_eps=optional(config, "rms_norm_eps", 1e-6),
        rope_base=config.get("rope_theta") or rope.get("rope_theta", 10000.0),
        qkv_bias=True,
        tied=bool(config.get("tie_word_embeddings", False)),
        shift=1,
    )


def _write(a: Architecture) -> dict[str, Any]:
    return {
        "architectures": ["DreamModel"],
        "model_type": "Dream",
        "vocab_size": a.vocabulary,
        "hidden_size": a.width,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "intermediate_size": a.feed_width,
        "max_position_embeddings": a.max_columns,
        "rms_norm_eps": a.norm_eps,
        "rope_theta": a.rope_base,
        "tie_word_embeddings": a.tied,
        "mask_token_id": a.mask_id,
        "eos_token_id": a.end_ids[0] if len(a.end_ids) == 1 else list(a.end_ids) or None,
        "pad_token_id": a.end_ids[0] if a.end_ids else None,
        "attention_dropout": 0.0,
        **DREAM.constants,
    }


DREAM = Family(
    model_type="Dream",
    outer={"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"},
    layer="model.layers.{}",
    inner={
        "attention_norm": "input_layernorm",
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "output": "self_attn.o_proj",
        "feed_norm": "post_attention_layernorm",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    },
    read=_read,
    write=_write,
    constants={"hidden_act": "silu", "rope_scaling": None, "use_sliding_window": False},
)
