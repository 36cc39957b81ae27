"""Training: the share of the machine's matrix-product rate, and sequences per second against a plain loop.

A step is forward, backward and AdamW over a batch, sorted by length into micro-batches. The plain loop has the same
weights and micro-batches; it pads its rows, is one module a layer, and gives every column to the head. `share` counts
the products that the batch needs (`work`), not padding and nothing computed twice, at the rate of the layer's largest
product, measured in the same turns. `times` is the plain loop's time divided by ours: above 1 we are faster.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from _measure import SEED, arguments, interleaved, random_model, ratio, report
from torch import Tensor, nn

from unveil.models.transformer import Architecture, Transformer
from unveil.objectives.loss import Batch, Example, loss
from unveil.objectives.masked import MaskedDiffusion

MODEL = {"vocabulary": 512, "width": 256, "layers": 5, "heads": 4, "head_width": 64, "feed": 704, "columns": 128}
LENGTHS = {"ragged": (48, 128), "even": (128, 128)}  # columns of a row, a quarter to a half of them prompt
ROWS, MICRO_ROWS, SHARE, TIMES = 16, 8, 0.4, 1.0


class PlainLayer(nn.Module):
    """Rows of one padded length."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.a = a
        self.attention_norm, self.feed_norm = (nn.RMSNorm(a.width, eps=a.norm_eps) for _ in range(2))
        self.query, self.key, self.value, self.output = (nn.Linear(a.width, a.width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(a.width, a.feed_width, bias=False) for _ in range(2))
        self.down = nn.Linear(a.feed_width, a.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        h = self.attention_norm(x)
        query, key, value = (
            linear(h).view(*h.shape[:2], self.a.heads, -1).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        query, key = (self.rotate(part, cos, sin).to(value.dtype) for part in (query, key))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        x = x + self.output(out.transpose(1, 2).flatten(2))
        h = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))

    @staticmethod
    def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """RoPE as it is usually written."""
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat([-right, left], -1) * sin


class Plain(nn.Module):
    """The same weights by the same names."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        a = self.a = model.architecture
        self.embed, self.norm = nn.Embedding(a.vocabulary, a.width), nn.RMSNorm(a.width, eps=a.norm_eps)
        self.layers = nn.ModuleList(PlainLayer(a) for _ in range(a.layers))
        self.head = nn.Linear(a.width, a.vocabulary, bias=False)
        self.load_state_dict(model.state_dict())
        angle = torch.arange(a.max_columns)[:, None] / a.rope_base ** (torch.arange(0, a.head_width, 2) / a.head_width)
        self.cos, self.sin = angle.repeat(1, 2).cos(), angle.repeat(1, 2).sin()

    def loss(self, example: Example) -> Tensor:
        """The same number as `loss(model, example)`."""
        canvas, L = example.canvas, example.targets.shape[1]
        visible = None if bool(canvas.inside.all()) else canvas.inside[:, None, None]
        x = self.embed(canvas.tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:L], self.sin[:L], visible)
        logits = self.head(self.norm(x)).float()
        nats = F.cross_entropy(logits.flatten(0, 1), example.targets.flatten(), reduction="none").view(-1, L)
        return (nats * example.weight[:, None] * canvas.undecided).sum()


def micro_batches(name: str, mask_id: int) -> list[Example]:
    """A corrupted batch, its rows sorted by length."""
    generator = torch.Generator().manual_seed(SEED)
    low, high = LENGTHS[name]
    end = torch.randint(low, high + 1, (ROWS,), generator=generator)
    start = (end * (0.25 + 0.25 * torch.rand(ROWS, generator=generator))).long()
    tokens = torch.randint(mask_id, (ROWS, int(end.max())), generator=generator)
    example = MaskedDiffusion().corrupt(Batch(tokens, start, end), mask_id, SEED)
    order = end.argsort(descending=True)
    return [example.rows(part).narrow(int(end[part].max())) for part in order.split(MICRO_ROWS)]


def work(a: Architecture, example: Example) -> int:
    """Floating-point operations of all products of a step: a product costs twice as much backward as forward.

    The last layer needs keys and values of all columns, and everything else only where a token is predicted.
    """
    ends, asked = example.canvas.end, example.canvas.num_undecided
    forward = 0
    for number in range(a.layers):
        queries = asked if number + 1 == a.layers else ends
        feed, inner = 3 * a.width * a.feed_width, a.heads * a.head_width
        forward += int(queries.sum()) * (feed + 2 * a.width * inner)  # feed-forward, query, output
        forward += int(ends.sum()) * 2 * a.width * a.kv_heads * a.head_width  # key, value
        forward += int((queries * ends).sum()) * 2 * inner  # scores, mixture of values
    forward += int(asked.sum()) * a.width * a.vocabulary
    return 3 * 2 * forward


def training(
    model: nn.Module, loss_of: Callable[[Example], Tensor], parts: list[Example], half: bool
) -> Callable[[], float]:
    """A step; it gives the loss."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> float:
        total = 0.0
        for part in parts:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                value = loss_of(part)
            value.backward()
            total += value.item()
        optimiser.step()
        optimiser.zero_grad()
        return total

    return step


def measure(name: str, dtype: torch.dtype, repeat: int) -> dict[str, Any]:
    """One line of the table."""
    model = random_model(**MODEL)
    plain, parts = Plain(model), micro_batches(name, model.outline.blank_id)
    half = dtype == torch.bfloat16
    ours = training(model, lambda part: loss(model, part), parts, half)
    theirs = training(plain, plain.loss, parts, half)
    first, second = ours(), theirs()
    assert abs(first - second) < (0.02 if half else 1e-4) * abs(first), f"not the same loss: {first} and {second}"
    columns = sum(int(part.canvas.end.sum()) for part in parts)
    left, right = (torch.randn(n, MODEL["width"]).to(dtype) for n in (columns // len(parts), MODEL["feed"]))
    product = 2 * left.shape[0] * left.shape[1] * right.shape[0]
    needed, times = sum(work(model.architecture, part) for part in parts), max(1, int(2e10 / product))
    seconds = interleaved(
        {"product": lambda: [left @ right.T for _ in range(times)], "ours": ours, "plain": theirs}, repeat
    )
    share = needed / (times * product) * ratio(seconds["product"], seconds["ours"])
    faster = ratio(seconds["plain"], seconds["ours"])
    return {
        "rows": name,
        "dtype": str(dtype).removeprefix("torch."),
        "columns": columns,
        "GFLOP/s, product": times * product / median(seconds["product"]) / 1e9,
        "GFLOP/s, step": needed / median(seconds["ours"]) / 1e9,
        "sequences/s": ROWS / median(seconds["ours"]),
        "plain": ROWS / median(seconds["plain"]),
        "share": share,
        "target share": SHARE,
        "times": faster,
        "target": TIMES,
        "reached": share >= SHARE and faster >= TIMES,
    }


def has_half() -> bool:
    """Whether products in bfloat16 are faster than in float32; elsewhere they are emulated."""
    parts = {dtype: torch.randn(512, 512).to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = interleaved({str(dtype): lambda x=x: x @ x for dtype, x in parts.items()}, 5)
    single, half = (median(times) for times in seconds.values())
    return half < single


def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=7)
    rows = [measure(name, torch.float32, given.repeat) for name in LENGTHS]
    if has_half():
        rows += [measure(name, torch.bfloat16, given.repeat) for name in LENGTHS]
    report("training", given, rows, MODEL | {"rows": ROWS, "micro_rows": MICRO_ROWS, "lengths": LENGTHS})


if __name__ == "__main__":
    main()
