r"""Where an answer stands that was asked for in \boxed{...} within <answer>...</answer>."""

import re

BOX = r"\boxed{"
OPEN, CLOSE = "<answer>", "</answer>"


def marked(text: str) -> str | None:
    """The answer as it was asked for: what is in the last box, without a box in the last <answer>...</answer>.

    None where neither is there, or the last one does not close. Nothing else is an answer: which of the numbers in a
    sentence is meant would be a guess.
    """
    if BOX in text:
        return last_box(text)
    before, found, _ = text.rpartition(CLOSE)
    _, begun, inside = before.rpartition(OPEN)
    return inside if found and begun else None


def last_box(text: str) -> str | None:
    r"""What is in the last `\boxed{...}` of a text, up to the brace that closes it; None if there is none.

    Braces after a backslash, as in a set's `\{1, 2\}`, open and close nothing.
    """
    _, found, rest = text.rpartition(BOX)
    depth = 1
    for mark in re.finditer(r"\\.|[{}]", rest if found else "", re.DOTALL):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth == 0:
            return rest[: mark.start()]
    return None
