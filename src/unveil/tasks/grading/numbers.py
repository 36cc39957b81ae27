r"""Numbers as answers write them, exactly: `\$1,234.50`, `-3\frac{1}{2}`, `25\%`, `18 \text{ eggs}`."""

import re
from fractions import Fraction

from unveil.tasks.grading.boxes import marked

LONGEST = 200  # characters
THIN = re.compile(r"\\[,!;:]")
BLANKS = re.compile(r"\\ |\\quad\b|\\qquad\b|~|\s+")
DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)"
PART = rf"(?:\{{ ?-? ?{DIGITS} ?\}}|[0-9])"  # of a fraction; a digit needs no braces
NUMBER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?:(?P<whole>{DIGITS}) ?)?"
    rf"(?:\\[dt]?frac ?(?P<over>{PART}) ?(?P<under>{PART})|(?<![0-9])(?P<top>{DIGITS}) ?/ ?(?P<bottom>{DIGITS}))"
    rf"|(?P<decimal>{DIGITS}(?:\.[0-9]*)?|\.[0-9]+))"
)
WORDS = re.compile(r"\\(?:text|textbf|textrm|mbox|mathrm|mathbf) ?\{([^{}]*)\}")
SIGNS = re.compile(r"\\?[$%]|\^ ?\{? ?\\circ ?\}?|\\[()\[\]]|\*\*|[°€£]")
UNIT = re.compile(r"(?:[A-Za-z ()/.']|(?<=[A-Za-z)]) ?(?:[²³]|\^ ?\{?[23]\}?))*")  # 18 m^2, but not 10^2


def exact(text: str) -> Fraction | None:
    """The number that all of `text` writes: digits, with or without a point, a fraction, or a mixed number.

    Commas part groups of three digits. None for all else, and for more than 200 characters.
    """
    found = NUMBER.fullmatch(_plain(text)) if len(text) <= LONGEST else None
    return None if found is None else _value(found)


def number(text: str) -> Fraction | None:
    r"""The one number of an answer to a word problem, None if there is none or more than one.

    After one "=" what stands right of it counts. Dollars, degrees and percent are units, so `25\%` is 25; so are words
    after the number. Words before it are not taken: "minus 5" is no 5.
    """
    if len(text) > LONGEST or text.count("=") > 1:
        return None
    bare = _plain(SIGNS.sub(" ", WORDS.sub(r" \1 ", _plain(text.rpartition("=")[2]))))
    found = NUMBER.match(bare)
    return _value(found) if found and UNIT.fullmatch(bare, found.end()) else None


def says_number(text: str, gold: str) -> bool:
    """Whether the number in the last box, without a box that in the last <answer>...</answer>, is the right one."""
    found = marked(text)
    return found is not None and number(found) == number(gold)


def _plain(text: str) -> str:
    """One kind of minus and of comma; one blank between words."""
    return BLANKS.sub(" ", THIN.sub("", text.replace("{,}", ",").replace("−", "-"))).strip()


def _value(found: re.Match[str]) -> Fraction | None:
    sign = -1 if found["sign"] == "-" else 1
    if found["decimal"]:
        return sign * Fraction(found["decimal"].replace(",", ""))
    over, under = found["over"] or found["top"], found["under"] or found["bottom"]
    bottom = _whole(under)
    return sign * (_whole(found["whole"] or "0") + Fraction(_whole(over), bottom)) if bottom else None


def _whole(text: str) -> int:
    return int(re.sub(r"[{}, ]", "", text))
