r"""Expressions: computed exactly as the tree that they write, whatever the way of writing; all else is refused."""

from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unveil.tasks.grading.expressions import DEEPEST, LONGEST, makes, read


class Tree(NamedTuple):
    """An expression and what it must be read as."""

    text: str
    numbers: list[int]
    value: Fraction | None  # None: it divides by zero


def leaf(number: int) -> Tree:
    return Tree(str(number), [number], Fraction(number))


def joined(parts: tuple[Tree, str, Tree]) -> Tree:
    left, sign, right = parts
    numbers, x, y = left.numbers + right.numbers, left.value, right.value
    text = rf"\frac{{{left.text}}}{{{right.text}}}" if sign == r"\frac" else f"({left.text}{sign}{right.text})"
    if x is None or y is None or (sign.strip() in ("/", r"\div", "÷", r"\frac") and y == 0):
        return Tree(text, numbers, None)
    plain = {"+": x + y, "-": x - y, "−": x - y, "*": x * y, r"\times": x * y, r"\cdot": x * y, "×": x * y}
    return Tree(text, numbers, plain[sign.strip()] if sign.strip() in plain else x / y)


SIGNS = ["+", " - ", "−", "*", r" \times ", r"\cdot ", "×", "/", r"\div ", "÷", r"\frac"]
leaves = st.integers(0, 999).map(leaf)
trees = st.recursive(leaves, lambda inner: st.tuples(inner, st.sampled_from(SIGNS), inner).map(joined), max_leaves=8)


@given(trees)
def test_an_expression_is_what_its_tree_is(tree: Tree) -> None:
    assume(len(tree.text) <= LONGEST)
    if tree.value is None:
        with pytest.raises(ValueError, match="divides by zero"):
            read(tree.text)
    else:
        assert read(tree.text) == (tree.numbers, tree.value)
        assert read(f"${tree.text}$").value == -read(f"-{tree.text}").value == tree.value


@given(trees, st.integers(1, 9), st.randoms())
def test_every_number_once_and_the_target(tree: Tree, change: int, rng) -> None:
    value, numbers = tree.value, tree.numbers.copy()
    assume(value is not None and value.denominator == 1 and len(tree.text) < LONGEST - 40)
    rng.shuffle(numbers)
    assert makes(tree.text, numbers, int(value)) and makes(f"{tree.text} = {value}", numbers, int(value))
    assert not makes(tree.text, numbers, int(value) + change)
    assert not makes(f"{tree.text} = {value + change}", numbers, int(value))
    assert not makes(tree.text, [*numbers, 1], int(value)) and not makes(f"{tree.text}*1", numbers, int(value))
    assert not makes(tree.text, numbers[1:], int(value))


@given(st.lists(st.integers(1, 99), min_size=3, max_size=3), st.sampled_from(["+", "-", "*"]), st.sampled_from("+-*/"))
def test_products_bind_closer_and_equals_go_from_the_left(numbers: list[int], first: str, second: str) -> None:
    a, b, c = map(Fraction, numbers)
    pairs = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}
    late = second in "*/" and first in "+-"
    wanted = pairs[first](a, pairs[second](b, c)) if late else pairs[second](pairs[first](a, b), c)
    assert read(f"{a}{first}{b}{second}{c}").value == wanted


@given(st.text("0123456789+-*/().= \\{}frac\n") | st.text())
def test_any_other_text_is_refused_or_read(text: str) -> None:
    assert makes(text, [1, 2], 3) in (True, False)


NONE = {
    "": "ends too early", "()": r"'\)' stands where", "1 2": "'2' is one too many", "2(3+4)": r"'\(' is one too many",
    "(1+2": "a parenthesis or brace is missing", "1+2)": r"'\)' is one too many", "(1+2}": "is missing",
    "1+": "ends too early", "*1": r"'\*' stands where", "2**3": r"'\*' stands where", "7//2": "'/' stands where",
    "1/0": "divides by zero", "1/(2-2)": "divides by zero", r"\frac{1}{2-2}": "divides by zero",
    r"\frac12": "is missing", r"\frac{1}": "ends too early|is missing", "2^3": "holds more", "1.0": "holds more",
    "1,2": "holds more", "x": "holds more", "٣+1": "holds more", "1\0": "holds more", "030": "holds more|too many",
    r"\text{1}": "holds more", "[1+2]": "holds more", r"\sqrt{4}": "holds more", "1=1": "holds more",
    "1e3": "holds more", "1" * 19: "holds more", "9" * 400: "holds more", "1+" * 249 + "11": "",
    "(" * 60 + "1" + ")" * 60: "too deep", "-" * 60 + "1": "too deep", "1" * (LONGEST + 1): "characters",
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), NONE.items())
def test_what_is_no_expression(text: str, reason: str) -> None:
    if reason:
        with pytest.raises(ValueError, match=reason):
            read(text)
    else:
        assert read(text).value == 260


def test_depth_and_length_are_bounded() -> None:
    deep = "(" * (DEEPEST - 1) + "7" + ")" * (DEEPEST - 1)
    assert read(deep).value == 7
    with pytest.raises(ValueError, match="too deep"):
        read(f"({deep})")
    assert read("1".ljust(LONGEST)).value == 1


@pytest.mark.parametrize("text", ["1⋅2+3.", r"1 \cdot 2\quad + 3", r"$1 ∙ 2 + 3.$", "1*2+3 = 5."])
def test_other_signs_and_a_final_point(text: str) -> None:
    assert makes(text.replace(".$", "$."), [1, 2, 3], 5)
