"""Dream's layout (model_type Dream; also Dream-Coder and DiffuCoder): Qwen2, bidirectional, shifted by one column."""

from typing import Any

from unveil.checkpoints.families import COLUMNS, LAYERS, WORDS, Family, ends, head_width, size
from unveil.checkpoints.families.llama import CONSTANTS, INNER, LAYER, OUTER, rope_of, written_sizes
from unveil.fields import Fields
from unveil.models.transformer import Architecture


def _read(config: Fields) -> Architecture:
    heads = size(config, "num_attention_heads")
    base, scaling = rope_of(config)
    return Architecture(
        vocabulary=size(config, "vocab_size", most=WORDS),
        width=size(config, "hidden_size"),
        layers=size(config, "num_hidden_layers", most=LAYERS),
        heads=heads,
        kv_heads=size(config, "num_key_value_heads", heads),
        head_width=head_width(config, "hidden_size", "num_attention_heads"),
        feed_width=size(config, "intermediate_size"),
        mask_id=config.whole("mask_token_id", 151666),
        end_ids=ends(config),
        max_columns=size(config, "max_position_embeddings", 131072, most=COLUMNS),
        norm_eps=config.number("rms_norm_eps", 1e-6, most=1.0),
        rope_base=base,
        rope_scaling=scaling,
        qkv_bias=True,
        tied=config.flag("tie_word_embeddings", False),
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
