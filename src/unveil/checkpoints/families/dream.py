"""Dream's layout (model_type Dream; also Dream-Coder and DiffuCoder): Qwen2, bidirectional, shifted by one column."""

from typing import Any

from unveil.checkpoints.families.llama import CONSTANTS, INNER, LAYER, OUTER, rope_of, written_sizes
from unveil.checkpoints.family import Family, ends, optional, required
from unveil.models.transformer import Architecture


def _read(config: dict[str, Any]) -> Architecture:
    width, heads = required(config, "hidden_size"), required(config, "num_attention_heads")
    base, scaling = rope_of(config)
    return Architecture(
        vocabulary=required(config, "vocab_size"),
        width=width,
        layers=required(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=width // heads,
        feed_width=required(config, "intermediate_size"),
        mask_id=optional(config, "mask_token_id", 151666),
        end_ids=ends(config),
        max_columns=optional(config, "max_position_embeddings", 131072),
        norm_eps=optional(config, "rms_norm_eps", 1e-6),
        rope_base=base,
        rope_scaling=scaling,
        qkv_bias=True,
        tied=bool(config.get("tie_word_embeddings", False)),
        shift=1,
    )


def _write(a: Architecture) -> dict[str, Any]:
    return {
        "architectures": ["DreamModel"],
        "model_type": "Dream",
        "mask_token_id": a.mask_id,
        "pad_token_id": a.end_ids[0] if a.end_ids else None,
        **written_sizes(a),
    }


DREAM = Family(
    model_type="Dream",
    outer=OUTER,
    layer=LAYER,
    inner=INNER,
    read=_read,
    write=_write,
    constants=CONSTANTS,
)
