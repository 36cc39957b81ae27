"""lm-eval's words in ours: its settings as samplers, its texts as tokens, and what stands in its results."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan, sqrt
from typing import Any, NamedTuple

from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

import unveil
from unveil import catalogue
from unveil.canvas import Canvas
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.decoding.model import Answer, Model
from unveil.decoding.spec import read_sampler
from unveil.evaluation.evaluation import planned
from unveil.evaluation.likelihood.bound import Estimator, Likelihood
from unveil.settings import keywords

BEFORE = -1  # stands for what is before a document


def prefix(model: Model) -> list[int]:
    """What stands before a text without context: what the tokenizer puts there, else nothing.

    A model that predicts each column at the one before needs something there: its end id.
    """
    return list(model.tokenizer.front or model.end_ids[: model.denoiser.outline.shift])


def encode(model: Model, text: str) -> list[int]:
    """A context, after what the tokenizer puts in front unless the text begins with it, as rendered chats may."""
    front, ids = list(model.tokenizer.front), model.tokenizer.encode(text)
    return ids if ids[: len(front)] == front else front + ids


def encode_pair(model: Model, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Both, parted as lm-eval does: blanks at the end of the context go to the continuation."""
    given = context.rstrip()
    if not given:
        before, ids = prefix(model), model.tokenizer.encode(context + continuation)
        return before, ids[len(before) :] if ids[: len(before)] == before else ids
    before, whole = encode(model, given), encode(model, context + continuation)
    return before, whole[len(before) :]


def windows(model: Model, text: str) -> Iterator[tuple[list[int], list[int]]]:
    """(context, continuation) of lm-eval's windows of a document; each fits the model, each token is scored once."""
    before = prefix(model)
    room = model.denoiser.outline.context - max(1, len(before))
    ids = model.tokenizer.encode(text)
    for pair in get_rolling_token_windows(ids, prefix_token=BEFORE, max_seq_len=room, context_len=1):
        context, continuation = make_disjoint_window(pair)
        yield before if context == [BEFORE] else context, continuation


def stops(model: Model, texts: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The model's end ids with the stop texts that are special tokens, which no answer shows; the other stop texts."""
    special = {text: token for text in texts if (token := _special(model, text)) is not None}
    ends = dict.fromkeys([*model.ends, *special.values()])
    return tuple(ends), tuple(text for text in texts if text not in special)


def _special(model: Model, text: str) -> int | None:
    assert isinstance(model.tokenizer, FileTokenizer)
    try:
        ids = model.tokenizer.encode(text)
    except ValueError:  # the vocabulary cannot write it
        return None
    return ids[0] if len(ids) == 1 and model.tokenizer.is_special(ids[0]) else None


LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # lm-eval's names, by precedence
CHANCE = {"temperature": 0.0, "top_p": 1.0, "top_k": 0}  # what a recipe without the setting does
EMPTY: Mapping[str, Any] = {"num_beams": 1}  # settings that say nothing with this value


class Asked(NamedTuple):
    """What a task asks of a generation."""

    new_tokens: int  # masks
    stop: tuple[str, ...]


def sampler_spec(sampler: str | None, settings: Mapping[str, object], options: tuple[str, ...]) -> str | None:
    """The spec with the settings that stand beside it: "llada:steps=64" and {"block": 32} are llada:steps=64,block=32.

    None where nothing is given. ValueError for what is neither one of the `options` nor a setting of the sampler.
    """
    if sampler is None and not settings:
        return None
    name, _, inner = (sampler or "llada").partition(":")
    parts = [part for part in (inner, *(f"{key}={value}" for key, value in settings.items())) if part]
    spec = f"{name}:{','.join(parts)}" if parts else name
    try:
        read_sampler(spec)
    except ValueError as error:
        known = ", ".join(options)
        raise ValueError(f"{error}; of the model's arguments all but {known} are settings of the sampler") from None
    return spec


def generation(settings: Mapping[str, Any], spec: str | None, default: int) -> Asked:
    """Masks and stop texts of a task's generation arguments; `default` masks where it names no number.

    The sampler decides how tokens are drawn. ValueError for a task that asks for another way, with the remedy, and for
    arguments that have no meaning here.
    """
    left = {key: value for key, value in settings.items() if value is not None}
    until = left.pop("until", [])
    lengths = [left.pop(name) for name in LENGTHS if name in left]
    drawn = {name: float(left.pop(name)) for name in CHANCE if name in left}
    if left.pop("do_sample", drawn.get("temperature", 0) > 0):
        _check_chance(drawn, spec or "llada")
    unknown = [f"{key}={value!r}" for key, value in left.items() if EMPTY.get(key) != value]
    if unknown:
        raise ValueError(f"generation with {', '.join(unknown)} is not known here: leave it out of the task")
    count = int(lengths[0]) if lengths else default
    if count < 1:
        raise ValueError(f"{LENGTHS[0]}={count} asks for no tokens: give at least 1")
    texts = [until] if isinstance(until, str) else until
    return Asked(count, tuple(text for text in texts if text))


def _check_chance(drawn: Mapping[str, float], spec: str) -> None:
    """ValueError unless the sampler draws as is asked."""
    name, given = read_sampler(spec)
    defaults = {key: one.default for key, one in keywords(catalogue.samplers()[name].load()).items()}
    own = {key: given.get(key, defaults.get(key, neutral)) for key, neutral in CHANCE.items()}
    if not own["temperature"] or any(own[key] != value for key, value in drawn.items()):
        wanted, has = (", ".join(f"{key}={value:g}" for key, value in some.items()) for some in (drawn, own))
        raise ValueError(
            f"the task asks for samples ({wanted or 'of any temperature'}) and the sampler {spec!r} has {has}: "
            "write the same into the sampler, or decode as it does with --gen_kwargs do_sample=False"
        )


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
    blank = model.denoiser.outline.blank_id
    sampler = model.sampler(spec, Canvas.template([[blank] * masks], mask_id=blank))
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
