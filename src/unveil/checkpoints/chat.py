"""A model's chat template: messages to text."""

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tokenizers import Tokenizer, models

MARK = "unveil:mark"  # found again in a rendered chat


@dataclass(frozen=True, kw_only=True, eq=False)
class ChatTemplate:
    """(messages, whether an answer is to follow) -> text, by transformers, which runs the template in a sandbox.

    Some templates (LLaDA-8B-Instruct's) always begin the next answer; where none is to follow that is cut off.
    """

    text: str  # the template
    names: Mapping[str, str] = field(default_factory=dict)  # special tokens that it may write, as bos_token

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of the template."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @property
    def turn_end(self) -> str:
        """What is written after an answer; nothing for a template that refuses a question and its answer.

        Nothing, with a warning, without transformers: raw text needs no template.
        """
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": MARK}]
        try:
            _, answered, end = self(chat, False).rpartition(MARK)
        except Refused:
            return ""
        except Unrendered as error:
            warnings.warn(f"{error}; until then an answer does not end where its chat template ends one", stacklevel=2)
            return ""
        return end if answered else ""

    def __call__(self, messages: Sequence[Mapping[str, str]], ask: bool) -> str:
        """ValueError where the template refuses the messages, or transformers is not installed."""
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

    @cached_property
    def _applied(self) -> Callable[[Sequence[Mapping[str, str]], bool], str]:
        try:
            from jinja2 import TemplateError
            from transformers import PreTrainedTokenizerFast
        except ImportError:
            raise Unrendered("the model's chat template needs transformers: pip install 'unveil[hf]'") from None
        empty = Tokenizer(models.WordLevel({}, unk_token=""))  # only text is written here
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=empty, chat_template=self.text, **self.names)

        def applied(messages: Sequence[Mapping[str, str]], ask: bool) -> str:
            chat = [dict(message) for message in messages]
            try:  # as a batch: a chat without messages is an error for transformers
                return str(tokenizer.apply_chat_template([chat], tokenize=False, add_generation_prompt=ask)[0])
            except TemplateError as error:
                raise Refused(f"the model's chat template refuses the messages ({error}): change them") from None

        return applied


class Refused(ValueError):
    """Messages that a template does not take."""


class Unrendered(ValueError):
    """transformers, which runs templates, is not installed."""
