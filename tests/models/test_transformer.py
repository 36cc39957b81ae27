"""The transformer against one written plainly, row by row, without flat columns, caches or fused attention."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.toy import MASK, NEW, PROMPTS, VOCABULARY, blank, columns_computed, toy
from unveil.canvas import MASK as MASKED
from unveil.canvas import SOFT, SOFT_MASK, Canvas
from unveil.models.attention import BlockCausal, Causal, Llama3
from unveil.models.denoiser import Cache, Denoiser, Want
from unveil.models.transformer import Architecture, Transformer, initialise, rotate, rotation

LOGITS = Want(proposals=False, logits=True)
KINDS: dict[str, dict[str, Any]] = {
    "llada": {},
    "dream": {"shift": 1, "kv_heads": 2, "qkv_bias": True},
    "grouped": {"kv_heads": 1},
    "biased": {"qkv_bias": True, "output_bias": True, "feed_bias": True, "head_bias": True},
    "tied": {"tied": True},
    "causal": {"rule": Causal(), "shift": 1},
    "block-causal": {"rule": BlockCausal(size=4)},
    "normed heads": {"qk_norm": True, "kv_heads": 2},
    "stretched": {"rope_scaling": Llama3(factor=8.0, low=1.0, high=4.0, original=64)},
}


def kind(name: str, **more: Any) -> Transformer:
    return toy(heads=4, **(KINDS[name] | more))


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def wavelength(a: Architecture, i: int) -> float:
    """Columns in which the pair i turns once; Llama 3.1's three cases, as published."""
    found, s = 2 * math.pi * a.rope_base ** (2 * i / a.head_width), a.rope_scaling
    if not isinstance(s, Llama3) or found < s.original / s.high:
        return found
    if found > s.original / s.low:
        return found * s.factor
    smooth = (s.original / found - s.low) / (s.high - s.low)
    return 1 / ((1 - smooth) / (found * s.factor) + smooth / found)


def turned(x: Tensor, a: Architecture) -> Tensor:
    """(L, d): the pair (i, i + d/2) of column c is the complex number turned by 2 pi c / wavelength."""
    half = x.shape[1] // 2
    waves = torch.tensor([wavelength(a, i) for i in range(half)], dtype=x.dtype)
    angle = torch.arange(len(x))[:, None] * (2 * math.pi / waves)
    z = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], 1)


def plain_forward(model: Transformer, embedded: Tensor, start: int) -> Tensor:
    """(L, D) -> (L, V) logits of every column of one row, the shift undone."""
    a, w, x, L = model.architecture, model.state_dict(), embedded, len(embedded)
    seen = torch.ones(L, L, dtype=torch.bool)
    if isinstance(a.rule, Causal):
        seen = seen.tril()
    if isinstance(a.rule, BlockCausal):
        block = torch.tensor([-1 if c < start else (c - start) // a.rule.size for c in range(L)])
        seen = block <= block[:, None]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    for i in range(a.layers):
        n = norm(x, w[f"layers.{i}.attention_norm.weight"], a.norm_eps)
        q, k, v = (linear(n, f"layers.{i}.{part}").split(a.head_width, 1) for part in ("query", "key", "value"))
        heads = []
        for h in range(a.heads):
            g = h * a.kv_heads // a.heads
            pair = q[h], k[g]
            if a.qk_norm:
                sides = zip(pair, ("query", "key"), strict=True)
                pair = tuple(norm(x, w[f"layers.{i}.{side}_norm.weight"], a.norm_eps) for x, side in sides)
            scores = turned(pair[0], a) @ turned(pair[1], a).T / a.head_width**0.5
            heads.append(scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v[g])
        x = x + linear(torch.cat(heads, 1), f"layers.{i}.output")
        n = norm(x, w[f"layers.{i}.feed_norm.weight"], a.norm_eps)
        gate = linear(n, f"layers.{i}.gate")
        x = x + linear(gate * gate.sigmoid() * linear(n, f"layers.{i}.up"), f"layers.{i}.down")
    out = linear(norm(x, w["norm.weight"], a.norm_eps), "head")
    return torch.cat([out[:1], out[:-1]]) if a.shift else out


def plain(model: Transformer, canvas: Canvas) -> list[Tensor]:
    """Every row's logits."""
    rows = zip(canvas.tokens, canvas.start.tolist(), canvas.end.tolist(), strict=True)
    return [plain_forward(model, model.embed.weight[tokens[:end]], start) for tokens, start, end in rows]


@pytest.mark.parametrize("name", KINDS)
def test_logits_are_those_of_a_plain_forward(name: str) -> None:
    model, canvas = kind(name), blank()
    out = model(canvas, canvas.inside, canvas.inside, None, LOGITS)
    assert torch.allclose(out.logits, torch.cat(plain(model, canvas)), rtol=0, atol=1e-10)
    assert torch.equal(out.index, canvas.inside.flatten().nonzero()[:, 0])


@pytest.mark.parametrize("name", KINDS)
def test_reading_fewer_columns_and_using_a_buffer_changes_nothing(name: str) -> None:
    model, canvas = kind(name), blank()
    read = canvas.undecided & (canvas.column % 2 == 0)
    want = torch.cat([rows[read[row, : len(rows)]] for row, rows in enumerate(plain(model, canvas))])
    for cache in (None, model.new_cache(canvas)):
        out = model(canvas, canvas.inside, read, cache, LOGITS)
        assert torch.allclose(out.logits, want, rtol=0, atol=1e-10)
        assert torch.equal(out.index, read.flatten().nonzero()[:, 0])


def test_columns_that_are_not_fresh_come_from_the_buffer() -> None:
    """The first forward fills it; then a block alone gives what everything would."""
    model, canvas = kind("dream"), blank()
    cache = model.new_cache(canvas)
    model(canvas, canvas.inside, canvas.undecided, cache, LOGITS)
    block = canvas.undecided & (canvas.column < canvas.start[:, None] + 4)
    out = model(canvas, block, block, cache, LOGITS)
    want = torch.cat([rows[block[row, : len(rows)]] for row, rows in enumerate(plain(model, canvas))])
    assert torch.allclose(out.logits, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["llada", "dream", "block-causal"])
def test_soft_inputs(name: str) -> None:
    """One candidate of weight 1 is the token; a mixture is the weighted embedding; other stages show their token."""
    model, hard = kind(name), blank()
    tokens = torch.randint(0, 49, hard.tokens.shape, generator=torch.Generator().manual_seed(0))
    tokens = torch.where(hard.undecided, tokens, hard.tokens)
    hard = replace(hard, tokens=tokens)
    truth = model(hard, hard.inside, hard.inside, None, LOGITS).logits
    soft = blank(num_soft=2)
    ids, weights = torch.stack([tokens, torch.zeros_like(tokens)], -1), torch.zeros_like(soft.soft_weights)
    weights[..., 0] = 1
    stage = torch.where(soft.undecided, SOFT_MASK, soft.stage).to(torch.int8)
    shown = replace(soft, soft_ids=ids, soft_weights=weights, stage=stage)
    assert torch.allclose(model(shown, shown.inside, shown.inside, None, LOGITS).logits, truth, rtol=0, atol=1e-12)
    unseen = replace(shown, stage=torch.where(soft.undecided, MASKED, soft.stage).to(torch.int8), tokens=tokens)
    assert torch.allclose(model(unseen, unseen.inside, unseen.inside, None, LOGITS).logits, truth, rtol=0, atol=1e-12)
    mixed = replace(shown, soft_weights=torch.full_like(weights, 0.25), stage=stage.masked_fill(soft.undecided, SOFT))
    e = model.embed.weight
    rows = []
    for row, (start, end) in enumerate(zip(mixed.start.tolist(), mixed.end.tolist(), strict=True)):
        x = e[mixed.tokens[row, :end]].clone()
        x[start:] = 0.25 * e[tokens[row, start:end]] + 0.25 * e[0]
        rows.append(plain_forward(model, x, start))
    out = model(mixed, mixed.inside, mixed.inside, None, LOGITS)
    assert torch.allclose(out.logits, torch.cat(rows), rtol=0, atol=1e-10)


def test_scores_depend_on_distance_alone() -> None:
    model = toy()
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 16, generator=generator, dtype=torch.float64)

    def score(i: int, j: int) -> Tensor:
        turns = [rotation(torch.tensor([c]), model.architecture, q) for c in (i, j)]
        return (rotate(q, turns[0]) * rotate(k, turns[1])).sum()

    assert torch.allclose(score(7, 3), score(104, 100)) and not torch.allclose(score(7, 3), score(3, 7))
    assert torch.allclose(score(5, 5), (q * k).sum())


def test_float32_is_close_to_float64() -> None:
    canvas = blank()
    for name in KINDS:
        exact, single = kind(name), kind(name).float()
        a, b = (m(canvas, canvas.inside, canvas.inside, None, LOGITS).logits for m in (exact, single))
        assert b.dtype == torch.float32 and (a - b).abs().max() < 1e-4


def test_bfloat16_rotates_in_float32() -> None:
    model = toy().bfloat16()
    cos, _ = rotation(torch.tensor([1000]), model.architecture, model.embed.weight)
    exact, _ = rotation(torch.tensor([1000]), model.architecture, torch.zeros(1, dtype=torch.float64))
    assert cos.dtype == torch.float32 and (cos - exact).abs().max() < 1e-4
    canvas = blank()
    out = model(canvas, canvas.inside, canvas.undecided, None, Want())
    assert out.confidence.dtype == torch.float32 and out.confidence.isfinite().all()


@pytest.mark.parametrize("shift", [0, 1])
def test_forwards_that_read_or_compute_nothing_give_nothing(shift: int) -> None:
    model, canvas = toy(shift=shift), blank()
    nothing = torch.zeros_like(canvas.inside)
    want = Want(entropy=True, top=2, temperature=1.0)
    for fresh, cache in (
        (canvas.inside, None),
        (canvas.inside, model.new_cache(canvas)),
        (nothing, model.new_cache(canvas)),
    ):
        out = model(canvas, fresh, nothing, cache, want)
        assert len(out.index) == len(out.tokens) == len(out.confidence) == 0 and out.top_ids.shape == (0, 2)


def test_only_fresh_columns_pass_the_linear_layers() -> None:
    model, canvas = toy(), blank()
    counts = columns_computed(model)
    cache = model.new_cache(canvas)
    model(canvas, canvas.inside, canvas.undecided, cache, LOGITS)
    model(canvas, canvas.undecided, canvas.undecided, cache, LOGITS)
    assert counts == [sum(map(len, PROMPTS)) + sum(NEW), sum(NEW)]


def test_parts_satisfy_the_protocols() -> None:
    model = toy()
    assert isinstance(model, Denoiser) and isinstance(model.new_cache(blank()), Cache)
    assert model.outline.blank_id == MASK and model.head.weight.shape[0] == VOCABULARY


def test_initial_weights_are_a_function_of_the_seed() -> None:
    architecture = toy(qkv_bias=True).architecture
    one, same, other = (initialise(Transformer(architecture), seed, std=0.1) for seed in (0, 0, 1))
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        if value.ndim == 2:
            spread = 0.1 * (0.5 if name.endswith(("output.weight", "down.weight")) else 1)
            assert not torch.equal(value, other.state_dict()[name]) and 0.8 < value.std() / spread < 1.2
        else:
            assert (value == (0 if name.endswith("bias") else 1)).all()


def test_tied_models_share_one_matrix() -> None:
    model = toy(tied=True)
    assert model.head.weight is model.embed.weight and "head.weight" in model.state_dict()


SIZES: dict[str, Any] = {
    "vocabulary": 8, "width": 8, "layers": 1, "heads": 4, "kv_heads": 2, "head_width": 2, "feed_width": 8, "mask_id": 7,
}  # fmt: skip


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kv_heads": 3}, "kv_heads=3 does not divide heads=4: choose a divisor"),
        ({"head_width": 3}, "head_width=3 is odd: RoPE rotates pairs, choose an even width"),
        ({"mask_id": 8}, "mask_id=8 is outside the vocabulary 0..7"),
        ({"mask_id": -1}, "mask_id=-1 is outside the vocabulary 0..7"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], message: str) -> None:
    Architecture(**SIZES)
    with pytest.raises(ValueError) as caught:
        Architecture(**SIZES | change)
    assert str(caught.value) == message


def test_only_a_causal_model_may_do_without_a_mask_token() -> None:
    """On a canvas one past the end stands for it; such columns are shown as some token, which nothing read sees."""
    model = toy(rule=Causal(), shift=1)
    without = Transformer(replace(model.architecture, mask_id=None)).double()
    assert without.outline.mask_id is None and without.outline.blank_id == VOCABULARY
    without.load_state_dict(model.state_dict())
    with pytest.raises(ValueError) as caught:
        replace(model.architecture, mask_id=None, rule=BlockCausal(size=4))
    assert str(caught.value) == (
        "mask_id is missing, which a model under BlockCausal(size=4) needs: name the id of [MASK]"
    )
    with pytest.raises(ValueError, match="mask_id=50 is outside the vocabulary 0..49"):
        replace(model.architecture, mask_id=VOCABULARY)
    canvas = Canvas.blank(PROMPTS, NEW, mask_id=VOCABULARY, num_soft=2)
    canvas = replace(canvas, stage=torch.where(canvas.undecided, SOFT_MASK, canvas.stage).to(torch.int8))
    first = canvas.column == canvas.start[:, None]
    want = Want(forbid=(VOCABULARY,), logits=True, top=3, gram=True)
    out = without(canvas, canvas.inside, first, None, want)
    hard = blank()
    truth = model(hard, hard.inside, first, None, LOGITS).logits
    assert torch.allclose(out.logits, truth, rtol=0, atol=1e-12) and torch.equal(out.tokens, truth.argmax(-1))


def test_a_canvas_beyond_the_context_is_refused() -> None:
    canvas = blank([[1]], 256)
    with pytest.raises(ValueError) as caught:
        toy()(canvas, canvas.inside, canvas.inside, None, Want())
    assert str(caught.value) == (
        "the canvas has 257 columns and the model's context is 256: shorten the prompt or ask for fewer new tokens"
    )


def test_a_partial_row_needs_a_cache() -> None:
    canvas = blank()
    with pytest.raises(ValueError) as caught:
        toy()(canvas, canvas.undecided, canvas.undecided, None, Want())
    assert str(caught.value) == "without a cache every column of a row must be recomputed: pass fresh=canvas.inside"


def test_an_id_beyond_the_embeddings_is_an_error() -> None:
    model, canvas = toy(), blank()
    beyond = replace(canvas, tokens=canvas.tokens.masked_fill(canvas.column == 0, VOCABULARY + 3))
    with pytest.raises(IndexError):
        model(beyond, canvas.inside, canvas.undecided, None, Want())
