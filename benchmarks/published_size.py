"""One forward at a published vocabulary: matrix-product rate, transformers on the same weights, a cached step, rows.

Random weights of LLaDA's shape, width 1,024, 8 layers, 126,464 tokens, float32. A forward ends in a token and its
probability for each [MASK], as decoding needs it; so does the reference, transformers' Llama seeing both ways
(its own attention through PyTorch), which is asked for the logits of the masks alone.
"""

from collections.abc import Callable
from typing import Any

import torch
from _measure import arguments, interleaved, prompts, random_model, ratio, report
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from unveil.canvas import Canvas
from unveil.checkpoints.families.llama import LLAMA
from unveil.models.denoiser import Want
from unveil.models.transformer import Transformer

MODEL = {
    "vocabulary": 126464, "width": 1024, "layers": 8, "heads": 16, "head_width": 64, "feed": 3072, "columns": 1024,
}  # fmt: skip
MASKS, BLOCK = 256, 32
RAGGED = (20, 60, 110, 160, 210, 270, 330, 400)  # tokens of the prompts; each has a block of masks
WANT = Want()


def blank(model: Transformer, rows: int, columns: int, masks: int) -> Canvas:
    """Rows of so many columns, the last of them masks."""
    return Canvas.blank(prompts(model, rows, columns - masks), masks, mask_id=model.outline.blank_id)


def whole(model: Transformer, canvas: Canvas) -> Callable[[], object]:
    """A forward without a cache."""
    return lambda: model(canvas, canvas.inside, canvas.undecided, None, WANT)


def cached(model: Transformer, canvas: Canvas) -> Callable[[], object]:
    """A forward of the first block of masks on kept keys and values."""
    cache, here = model.new_cache(canvas), canvas.undecided & (canvas.column < canvas.start[:, None] + BLOCK)
    model(canvas, canvas.inside, here, cache, WANT)
    return lambda: model(canvas, here, here, cache, WANT)


def product(rows: int, inner: int, outer: int) -> Callable[[], object]:
    """A matrix product."""
    a, b = torch.randn(rows, inner), torch.randn(inner, outer)
    return lambda: a @ b


def reference(model: Transformer, canvas: Canvas) -> Callable[[], Tensor]:
    """The same by transformers."""
    a = model.architecture
    config = LlamaConfig(
        vocab_size=a.vocabulary, hidden_size=a.width, intermediate_size=a.feed_width, num_hidden_layers=a.layers,
        num_attention_heads=a.heads, num_key_value_heads=a.kv_heads, head_dim=a.head_width, rms_norm_eps=a.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": a.rope_base}, max_position_embeddings=a.max_columns,
    )  # fmt: skip
    with torch.device("meta"):
        theirs = LlamaForCausalLM(config)
    weights = {LLAMA.published(name): x for name, x in model.state_dict().items()}
    theirs.load_state_dict(weights, assign=True)
    theirs.model.rotary_emb = LlamaRotaryEmbedding(config)  # a buffer, of which there are no weights
    for layer in theirs.eval().model.layers:
        layer.self_attn.is_causal = False
    masks = int(canvas.undecided.sum())

    def forward() -> Tensor:
        logits = theirs(input_ids=canvas.tokens, logits_to_keep=masks, use_cache=False).logits[0]
        logits[:, model.outline.blank_id] = float("-inf")
        return torch.stack([*logits.softmax(-1).max(-1)])

    said = model(canvas, canvas.inside, canvas.undecided, None, WANT)
    confidence, tokens = forward()
    assert (tokens == said.tokens).all() and torch.allclose(confidence, said.confidence, atol=1e-6)
    return forward


def work(model: Transformer, columns: int, read: int) -> float:
    """Floating-point operations of a forward: linear layers, attention, head."""
    a = model.architecture
    linear = sum(x.numel() for layer in model.layers for x in layer.parameters() if x.ndim == 2)
    attention = 4 * columns * columns * a.heads * a.head_width * a.layers
    return 2.0 * columns * linear + attention + 2.0 * read * a.width * a.vocabulary


def row(asked: str, value: float, target: float, reached: bool) -> dict[str, Any]:
    """A line of the table."""
    return {"asked": asked, "measured": value, "target": target, "reached": reached}


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=5)
    model = random_model(**MODEL)
    long, one = blank(model, 1, 1024, MASKS), blank(model, 1, 512, MASKS)
    ragged = Canvas.blank([prompts(model, 1, length)[0] for length in RAGGED], BLOCK, mask_id=model.outline.blank_id)
    mean = sum(RAGGED) // len(RAGGED)
    seconds = interleaved(
        {
            "product": product(1024, MODEL["width"], MODEL["feed"]), "long": whole(model, long),
            "one": whole(model, one), "theirs": reference(model, one), "cached": cached(model, one),
            "ragged": whole(model, ragged), "even": whole(model, blank(model, len(RAGGED), mean + BLOCK, BLOCK)),
        },
        given.repeat,
    )  # fmt: skip
    operations = work(model, 1024, MASKS) / (2.0 * 1024 * MODEL["width"] * MODEL["feed"])
    rate = operations / ratio(seconds["long"], seconds["product"])
    faster, step = ratio(seconds["theirs"], seconds["one"]), ratio(seconds["one"], seconds["cached"])
    slower = ratio(seconds["ragged"], seconds["even"])
    rows = [
        row("share of the matrix-product rate, 1,024 columns", rate, 0.7, rate >= 0.7),
        row("times as fast as transformers, one row of 512 columns", faster, 1.0, faster >= 1.0),
        row("times as fast as the whole: a dual-cached step, 32 of 512 columns", step, 5.0, step >= 5.0),
        row("time over that of even rows, 8 prompts of 20 to 400", slower, 1.1, slower <= 1.1),
    ]
    report("published_size", given, rows, {**MODEL, "masks": MASKS, "block": BLOCK, "ragged": RAGGED})


if __name__ == "__main__":
    main()
