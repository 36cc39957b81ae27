"""The shapes of instruction data: what others call prompts, answers and messages becomes one of our two.

Fields that are null count as missing, as tables give every row all columns. What is our choice is marked [D].
"""

from collections.abc import Mapping
from typing import Any

from unveil.fields import shown

ROLES = ("system", "user", "assistant")
NAMES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant"}
SHAPE = 'a line is {"prompt": text, "answer": text} or {"messages": [{"role": "user", "content": text}, ...]}'
OTHERS = (
    "prompt and completion, alpaca's instruction, input and output, and sharegpt's conversations of from and value are "
    "read too"
)
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
TEXTS = ("text", "input_text", "output_text")  # the types of a part that is text
CHOICES = ("chosen", "rejected")
BAD = (False, "false")  # 0 equals False
SHOWN = 40  # characters of a value, and fields of a line, in an error: at most so many
FEW = 8


def line_of(item: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    """An item as {"prompt": text, "answer": text} or {"messages": [...]}, all of whose contents are texts.

    Alpaca's become a chat where the model takes chats. ValueError names what is missing or cannot be read, and the
    remedy.
    """
    item = {name: value for name, value in item.items() if value is not None}
    if media := [name for name in MEDIA if item.get(name)]:
        raise ValueError(f"the line has {shown(media[0], SHOWN)}: only text is learned, remove the line")
    if "messages" in item:
        return {"messages": _messages(item["messages"], "messages")}
    if "conversations" in item:
        first = [{"role": "system", "content": item["system"]}] if item.get("system") else []
        talk = item["conversations"]
        return {"messages": _messages([*first, *talk] if isinstance(talk, list) else talk, "conversations")}
    if "instruction" in item:
        return _alpaca(item, chat)
    return _pair(item)


def is_bad(item: Mapping[str, Any]) -> bool:
    """Whether a line is marked as an answer that is not to be learned: `label` is false."""
    label = item.get("label")
    return (label.lower() if isinstance(label, str) else label) in BAD


def _pair(item: Mapping[str, Any]) -> dict[str, Any]:
    """Prompt and answer, or completion; as lists of messages, as TRL has them, a chat."""
    name = "completion" if "completion" in item and "answer" not in item else "answer"
    prompt, answer = item.get("prompt"), item.get(name)
    if isinstance(prompt, list) and isinstance(answer, list):
        return {"messages": _messages([*prompt, *answer], f"prompt and {name}")}
    if isinstance(prompt, list) != isinstance(answer, list) and None not in (prompt, answer):
        raise ValueError(f"one of prompt and {name} is a list: give both as texts, or both as lists of messages")
    for field, value in (("prompt", prompt), (name, answer)):
        if not isinstance(value, str) or not value:
            raise ValueError(f"field {field!r} is missing or no text: {SHAPE}; {OTHERS}; {_fields(item)}")
    return {"prompt": prompt, "answer": answer}


def _fields(item: Mapping[str, Any]) -> str:
    """What a line that cannot be read has instead."""
    if any(name in item for name in CHOICES):
        return "this one compares answers: give the chosen one as answer"
    more = ", ..." if len(item) > FEW else ""
    return f"this one has {', '.join(shown(name, SHOWN) for name in list(item)[:FEW]) or 'no field'}{more}: rename them"


def _alpaca(item: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    """Instruction, input where there is any, and output. What stands between them is [D]: a blank line."""
    texts = {name: item.get(name, "") for name in ("instruction", "input", "output", "system")}
    for name, value in texts.items():
        if not isinstance(value, str) or (not value and name in ("instruction", "output")):
            raise ValueError(f"field {name!r} is missing or no text: a line of alpaca is instruction, input and output")
    if item.get("history"):
        raise ValueError("field 'history' is not read: give the whole chat as messages")
    prompt = "\n\n".join(filter(None, (texts["instruction"], texts["input"])))
    if chat:
        system = [{"role": "system", "content": texts["system"]}] if texts["system"] else []
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": texts["output"]}]
        return {"messages": [*system, *turns]}
    return {"prompt": "\n\n".join(filter(None, (texts["system"], prompt))) + "\n\n", "answer": texts["output"]}


def _messages(messages: Any, field: str) -> list[dict[str, str]]:
    """Messages of role and content, or from and value, that end with the assistant's."""
    if not isinstance(messages, list) or len(messages) < 2:
        raise ValueError(f"field {field!r} must be a list of two or more: {SHAPE}")
    found = [_message(number, message) for number, message in enumerate(messages, 1)]
    if found[-1]["role"] != "assistant":
        raise ValueError(f"the last message is from the {found[-1]['role']}: end with the assistant's answer")
    return found


def _message(number: int, message: Any) -> dict[str, str]:
    """A message that is read; a system message may be empty, which to a template that has its own is not none."""
    given = message if isinstance(message, Mapping) else {}
    told = {name: value for name, value in given.items() if value is not None}
    role, content = (told.get(ours, told.get(theirs)) for ours, theirs in (("role", "from"), ("content", "value")))
    known = NAMES.get(role, role) if isinstance(role, str) else None
    if known not in ROLES:
        raise ValueError(f"message {number} has the role {shown(role, SHOWN)}: use {', '.join(ROLES)}")
    if told.get("tool_calls"):
        raise ValueError(f"message {number} calls tools: only text is learned, remove the line or the calls")
    text = _text(number, content) if isinstance(content, list) else content
    if not isinstance(text, str) or (not text and known != "system"):
        raise ValueError(f"message {number} has no content: give a text")
    return {"role": str(known), "content": text}


def _text(number: int, parts: list[Any]) -> str:
    """The parts of a content, which must be texts, a line each [D]."""
    found = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else part
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind not in TEXTS:
            raise ValueError(
                f"message {number} has a part of type {shown(kind, SHOWN)}: only text is learned, remove the part or "
                "the line"
            )
        if not isinstance(text, str):
            raise ValueError(f"message {number} has a part without a text: give each part type and text")
        found.append(text)
    return "\n".join(found)
