"""Equations of two whole numbers and their result, such as "44-15=29": at most nine digits each, no signs."""

import re

NUMBER = "(0|[1-9][0-9]{0,8})"
EQUATION = re.compile(f"{NUMBER}([-+*/]){NUMBER}={NUMBER}")  # groups: number, operator, number, result


def exact(found: re.Match[str]) -> bool:
    """Whether what `EQUATION` found holds; a quotient must be whole."""
    x, y, result = int(found[1]), int(found[3]), int(found[4])
    return {"+": x + y == result, "-": x - y == result, "*": x * y == result, "/": y > 0 and x == y * result}[found[2]]
