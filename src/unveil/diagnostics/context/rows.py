"""Pieces of a prompt to token ids, each column knowing its piece."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from unveil.decoding.model import Model
from unveil.diagnostics.context.few_shot.shots import Arrangement, FewShot, Piece, Shot, Shots, arrange

ChatTemplate = Callable[[list[dict[str, str]], bool], str]  # see unveil.checkpoints.chat.chat_template
Encode = Callable[[str], list[int]]
Text = tuple[int, str]  # the number of a piece, and its text
NOWHERE = -1  # the piece of what belongs to none


class Row(NamedTuple):
    """A prompt with its masks."""

    ids: list[int]
    answer: int  # the column of the first mask
    piece: list[int]  # for every column the number of its piece, -1 for none
    pieces: list[Piece]
    label: str  # the right answer
    labels: tuple[str, ...]
    masks: int


def row(
    model: Model,
    source: FewShot,
    shots: Shots,
    question: Shot,
    arrangement: Arrangement,
    *,
    chat: ChatTemplate | None = None,
    encode: Encode | None = None,
) -> Row:
    r"""A question's prompt: plain text for base models, or the model's `chat`.

    Every piece is tokenised as a text of its own, by `encode` (default: the model's; give one that remembers). In plain
    text the source's system text and "\n\n" come first. A chat has a message of the user and one of the assistant for
    each example; the assistant's last one is begun with the question's opening. What the template writes before the
    first message belongs to no piece. After the closing of an infilled question examples follow after "\n\n", fillers
    at once. ValueError names the task where the prompt does not fit the context, the vocabulary cannot write a text or
    lacks what fills, an answer is more than one token, or the chat cannot be laid out.
    """
    encode = encode or model.tokenizer.encode
    pieces = arrange(shots, question, arrangement)
    try:
        _check_labels(source, encode)
        texts = _plain(source, pieces, arrangement) if chat is None else _messages(source, pieces, arrangement, chat)
        ids, piece = _columns(model, texts, encode, model.tokenizer.front if chat is None else ())
        filler = _filler(model, arrangement, encode)
        masks = max(arrangement.masks, round(arrangement.share * len(ids + filler)))
        _check_fit(model, len(ids + filler) + masks, masks)
    except ValueError as error:
        raise ValueError(f"task {source.name}: {error}") from None
    asked = [each.kind for each in pieces].index("question")
    answer = len(piece) - piece[::-1].index(asked)
    ids[answer:answer] = [model.denoiser.outline.blank_id] * masks
    piece[answer:answer] = [asked + 1] * masks
    piece += [len(pieces) - 1] * len(filler)
    return Row(ids + filler, answer, piece, pieces, question.answer, source.labels, masks)


def _plain(source: FewShot, pieces: Sequence[Piece], arrangement: Arrangement) -> Iterator[Text]:
    if source.system:
        yield NOWHERE, f"{source.system}\n\n"
    for number, (kind, shot) in enumerate(pieces):
        if shot and kind != "question":
            yield number, shot.question + shot.answer + shot.ending
        elif shot:
            yield number, shot.question
            if arrangement.form == "infill":
                more = any(piece.shot for piece in pieces[number + 1 :])
                yield NOWHERE, shot.ending if more else shot.closing


def _messages(source: FewShot, pieces: Sequence[Piece], arrangement: Arrangement, chat: ChatTemplate) -> Iterator[Text]:
    if arrangement.question != "right":
        raise ValueError(f"question is {arrangement.question!r}; in a chat it is the last message: right, or no chat")
    messages = [{"role": "system", "content": source.system}] if source.system else []
    text = ""
    *examples, (last, asked) = [(number, piece.shot) for number, piece in enumerate(pieces) if piece.shot]
    for number, shot in examples:
        answer = {"role": "assistant", "content": shot.opening + shot.answer + shot.closing}
        turn = [{"role": "user", "content": shot.ask}, answer]
        messages += turn
        new = _added(chat(messages, False), text)
        text += new
        if number == 0:  # a second time there is nothing but the messages
            again = _added(chat([*messages, *turn], False), text)
            if new.endswith(again):
                yield NOWHERE, new.removesuffix(again)
                new = again
        yield number, new
    yield last, _added(chat([*messages, {"role": "user", "content": asked.ask}], True), text) + asked.opening
    if arrangement.form == "infill":
        yield NOWHERE, asked.closing


def _added(longer: str, text: str) -> str:
    if not longer.startswith(text):
        raise ValueError("the model's chat template rewrites a message once others follow: use prompts without chat")
    return longer[len(text) :]


def _columns(model: Model, texts: Iterable[Text], encode: Encode, front: Sequence[int]) -> tuple[list[int], list[int]]:
    """Ids, and the piece of each; those in front belong to none."""
    ids, piece = list(front), [NOWHERE] * len(front)
    for number, text in texts:
        part = encode(text)
        if model.denoiser.outline.blank_id in part:
            raise ValueError(f"{text!r} holds the mask token: remove it from the text")
        ids += part
        piece += [number] * len(part)
    return ids, piece


def _filler(model: Model, arrangement: Arrangement, encode: Encode) -> list[int]:
    if arrangement.filler == "none":
        return []
    if arrangement.filler == "ends":
        if not model.end_ids:
            raise ValueError("the model has no end id to fill with: leave out what fills with EOS (the probe dots)")
        return [model.end_ids[0]] * arrangement.fillers
    dot = encode(".")
    if len(dot) != 1:
        raise ValueError(f"'.' is {len(dot)} tokens of this model and fills only as one: leave out the probe dots")
    return dot * arrangement.fillers


def _check_labels(source: FewShot, encode: Encode) -> None:
    for label in source.labels:
        if (count := len(encode(label))) != 1:
            raise ValueError(f"the answer {label!r} is {count} tokens of this model and only one is read: leave it out")


def _check_fit(model: Model, length: int, masks: int) -> None:
    if length > (room := model.denoiser.outline.context):
        raise ValueError(
            f"a prompt of {length} tokens, {masks} of them masks, exceeds the model's context of {room}: "
            "use fewer examples, masks or fillers"
        )
