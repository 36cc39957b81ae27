"""LLaDA's layout (model_type llada): LLaDAModelLM of GSAI-ML/LLaDA-8B-Base, -Instruct and LLaDA-1.5."""

from typing import Any

from unveil.checkpoints.families import COLUMNS, LAYERS, WORDS, Family, ends, head_width, size, written_ends
from unveil.checkpoints.families.llama import rope_of
from unveil.fields import Fields
from unveil.models.attention import Unscaled
from unveil.models.transformer import Architecture


def _read(config: Fields) -> Architecture:
    width, heads = size(config, "d_model"), size(config, "n_heads")
    biased, tied = config.flag("include_bias", False), config.flag("weight_tying", False)
    alone = config.flag("multi_query_attention", False)
    base, scaling = rope_of(config)
    if not isinstance(scaling, Unscaled):
        raise config.refusal("rope_scaling", "not supported for llada, only null")
    return Architecture(
        vocabulary=size(config, "embedding_size", None, most=WORDS) or size(config, "vocab_size", most=WORDS),
        width=width,
        layers=size(config, "n_layers", most=LAYERS),
        heads=heads,
        kv_heads=size(config, "n_kv_heads", 1 if alone else heads),
        head_width=head_width(config, "d_model", "n_heads"),
        feed_width=size(config, "mlp_hidden_size", None) or size(config, "mlp_ratio", 4) * width,
        mask_id=config.whole("mask_token_id", 126336),
        end_ids=ends(config),
        max_columns=size(config, "max_sequence_length", 4096, most=COLUMNS),
        norm_eps=config.number("rms_norm_eps", 1e-5, most=1.0),
        rope_base=base,
        qkv_bias=biased or config.flag("include_qkv_bias", False),
        output_bias=biased,
        feed_bias=biased,
        head_bias=biased and not tied,
        tied=tied,
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
        "attention_dropout": 0.0,
        "embedding_dropout": 0.0,
        "residual_dropout": 0.0,
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
