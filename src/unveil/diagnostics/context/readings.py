"""How an answer is read: at the first mask in one forward, or after the masks are decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from jaxtyping import Bool
from torch import Tensor

from unveil.canvas import Canvas
from unveil.decoding.model import Model
from unveil.diagnostics.context.rows import Row
from unveil.models.attention import BlockCausal, Causal, Rule
from unveil.models.denoiser import Denoiser, Prediction, Want
from unveil.sampling.recipes import llada


def canvas_of(model: Model, rows: Sequence[Row], seed: int | Sequence[int] = 0) -> Canvas:
    """The prompts as a batch on the model's device."""
    ids = [row.ids for row in rows]
    return Canvas.template(ids, mask_id=model.denoiser.outline.blank_id, seed=seed, device=model.device)


def answered(model: Model, row: Row, token: int) -> dict[str, Any]:
    """What a token says, and whether that is right: texts are compared, less the blanks around them."""
    answer = model.tokenizer.decode([token]).strip()
    return {"answer": answer, "correct": answer == row.label}


@dataclass(frozen=True, kw_only=True)
class FirstMask:
    """One forward, the most probable token at the first mask; all other masks stay.

    [MASK] is no answer; confidence and entropy (in nats) are of the vocabulary without it. Piskorz et al. 2025 (arXiv
    2511.21338), section 5.1. Where attention never looks ahead, what rows share at their beginning is computed once.
    With a causal model that predicts the next token, this is one token after the question's opening.
    """

    @torch.inference_mode()
    def __call__(self, model: Model, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """For each row "answer", "correct", "confidence", "entropy" and "nfe"."""
        canvas, rule = canvas_of(model, rows), model.denoiser.outline.rule
        read = canvas.column == canvas.start[:, None]
        beginnings = [tuple(row.ids[: _shared(rule, row)]) for row in rows]
        want = Want(entropy=True, forbid=(model.denoiser.outline.blank_id,))
        if any(beginnings) and model.denoiser.outline.caches:
            out = _after(model.denoiser, canvas, read, want, beginnings)
        else:
            out = model.denoiser(canvas, canvas.inside, read, None, want)
        assert out.tokens is not None and out.confidence is not None and out.entropy is not None
        told = zip(rows, out.tokens.tolist(), out.confidence.tolist(), out.entropy.tolist(), strict=True)
        return [
            {**answered(model, row, token), "confidence": confidence, "entropy": entropy, "nfe": 1}
            for row, token, confidence, entropy in told
        ]


def _shared(rule: Rule, row: Row) -> int:
    """How many of the first columns see nothing after them and are alike in many rows."""
    if isinstance(rule, Causal):  # what stands before the question
        return row.piece.index(next(n for n, piece in enumerate(row.pieces) if piece.kind == "question"))
    if isinstance(rule, BlockCausal):  # a prompt is one block: what stands before the masks, as it is in other cells
        return row.answer
    return 0


def _after(
    denoiser: Denoiser, canvas: Canvas, read: Bool[Tensor, "B L"], want: Want, beginnings: list[tuple[int, ...]]
) -> Prediction:
    """The same as a forward of everything, where each row's beginning sees nothing after it."""
    kinds = {beginning: kind for kind, beginning in enumerate(dict.fromkeys(beginnings))}
    kind = torch.tensor([kinds[beginning] for beginning in beginnings], device=read.device)
    length = torch.tensor([len(beginning) for beginning in beginnings], device=read.device)
    early = canvas.column < length[:, None]
    one = torch.tensor([beginnings.index(beginning) for beginning in kinds], device=read.device)  # a row of each kind
    cache = denoiser.new_cache(canvas.rows(one))
    denoiser(canvas.rows(one), early[one], torch.zeros_like(read[one]), cache, Want(proposals=False))
    return denoiser(canvas, canvas.inside & ~early, read, cache.rows(kind), want)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The masks decoded by LLaDA's sampler in one block; the token at the first mask is the answer.

    `steps` forwards, or as many as there are masks if that is fewer. Random orders are the prompt's own: a row is
    decoded in the same one wherever it is read.
    """

    steps: int
    remasking: str = "low_confidence"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1")
        llada(1, remasking=self.remasking)

    @torch.inference_mode()
    def __call__(self, model: Model, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """For each row "answer", "correct", "nfe", and as "confidence" the probability when the answer was written."""
        found: dict[int, dict[str, Any]] = {}
        for masks in sorted({row.masks for row in rows}):
            numbers = [number for number, row in enumerate(rows) if row.masks == masks]
            sampler = llada(masks, steps=min(self.steps, masks), remasking=self.remasking)
            waiting = [canvas_of(model, [rows[number]], crc32(str(rows[number].ids).encode())) for number in numbers]
            for _, finished in model.stream(waiting, sampler, batch=len(waiting)):
                for place, canvas in finished:
                    number = numbers[place]
                    token, column = int(canvas.tokens[0, rows[number].answer]), rows[number].answer
                    confidence = float(canvas.confidence[0, column])
                    said = answered(model, rows[number], token)
                    found[number] = {**said, "confidence": confidence, "nfe": int(canvas.nfe)}
        return [found[number] for number in range(len(rows))]
