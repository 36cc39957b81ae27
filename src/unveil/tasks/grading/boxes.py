r"""Where an answer stands that was asked for in \boxed{...} within <answer>...</answer>."""

import re
from typing import NamedTuple

BOX = r"\boxed{"
OPEN, CLOSE = "<answer>", "</answer>"
OPENING = re.compile(
    r"(?P<slash>\\)?(?<![A-Za-z])boxed"
    r"(?:\s*(?P<brace>\{)|(?(slash)[ \t]*(?=[-+−$]*(?:\d|\.\d|[\\(])|[A-Za-z]\b)|(?!)))"
)  # braces, or after the backslash a number, a command or one letter
BARE_END = re.compile(r"\n|\$\.?\s|\$\.?$|\\boxed|<")  # of a box without braces
REST = re.compile(r"(?:\s|\$|\\[)\]]|</?(?:answer|reasoning)>)*\Z")  # what may follow a box that nothing closes
LONGEST = 500  # characters of what nothing closes
FORM = re.compile(r"(?:\s|\\?boxed|[{}.…$])*")  # the form that is asked for, with nothing in it


class Answer(NamedTuple):
    """What was answered, and in which other form than the one that is asked for."""

    text: str
    remark: str = ""


def marked(text: str) -> str | None:
    """What `answered` finds, without the remark."""
    found = answered(text)
    return None if found is None else found.text


def answered(text: str) -> Answer | None:
    """The answer as it was asked for: what is in the last box, without a box in the last <answer>...</answer>.

    What stands after the first </answer> that ends an answer is not read: the model went on to something else. None
    where nothing is marked so. Nothing else is an answer: which of the numbers in a sentence is meant would be a guess.
    """
    text = _to_its_end(text)
    if (box := last_box(text)) is not None:
        return box
    before, found, _ = text.rpartition(CLOSE)
    _, begun, inside = before.rpartition(OPEN)
    return Answer(inside) if found and begun and OPENING.search(text) is None else None


def _to_its_end(text: str) -> str:
    """A text up to the first </answer> that ends an answer: not one of the form, with nothing in it."""
    begin = 0
    while (end := text.find(CLOSE, begin)) >= 0:
        _, begun, inside = text[begin:end].rpartition(OPEN)
        begin = end + len(CLOSE)
        if begun and not FORM.fullmatch(inside) or not begun and last_box(inside):
            return text[:begin]
    return text


def last_box(text: str) -> Answer | None:
    r"""What is in the last box of a text; None if there is none, or if it does not close and more follows.

    Blanks before the brace do not matter. With a remark: `\boxed 7`, `boxed{7}`, and `\boxed{7` where the text ends.
    """
    boxes = list(OPENING.finditer(text))
    if not boxes:
        return None
    found = boxes[-1]
    rest = text[found.end() :]
    if not found["brace"]:
        end = BARE_END.search(rest)
        return Answer(rest[: end.start() if end else len(rest)], "box without braces")
    remark = "" if found["slash"] else "boxed without backslash"
    depth = 1
    for mark in re.finditer(r"\\.|[{}]", rest, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth == 0:
            return Answer(rest[: mark.start()], remark)
    if len(rest) > LONGEST:
        return None
    inside = REST.sub("", rest)
    return None if "\n" in inside or "<" in inside or not inside else Answer(inside, "unclosed box")
