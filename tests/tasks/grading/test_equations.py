"""Equations: exact ones hold, in whole numbers; nothing else is one."""

import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.tasks.grading.expressions import EQUATION, exact

NUMBERS = st.integers(0, 12) | st.integers(0, 999_999_999)
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@given(x=NUMBERS, y=NUMBERS, name=st.sampled_from(sorted(OPERATORS)), other=NUMBERS)
def test_what_is_exact(x: int, y: int, name: str, other: int) -> None:
    right = None if name == "/" and not y else OPERATORS[name](Fraction(x), y)
    for result in (other, x, y, right):
        found = EQUATION.fullmatch(f"{x}{name}{y}={result}")
        if found is not None:
            assert exact(found) == (result == right)
        else:  # a fraction, a negative number, or too long
            assert not isinstance(result, int) and (right is None or right.denominator > 1 or not 0 <= right < 10**9)


@pytest.mark.parametrize(
    "text", ["", "1+1", "1+1=", "01+1=2", "1 + 1=2", "+1+1=2", "1+-1=0", "1+1=2 ", "1**1=1", "1+1=٢", "1*1=1000000000"]
)
def test_what_is_no_equation(text: str) -> None:
    assert EQUATION.fullmatch(text) is None
