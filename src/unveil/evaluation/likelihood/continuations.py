"""Scores of given continuations: the log-likelihood of each, and whether greedy decoding writes it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from unveil.canvas import Canvas
from unveil.evaluation.likelihood.bound import Estimator, Likelihood, Text, check, estimates, longest_first, padded
from unveil.models.denoiser import Denoiser, Want

GROUP = 64  # texts at a time
MOST = 64  # contexts a forward where their logits are kept whole


class Score(NamedTuple):
    """Of one continuation."""

    likelihood: Likelihood
    greedy: bool  # one token a forward, by the estimator's order


OnScore = Callable[[int, Score], object]


def scores(
    denoiser: Denoiser,
    estimate: Estimator,
    texts: Sequence[Text],
    *,
    columns: int,
    device: torch.device | str = "cpu",
    on_score: OnScore = lambda number, score: None,
) -> list[Score]:
    """The score of every text, in their order; no text depends on the others. Arguments and errors: `log_likelihoods`.

    Continuations of one token after one context share one forward, as the letters of multiple-choice questions do.
    """
    check(texts, denoiser.outline.blank_id)
    found = dict[int, Score]()

    def keep(number: int, score: Score) -> None:
        found[number] = score
        on_score(number, score)

    order = longest_first(texts)
    short = {number: texts[number] for number in order if len(texts[number].continuation) == 1}
    _one_token(denoiser, short, columns, device, keep)
    longer = [number for number in order if number not in short]
    for first in range(0, len(longer), GROUP):  # so that scores come regularly
        numbers = longer[first : first + GROUP]
        group = [texts[number] for number in numbers]
        right = greedy(denoiser, estimate, group, columns=columns, device=device)
        for place, likelihood in estimates(denoiser, estimate, group, columns=columns, device=device):
            keep(numbers[place], Score(likelihood, right[place]))
    return [found[number] for number in range(len(texts))]


@torch.inference_mode()
def greedy(
    denoiser: Denoiser,
    estimate: Estimator,
    texts: Sequence[Text],
    *,
    columns: int,
    device: torch.device | str = "cpu",
) -> list[bool]:
    """Whether greedy decoding, in the estimator's order, writes each continuation."""
    right, order = dict[int, bool](), longest_first(texts)
    while order:
        count = max(1, columns // texts[order[0]].length)
        numbers, order = order[:count], order[count:]
        batch = [texts[number] for number in numbers]
        wanted = padded([[*text.context, *text.continuation] for text in batch]).to(device)
        masked = [[*text.context, *[denoiser.outline.blank_id] * len(text.continuation)] for text in batch]
        canvas = Canvas.template(masked, mask_id=denoiser.outline.blank_id, device=device)
        right.update(zip(numbers, estimate.greedy(denoiser, canvas, wanted).tolist(), strict=True))
    return [right[number] for number in range(len(texts))]


@torch.inference_mode()
def _one_token(
    denoiser: Denoiser, texts: dict[int, Text], columns: int, device: torch.device | str, keep: OnScore
) -> None:
    """One forward for all that follow one context; its logits (one column a context) have all of them."""
    alike = dict[tuple[int, ...], list[int]]()
    for number, text in texts.items():
        alike.setdefault(tuple(text.context), []).append(number)
    contexts = list(alike)  # as the texts, the longest first
    while contexts:
        count = max(1, min(MOST, columns // (len(contexts[0]) + 1)))
        batch, contexts = contexts[:count], contexts[count:]
        rows = [[*context, denoiser.outline.blank_id] for context in batch]
        canvas = Canvas.template(rows, mask_id=denoiser.outline.blank_id, device=device)
        prediction = denoiser(canvas, canvas.inside, canvas.undecided, None, Want(proposals=False, logits=True))
        assert prediction.logits is not None
        logits = prediction.logits.to(torch.promote_types(prediction.logits.dtype, torch.float32))
        numbers = [number for context in batch for number in alike[context]]
        row = torch.tensor([place for place, context in enumerate(batch) for _ in alike[context]], device=device)
        token = torch.tensor([texts[number].continuation[0] for number in numbers], device=device)
        log_probs = logits.log_softmax(-1)[row, token].tolist()
        logits[:, denoiser.outline.blank_id : denoiser.outline.blank_id + 1] = float("-inf")  # [MASK] is no answer
        best = (logits.argmax(-1)[row] == token).tolist()
        first = {alike[context][0] for context in batch}
        for number, log_prob, fine in zip(numbers, log_probs, best, strict=True):
            keep(number, Score(Likelihood(log_prob, 0.0, int(number in first)), fine))
