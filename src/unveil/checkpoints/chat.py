"""A model's chat template: messages to text."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from unveil.checkpoints.apart import Apart, Ended

MARK = "unveil:mark"  # found again in a rendered chat
RAW = "mend the template, or use raw text (--raw)"
LONGEST = 200  # characters of what a template says of itself


@dataclass(frozen=True, kw_only=True, eq=False)
class ChatTemplate:
    """(messages, whether an answer is to follow) -> text, as transformers writes it.

    A template is another's program: jinja2's sandbox runs it, in a process of its own with limits on time and memory.
    Some templates (LLaDA-8B-Instruct's) always begin the next answer; where none is to follow that is cut off.
    """

    text: str  # the template
    names: Mapping[str, str] = field(default_factory=dict)  # special tokens that it may write, as bos_token

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of the template."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @cached_property
    def turn_end(self) -> str:
        """What is written after an answer; nothing for a template that refuses a question and its answer."""
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": MARK}]
        try:
            _, answered, end = self(chat, False).rpartition(MARK)
        except Refused:
            return ""
        return end if answered else ""

    def __call__(self, messages: Sequence[Mapping[str, Any]], ask: bool) -> str:
        """ValueError where the template refuses the messages, is broken, or jinja2 is not installed."""
        text = self._applied(messages, ask)
        return text if ask else text.removesuffix(self._always)

    @cached_property
    def _always(self) -> str:
        """What it writes after any messages, where it does not listen to what is asked."""
        one = [{"role": "user", "content": "."}]
        try:
            return self._applied([], False) if self._applied(one, False) == self._applied(one, True) else ""
        except Refused:  # no chat is empty, or so short, for this one
            return ""

    def _applied(self, messages: Sequence[Mapping[str, Any]], ask: bool) -> str:
        chat = [dict(message) for message in messages]
        try:
            found = self._renderer.ask({"template": self.text, "names": self.names, "messages": chat, "ask": ask})
        except Ended as error:
            raise Broken(f"the model's chat template {error}: {RAW}") from None
        if "text" in found:
            return str(found["text"])
        if "refused" in found:
            raise Refused(f"the model's chat template refuses the messages ({_inert(found['refused'])}): change them")
        if "syntax" in found:
            raise Broken(f"the model's chat template has a syntax error ({_inert(found['syntax'])}): {RAW}")
        raise Refused(f"the model's chat template fails ({_inert(found['failed'])}): {RAW}")

    @cached_property
    def _renderer(self) -> Apart:
        try:
            known = find_spec("jinja2")
        except ValueError:  # it is hidden
            known = None
        if known is None:
            raise Unrendered("the model's chat template needs jinja2: pip install 'unveil[hf]'")
        return Apart("render")


class Refused(ValueError):
    """Messages that a template does not take."""


class Broken(ValueError):
    """A template that takes no messages."""


class Unrendered(ValueError):
    """jinja2, which runs templates, is not installed."""


def _inert(text: str) -> str:
    """What a template says, short and without signs that move a terminal."""
    line = "".join(sign if sign.isprintable() else " " for sign in text).strip()
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
