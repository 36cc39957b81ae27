"""lm-eval's texts as tokens of a model: contexts, continuations, documents in windows, stop texts."""

from collections.abc import Iterator, Sequence

from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.decoding.model import Model

BEFORE = -1  # stands for what is before a document


def prefix(model: Model) -> list[int]:
    """What stands before a text without context: what the tokenizer puts there, else nothing.

    A model that predicts each column at the one before needs something there: its end id.
    """
    return list(model.tokenizer.front or model.end_ids[: model.denoiser.architecture.shift])


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
    room = model.denoiser.architecture.max_columns - max(1, len(before))
    ids = model.tokenizer.encode(text)
    for pair in get_rolling_token_windows(ids, prefix_token=BEFORE, max_seq_len=room, context_len=1):
        context, continuation = make_disjoint_window(pair)
        yield before if context == [BEFORE] else context, continuation


def stops(model: Model, texts: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The model's end ids with the stop texts that are special tokens, which no answer shows; the other stop texts."""
    special = {text: token for text in texts if (token := _special(model, text)) is not None}
    ends = dict.fromkeys([*model.end_ids, *special.values()])
    return tuple(ends), tuple(text for text in texts if text not in special)


def _special(model: Model, text: str) -> int | None:
    assert isinstance(model.tokenizer, FileTokenizer)
    try:
        ids = model.tokenizer.encode(text)
    except ValueError:  # the vocabulary cannot write it
        return None
    return ids[0] if len(ids) == 1 and model.tokenizer.is_special(ids[0]) else None
