r"""The rules by which EvoToken's release counts answers as right, with their oddities: so that numbers can be compared.

Source: Zhong et al. 2026, arXiv 2601.07351, released code eval/get_acc.py, which follows d1's (Zhao et al. 2025,
github.com/dllm-reasoning/d1, eval/parse_and_get_acc.py); the form of mathematics is that of Hendrycks et al. 2021,
"MATH". What differs from a fair judge, all of it kept:
- `boxed_number`: the first box with a number wins, not the last, and in it the first number: `1,000` is 1 and
  `\frac{1}{2}` is 1. Without one the last number in <answer>...</answer>: `1,250` is 250.
- `boxed_text`: `\boxed 5` goes before any other box; without a box the whole text is the answer.
- `same_mathematics` compares strings: 5.0 is not 5, 1,000 is not 1000, \text{B} is not B.
- `expression_makes`: of `expression = number` only the left side counts; `**` and `//` are taken; 30.93 uses 30 and 93.

Two things cannot be kept. The release also judges what stands after the end id. And a power or an expression beyond
all measure, which it would compute for hours, is wrong here, with a remark.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from unveil.tasks.grading.boxes import BOX, CLOSE, OPEN
from unveil.tasks.task import Verdict

BEYOND = Verdict(False, "beyond bounds")
LONGEST, MOST_BITS = 500, 10_000  # characters of an expression, bits of a power
NUMBER = re.compile(r"-?\d+\.?\d*")
DROPPED = ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$")
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow, ast.UAdd: operator.pos, ast.USub: operator.neg,
}  # fmt: skip


class _TooMuch(Exception):
    """What no bounded computation can judge."""


# Where the answer is --------------------------------------------------------------------------------------------------


def boxed_number(text: str) -> float | None:
    """The answer to a word problem, None if there is none. parse_gsm_answers, parse_svamp_answers."""
    for line in text.split("\n"):
        for inside in _boxes(line):
            if (found := _float(inside, 0)) is not None:
                return found
    tagged = _tagged(text)
    return None if tagged is None else _float(tagged, -1)


def boxed_text(text: str) -> str | None:
    """The answer to a problem of mathematics, None if there is none. parse_math_answers."""
    found = _boxed(text)
    tagged = None if found else _tagged(text)
    return found if tagged is None else tagged


def _boxes(line: str) -> Iterator[str]:
    r"""What is in each `\boxed{...}` of a line, up to the first closing brace."""
    at = line.find(BOX)
    while at >= 0 and (end := line.find("}", at)) >= 0:
        yield line[at + len(BOX) : end]
        at = line.find(BOX, end)


def _float(text: str, which: int) -> float | None:
    """A text as a number, else the first or last one in it."""
    try:
        return float(text)
    except ValueError:
        numbers = NUMBER.findall(text)
        return float(numbers[which]) if numbers else None


def _tagged(text: str) -> str | None:
    """What is in the first <answer>...</answer>."""
    _, begun, rest = text.partition(OPEN)
    inside, found, _ = rest.partition(CLOSE)
    return inside.strip() if begun and found else None


def _boxed(text: str) -> str | None:
    """What is in the last box, without a box all of a text; None if it does not close. last_boxed_only_string."""
    _, blank, rest = text.rpartition(r"\boxed ")
    if blank:
        return rest.partition("$")[0]
    at = text.rfind(r"\boxed")
    at = text.rfind(r"\fbox") if at < 0 else at
    if at < 0:
        return text
    depth = 0
    for mark in re.finditer("[{}]", text[at:]):
        depth += 1 if mark[0] == "{" else -1
        if mark[0] == "}" and depth == 0:
            whole = text[at : at + mark.end()]
            return whole[len(BOX) : -1] if whole.startswith(BOX) else whole
    return None


# Mathematics ----------------------------------------------------------------------------------------------------------


def same_mathematics(text: str, gold: str) -> bool:
    """Whether two texts have the same form; where the published code breaks, whether they are the same. is_equiv."""
    try:
        return _form(text) == _form(gold)
    except (ValueError, IndexError):
        return text == gold


def _form(text: str) -> str:
    """A text without units, degrees, percent and blanks, fractions and roots in braces. strip_string."""
    text = text.replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for piece in DROPPED:
        text = text.replace(piece, "")
    text, *units = text.split("\\text{ ")
    if len(units) > 1:
        raise ValueError("two units")
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = "0" + text if text.startswith(".") else text
    left, *right = text.split("=")
    text = right[0] if len(right) == 1 and len(left) <= 2 else text
    first, *roots = text.split("\\sqrt")
    text = first + "".join("\\sqrt" + (root if root[0] == "{" else f"{{{root[0]}}}{root[1:]}") for root in roots)
    text = _fractions(text.replace(" ", ""))
    return _slash("\\frac{1}{2}" if text == "0.5" else text)


def _fractions(text: str) -> str:
    r"""`\frac12` as `\frac{1}{2}`; all as it was if one has a single character. fix_fracs."""
    first, *rest = text.split("\\frac")
    for piece in rest:
        if piece[0] == "{":
            first += "\\frac" + piece
        elif len(piece) < 2:
            return text
        else:
            below = piece[1] if piece[1] == "{" else f"{{{piece[1]}}}"
            first += f"\\frac{{{piece[0]}}}{below}{piece[2:]}"
    return first


def _slash(text: str) -> str:
    r"""`1/2` as `\frac{1}{2}`. ValueError for one slash that does not part whole numbers. fix_a_slash_b."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    above, below = map(int, parts)
    return f"\\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text


# Countdown ------------------------------------------------------------------------------------------------------------


def expression_makes(text: str, numbers: Sequence[int], target: int) -> Verdict:
    """Whether the expression in a text has exactly these numbers and makes the target. parse_countdown_answers."""
    found = _boxed(text)
    found = (text if (tagged := _tagged(text)) is None else tagged) if found is None else found
    found = _left_side(found.replace(r"\div", "/").replace(r"\times", "*").replace(r"\cdot", "*"))
    try:
        used = sorted(map(int, re.findall(r"\d+", found)))
        if used != sorted(numbers) or not re.fullmatch(r"[\d+\-*/().\s]+", found):
            return Verdict(False)
        if len(found) > LONGEST:
            raise _TooMuch
        return Verdict(abs(_computed(ast.parse(found.strip(), mode="eval").body) - target) < 1e-5)
    except (_TooMuch, MemoryError, RecursionError):
        return BEYOND
    except (ArithmeticError, SyntaxError, TypeError, ValueError):
        return Verdict(False)


def _left_side(text: str) -> str:
    """What stands left of the first "=" between an expression and a number; all of a text without one."""
    sides = text.split("=")
    for left, right in zip(sides, sides[1:], strict=False):
        expression = left[len(left.rstrip("0123456789+-*/() ")) :]
        if expression and re.match(r"[0-9. ]", right):
            return expression.strip()
    return text


def _computed(node: ast.AST) -> Any:
    """What an expression is in Python's arithmetic. TypeError for what is no arithmetic, _TooMuch for huge powers."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_computed(node.operand))
    if not isinstance(node, ast.BinOp) or type(node.op) not in OPERATORS:
        raise TypeError(f"{type(node).__name__} is no arithmetic")
    left, right = _computed(node.left), _computed(node.right)
    whole = isinstance(left, int) and isinstance(right, int)
    if isinstance(node.op, ast.Pow) and whole and left.bit_length() * right > MOST_BITS:
        raise _TooMuch
    return OPERATORS[type(node.op)](left, right)
