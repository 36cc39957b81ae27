r"""Whether two answers of mathematics are equal: `\frac{1}{2}` and 0.5, `x+1` and `1+x`, `(1, 2]` and `1 < x \le 2`.

Numbers are compared exactly, all else by math-verify (Kydlíček et al., Hugging Face), which takes an irrational number
in six decimals, too. It computes with sympy, which may take hours for a short text such as `9^{9^{9}}`, and its own
timeouts work in the main thread only. So it runs in a child process that ends itself after some seconds (decision 11).
Its reader of plain text calls eval, so it is not used: plain text is rewritten as LaTeX, `sqrt(3)/2` as `\sqrt{3}/2`.

What math-verify overlooks is seen to here: the base of a number, what is only near a number, times of the day, units,
words that change a number, and that neither an interval nor a point is a set or a list of values.
"""

import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from threading import Lock

from unveil.tasks.grading.numbers import APPROXIMATE, CLOCK, WORDS, exact, number

LONGEST, SECONDS = 300, 5.0  # characters of an answer; processor time for a pair
AROUND = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]|\$\$?([^$]*)\$\$?", re.DOTALL)
BASE = re.compile(r"[0-9][A-F]*[)}]? ?_ ?\{? ?([0-9]+|[a-z]{3,})|\bbase ?([0-9]+|[a-z]+)")  # of a number: 52_8
BASED = re.compile(r"([0-9A-F][0-9A-F,]*)(?:_\{?\(?([0-9]+|[a-z]+)\)?\}?|\(?base([0-9]+|[a-z]+)\)?)?")
BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
BASES |= {"eleven": 11, "twelve": 12, "sixteen": 16}
DIFFERENT = [{one, other} for one in ("two", "interval") for other in ("set", "list")] + [{"tuple", "set"}]
WORDED = re.compile(r"[-+]?[0-9][0-9.,]* ?[A-Za-z]{3,}[A-Za-z ]*|[-+]?[0-9][0-9.,]* (?:[A-Za-z]+ )+[A-Za-z]+")
REWRITTEN = [(re.compile(plain), latex) for plain, latex in (
    (r"\*\*", "^"), (r"(?<!\\)\b(pi|theta|alpha|beta|phi)\b", r"\\\1 "),
    (r"(?<!\\)\bsqrt ?\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"(?<!\\)\b(?:oo|inf|infinity)\b", r"\\infty "), ("√ ?\\(([^()]*)\\)", r"\\sqrt{\1}"),
    ("√ ?([0-9]+|[a-z])", r"\\sqrt{\1}"), ("∞", r"\\infty "), ("²", "^2"), ("³", "^3"), ("[⋅·×]", r"\\cdot "),
    (r"\^ ?\(([^()]*)\)", r"^{\1}"), ("−", "-"), ("÷", "/"),
)]  # fmt: skip
CHILD = "unveil.tasks.grading.compare"


def check_installed() -> None:
    """ValueError if math-verify is not there."""
    if find_spec("math_verify") is None:
        raise ValueError("answers of mathematics are judged by math-verify: pip install 'unveil[tasks]'")


def equal(answer: str, gold: str) -> bool:
    """Whether an answer equals the right one. What is too long, no mathematics, or takes too long is wrong."""
    if len(answer) > LONGEST:
        return False
    answer, gold = _plain(answer), _plain(gold)
    numbers = exact(answer), exact(gold)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if answer == gold:
        return True
    if APPROXIMATE.search(answer) and not APPROXIMATE.search(gold):
        return False
    bases = [sorted(BASE.findall(WORDS.sub(r"\1", text))) for text in (answer, gold)]
    if any(bases) and (based := _based(answer)) is not None and _based(gold) is not None:
        return based == _based(gold)
    if bases[0] != bases[1] or {_enclosed(answer), _enclosed(gold)} in DIFFERENT:
        return False
    if (verdict := _measured(answer, gold)) is not None:
        return verdict
    return _child().equal(_latex(answer), _latex(gold))


def _plain(text: str) -> str:
    r"""A text without a final point, and without \( \) or $ $ around it."""
    text = text.strip().removesuffix(".").strip()
    found = AROUND.fullmatch(text)
    return next(filter(None, found.groups()), "").strip().removesuffix(".") if found else text


def _based(text: str) -> tuple[str, str] | None:
    """Digits and base of a number; one without a base is in base ten."""
    found = BASED.fullmatch(WORDS.sub(r"\1", text).replace(" ", ""))
    if found is None:
        return None
    base = (found[2] or found[3] or "10").lower()
    return found[1].replace(",", "").lstrip("0").upper(), str(BASES.get(base, base))


def _enclosed(text: str) -> str:
    """Whether it is a set, an interval, a point or interval of two values, a list of values; "" for all else."""
    bare = re.sub(r"\\left|\\right|\s", "", text)
    if bare.startswith(r"\{") and bare.endswith(r"\}"):
        return "set"
    two = re.fullmatch(r"([\[(])[^\[\](),]+,[^\[\](),]+([\])])", bare)
    if two:
        return "two" if two[1] + two[2] == "()" else "interval"
    if bare.startswith("(") and bare.endswith(")") and "," in bare and ")" not in bare[:-1]:
        return "tuple"
    return "list" if "," in bare and not re.search(r"[\[\](){}]", bare) else ""


def _measured(answer: str, gold: str) -> bool | None:
    """Whether an answer with words or a unit is the right number; None where that is math-verify's to say."""
    right = number(gold)
    if right is None and not CLOCK.search(gold):
        return None
    if CLOCK.search(answer) or CLOCK.search(gold):
        times = [CLOCK.fullmatch(WORDS.sub(r"\1", text).strip()) for text in (answer, gold)]
        if None not in times:
            return [time.groups() for time in times] == [times[0].groups()] * 2  # type: ignore[union-attr]
        return right is not None and number(answer) == right
    said = number(answer)
    if said == right:
        return True
    worded = WORDED.fullmatch(WORDS.sub(r" \1 ", answer).strip())
    return False if worded else None


def _latex(text: str) -> str:
    """Plain text as LaTeX."""
    for plain, latex in REWRITTEN:
        text = plain.sub(latex, text)
    return text


class _Child:
    """A process that compares pairs one after the other; a new one after it has ended."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.process: subprocess.Popen[str] | None = None
        self.owner = 0

    def equal(self, answer: str, gold: str) -> bool:
        """False where the process ended over the pair."""
        with self.lock:
            mine = self.process if self.owner == os.getpid() else None  # a fork has the pipes, but no child
            process, self.process, self.owner = mine or _started(), None, os.getpid()
            said = ""
            try:
                said = _asked(process, json.dumps([answer, gold]))
            finally:  # interrupted, it would answer this pair when the next one is asked
                if said:
                    self.process = process
                else:
                    _end(process)
            return said == "true"


@cache
def _child() -> _Child:
    return _Child()


def _started() -> subprocess.Popen[str]:
    """A process that has said it is ready. ValueError if it does not start."""
    check_installed()
    command, pipe = [sys.executable, "-P", "-m", CHILD, str(SECONDS)], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    if _asked(process, "[]") != "ready":
        _end(process)
        raise ValueError(f"math-verify does not start: `python -m {CHILD} {SECONDS} < /dev/null` tells why")
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _asked(process: subprocess.Popen[str], line: str) -> str:
    """The line that answers a line, "" if the process has ended."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()
    except OSError:  # it ended before the line
        return ""
