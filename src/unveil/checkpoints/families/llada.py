"""LLaDA's layout (model_type llada): LLaDAModelLM of GSAI-ML/LLaDA-8B-Base, -Instruct and LLaDA-1.5."""

from typing import Any

from unveil.checkpoints.family import Family, ends, optional, required, written_ends
from unveil.models.transformer import Architecture


def _read(config: dict[str, Any]) -> Architecture:
    width, heads = required(config, "d_model"), required(config, "n_heads")
    vocabulary = config.get("embedding_size") or required(config, "vocab_size")
    kv_heads = config.get("n_kv_heads") or (1 if config.get("multi_query_attention") else heads)
    return Architecture(
        vocabulary=vocabulary,
        width=width,
        layers=required(config, "n_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_width=width // heads,
        feed_width=config.get("mlp_hidden_size") or config.get("mlp_ratio", 4) * width,
        mask_id=optional(config, "mask_token_id", 126336),
        end_ids=ends(config),
        max_columns=optional(config, "max_sequence_length", 4096),
        norm_eps=optional(config, "rms_norm_eps", 1e-5),
        rope_base=optional(config, "rope_theta", 10000.0),
        qkv_bias=bool(config.get("include_bias") or config.get("include_qkv_bias")),
        output_bias=bool(config.get("include_bias", False)),
        feed_bias=bool(config.get("include_bias", False)),
        head_bias=bool(config.get("include_bias", False)) and not config.get("weight_tying", False),
        tied=bool(config.get("weight_tying", False)),
    )


def _write(a: Architecture) -> dict[str, Any]:
    return {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "d_model": a.width,
        "n_heads": a.heads,
        "n_kv_heads": a.kv_heads,
        "n_layers": a.layers,
        "mlp_hidden_size": a.feed_width,
        "mlp_ratio": 4,
        "vocab_size": a.vocabulary,
        "embedding_size": a.vocabulary,
        "max_sequence_length": a.max_columns,
        "rms_norm_eps": a.norm_eps,
        "rope_theta": a.rope_base,
        "include_qkv_bias": a.qkv_bias,
        "include_bias": a.output_bias,
        "weight_tying": a.tied,
        "rope_full_precision": True,
        "mask_token_id": a.mask_id,
        "eos_token_id": written_ends(a.end_ids),
        "pad_token_id": a.end_ids[0] if a.end_ids else None,
        "init_device": "cpu",
        "init_fn": "normal",
        "init_std": 0.02,
        "precision": None,
        **LLADA.constants,
    }


LLADA = Family(
    model_type="llada",
    outer={"embed": "model.transformer.wte", "norm": "model.transformer.ln_f", "head": "model.transformer.ff_out"},
    layer="model.transformer.blocks.{}",
    inner={
        "attention_norm": "attn_norm",
        "query": "q_proj",
        "key": "k_proj",
        "value": "v_proj",
        "output": "attn_out",
        "feed_norm": "ff_norm",
        "gate": "ff_proj",
        "up": "up_proj",
        "down": "ff_out",
    },
    read=_read,
    write=_write,
    constants={
        "activation_type": "silu",
        "block_type": "llama",
        "block_group_size": 1,
        "alibi": False,
        "rope": True,
        "attention_layer_norm": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "bias_for_layer_norm": False,
        "scale_logits": False,
    },
)
