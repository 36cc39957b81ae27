"""Prompts: raw text or a chat in, and where the text of an answer ends."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from unveil.checkpoints.chat import MARK, ChatTemplate

Message = Mapping[str, str]
Prompt = str | Sequence[Message]
"""A text, or the messages of a chat, {"role": ..., "content": ...} each. A last one of the assistant is continued."""


def question(text: str, prefix: str = "") -> list[Message]:
    """A chat of one message, whose answer begins with `prefix`."""
    begun = [{"role": "assistant", "content": prefix}] if prefix else []
    return [{"role": "user", "content": text}, *begun]


def rendered(messages: Sequence[Message], template: ChatTemplate | None) -> str:
    """The text of a chat, up to where its answer begins or goes on.

    The beginning of an answer keeps the blanks at its end; those before it may be stripped by the template. Contents
    are not escaped: a special token written in one is that token, as it is for transformers; so take it out of text
    that you do not trust. ValueError for what is no chat, for no template, and as ChatTemplate.
    """
    _check(messages)
    if template is None:
        raise ValueError("the model has no chat template: give a text, or put a chat_template.jinja into its folder")
    *before, last = messages
    if last["role"] != "assistant":
        return template(messages, True)
    if not last["content"]:
        return template(before, True)
    text, found, _ = template([*before, {**last, "content": last["content"] + MARK}], False).rpartition(MARK)
    if not found:
        raise ValueError("the model's chat template leaves out how the answer begins: ask without a beginning")
    return text


def _check(messages: Sequence[Message]) -> None:
    if not isinstance(messages, Sequence) or not messages:
        raise ValueError(f"the prompt is {messages!r}: give a text, or a list of messages")
    for number, message in enumerate(messages, 1):
        for name in ("role", "content"):
            if not isinstance(message, Mapping) or not isinstance(message.get(name), str):
                raise ValueError(f"message {number} of the prompt has no {name} that is a text: give both of them")
    if len(messages) == 1 and messages[0]["role"] == "assistant":
        raise ValueError("the prompt is the beginning of an answer alone: give a message of the user before it")


def until(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings. ValueError for an empty one, or one text in place of several."""
    if isinstance(stops, str) or not all(stops):
        raise ValueError(f"stop is {stops!r}: give a list of texts, none of them empty")
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def tokens_until(text: str, tokens: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[int]:
    """The fewest first tokens that write all of `text`; the last of them may write more."""
    count = bisect_left(range(len(tokens)), True, key=lambda count: decode(tokens[:count]).startswith(text))
    return list(tokens[:count])
