"""What stands in lm-eval's results about a model, how it decoded and how it scored."""

from collections.abc import Mapping, Sequence
from math import isnan, sqrt
from typing import Any

import unveil
from unveil.canvas import Canvas
from unveil.decoding.model import Answer, Model
from unveil.evaluation.likelihood import Estimator, Likelihood
from unveil.evaluation.planned import planned


def model_record(model: Model, loading: Mapping[str, Any]) -> dict[str, Any]:
    """Which weights, of what kind, where; `loading` is how they were asked for."""
    weights = list(model.denoiser.parameters())
    return {
        "model_name": model.name,
        "model_loading": dict(loading),
        "model_fingerprint": model.revision,
        "model_num_parameters": sum(weight.numel() for weight in weights),
        "model_dtype": str(model.dtype).removeprefix("torch."),
        "model_device": str(model.device),
        "model_chat_hash": model.chat_hash,
        "unveil_version": unveil.__version__,
    }


def written_record(model: Model, spec: str | None, masks: int, answers: Sequence[Answer]) -> dict[str, Any]:
    """How answers of so many masks came about, and what they cost."""
    sampler = model.sampler(spec, Canvas.template([[model.denoiser.mask_id] * masks], mask_id=model.denoiser.mask_id))
    return {
        "masks": masks,
        **planned(sampler, masks)._asdict(),
        "answers": len(answers),
        "forwards_mean": sum(answer.nfe for answer in answers) / len(answers),
        "incomplete": sum(not answer.complete for answer in answers),
    }


def scored_record(estimate: Estimator, scored: Sequence[Likelihood]) -> dict[str, Any] | None:
    """How likelihoods came about; the standard error is the root mean square, in nats. None without texts."""
    if not scored:
        return None
    squares = [one.error**2 for one in scored]
    error = sqrt(sum(squares) / len(squares))
    return {
        "estimate": repr(estimate),
        "texts": len(scored),
        "exact": sum(square == 0 for square in squares),
        "forwards_mean": sum(one.forwards for one in scored) / len(scored),
        "standard_error": None if isnan(error) else error,  # unknown with one sample
    }
