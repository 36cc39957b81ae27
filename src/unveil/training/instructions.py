r"""Instruction sets: where items come from (a file, the hub), and layouts, by which items become lines or are left out.

The layout s1k is that of EvoToken's training data (Zhong et al. 2026, arXiv 2601.07351, released code): mathematics of
simplescaling/s1K with the solution in `attempt`. The released code takes all between the last `\boxed{` and the last
`}` as the answer, which is too much where another brace follows; here it ends where the box does. What is our choice
is marked [D].
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unveil.files import StrPath
from unveil.tasks.grading.boxes import BOX, last_box
from unveil.tasks.sources import Item, hub_rows, items_of
from unveil.training.shapes import line_of

HUB = re.compile(r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^:]+))?(?::(?P<split>.+))?")
INSTRUCTION = r"""You are an expert in mathematics. Solve the problem step by step; the final answer goes in \boxed{}.
Reply in this format:
<reasoning>your steps</reasoning>
<answer>\boxed{your answer}</answer>"""  # [D]: the meaning of the released code's, in our words


class LeftOut(Exception):
    """An item that a layout does not take. The message goes on after a count, as in "3 longer than 1024 tokens"."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an item becomes a line of LineForm's, and what is left out. Tokens are counted with the answer's EOS."""

    line: Callable[[Mapping[str, Any], bool], dict[str, Any]]  # (item, whether the model takes chats); LeftOut too
    most: int | None = None  # tokens of prompt and answer
    least: int = 0  # tokens of an answer

    def check(self, num_prompt: int, num_answer: int) -> None:
        """LeftOut for too many tokens, or too few; `num_answer` is without the EOS."""
        if self.most is not None and num_prompt + num_answer + 1 > self.most:
            raise LeftOut(f"longer than {self.most} tokens")
        if num_answer + 1 < self.least:
            raise LeftOut(f"with an answer of fewer than {self.least} tokens")


def s1k(item: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    """The question after an instruction, and the reasoning with the boxed answer; a chat where the model takes chats.

    LeftOut unless it is mathematics and a box with an answer closes. ValueError for a field that is no text.
    """
    if _text(item, "cot_type") != "math":
        raise LeftOut("not mathematics")
    question, attempt = _text(item, "question"), _text(item, "attempt")
    answer = last_box(attempt)
    if answer is None or answer.remark or not answer.text.strip():
        raise LeftOut(r"without an answer in \boxed{...}")
    prompt = f"{INSTRUCTION}\n\n{question}"
    target = f"<reasoning>{attempt}</reasoning>\n<answer>{BOX}{answer.text}}}</answer>"
    if chat:
        return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": target}]}
    return {"prompt": f"{prompt}\n\n", "answer": target}  # [D]: the blank line


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise ValueError(f"field {name!r} is missing or no text: layout s1k reads question, attempt and cot_type")
    return value


PAIRS = Layout(line=line_of)
LAYOUTS: Mapping[str, Layout] = MappingProxyType({"pairs": PAIRS, "s1k": Layout(line=s1k, most=1024, least=32)})


def read_items(data: StrPath) -> Iterator[Item]:
    """All items of a file, as `items_of`, or of the hub.

    The hub's are named hub:OWNER/NAME[@REVISION][:SPLIT], the split is "train" unless given; a file of that name goes
    first. OSError or ValueError for what cannot be had.
    """
    if not str(data).startswith("hub:") or Path(data).is_file():
        yield from items_of(data)
        return
    parts = HUB.fullmatch(str(data))
    if parts is None:
        raise ValueError(
            f"{str(data)!r} is neither a file nor hub:OWNER/NAME[@REVISION][:SPLIT]: correct it, or give a file of "
            "JSON lines"
        )
    split, revision = parts["split"] or "train", parts["revision"]
    rows = hub_rows(parts["name"], split=split, revision=revision, called=str(data), extra="data")
    for number, fields in enumerate(rows, 1):
        yield Item(f"{data}, row {number}", f"{split}:{number}", fields)
