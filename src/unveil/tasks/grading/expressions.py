r"""Arithmetic expressions of whole numbers, read and computed exactly: `(30+93)-100`, `\frac{30}{5} \times 2`.

Texts are untrusted: they are never evaluated as code, and length and depth are bounded. There is no power and nothing
that is left out: `2(3+4)` and `2**3` are no expressions.
"""

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

LONGEST, DEEPEST = 500, 50  # characters; operations within one another
LATEX = {
    r"\times": "*", r"\cdot": "*", "×": "*", "·": "*", r"\div": "/", "÷": "/", "−": "-", r"\dfrac": r"\frac",
    r"\tfrac": r"\frac", r"\left": "", r"\right": "", r"\(": "", r"\)": "", r"\[": "", r"\]": "", r"\,": "", r"\ ": "",
    r"\!": "", r"\;": "", r"\:": "", "$": "", r"\cdotp": "*", r"\ast": "*", "⋅": "*", "∙": "*", "∗": "*", "•": "*",
    "∕": "/", "⁄": "/", "–": "-", r"\quad": "", r"\qquad": "", r"\displaystyle": "", "~": " ",
}  # fmt: skip
REWRITTEN = re.compile("|".join(re.escape(key) for key in sorted(LATEX, key=len, reverse=True)))
TOKEN = re.compile(r"\s*((?:0|[1-9][0-9]{0,17})(?![0-9])|[-+*/(){}]|\\frac)")
CLOSES = {"(": ")", "{": "}"}


class Expression(NamedTuple):
    """The numbers that are written, in order, and what they make."""

    numbers: list[int]
    value: Fraction


def makes(text: str, numbers: Sequence[int], target: int) -> bool:
    """Whether `text` is an expression that uses each number exactly once and makes the target.

    It may go on with "= target" and end in a point, and be LaTeX. Signs before an operand are taken.
    """
    left, equals, right = _plain(text).removesuffix(".").partition("=")
    try:
        found = read(left)
        said = read(right).value if equals else found.value
    except ValueError:
        return False
    return Counter(found.numbers) == Counter(numbers) and found.value == said == target


def read(text: str) -> Expression:
    """The expression that all of `text` writes. ValueError if it is none, too long, too deep, or divides by zero."""
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters; an expression may have {LONGEST}")
    plain = _plain(text)
    reader = _Reader(TOKEN.findall(plain))
    if TOKEN.sub("", plain):
        raise ValueError("no expression: it holds more than whole numbers, + - * / and parentheses")
    value = reader.sum()
    if reader.tokens:
        raise ValueError(f"no expression: {reader.tokens[-1]!r} is one too many")
    return Expression(reader.numbers, value)


def _plain(text: str) -> str:
    return REWRITTEN.sub(lambda key: LATEX[key[0]], text).strip()


class _Reader:
    """Takes tokens from the front, one rule of the grammar a method."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens[::-1]
        self.numbers: list[int] = []
        self.depth = 0

    def take(self, *wanted: str) -> str:
        """The next token if it is one of those wanted, else ""."""
        return self.tokens.pop() if self.tokens and self.tokens[-1] in wanted else ""

    def sum(self) -> Fraction:
        """Terms with + and - between."""
        value = self.product()
        while sign := self.take("+", "-"):
            value += self.product() if sign == "+" else -self.product()
        return value

    def product(self) -> Fraction:
        """Operands with * and / between."""
        value = self.operand()
        while sign := self.take("*", "/"):
            value = value * self.operand() if sign == "*" else _over(value, self.operand())
        return value

    def operand(self) -> Fraction:
        r"""A number, what is in parentheses or braces, or a \frac; signs before it."""
        self.depth += 1
        if self.depth > DEEPEST or not self.tokens:
            raise ValueError("no expression: it is too deep, or ends too early")
        token = self.tokens.pop()
        if token in "+-":
            value = self.operand() * (1 if token == "+" else -1)
        elif token in CLOSES:
            value = self.inside(token)
        elif token == r"\frac":
            value = _over(self.inside(self.take("{")), self.inside(self.take("{")))
        elif token.isdecimal():
            self.numbers.append(int(token))
            value = Fraction(int(token))
        else:
            raise ValueError(f"no expression: {token!r} stands where a number should")
        self.depth -= 1
        return value

    def inside(self, opened: str) -> Fraction:
        """The sum up to what closes it."""
        value = self.sum()
        if not opened or not self.take(CLOSES[opened]):
            raise ValueError("no expression: a parenthesis or brace is missing")
        return value


def _over(value: Fraction, divisor: Fraction) -> Fraction:
    if not divisor:
        raise ValueError("no expression: it divides by zero")
    return value / divisor


NUMBER = "(0|[1-9][0-9]{0,8})"
EQUATION = re.compile(f"{NUMBER}([-+*/]){NUMBER}={NUMBER}")  # groups: number, operator, number, result


def exact(found: re.Match[str]) -> bool:
    """Whether what `EQUATION` found holds; a quotient must be whole."""
    x, y, result = int(found[1]), int(found[3]), int(found[4])
    return {"+": x + y == result, "-": x - y == result, "*": x * y == result, "/": y > 0 and x == y * result}[found[2]]
