r"""Whether two answers of mathematics are equal: `\frac{1}{2}` and 0.5, `x+1` and `1+x`, `(1, 2]` and `1 < x \le 2`.

Numbers are compared exactly, all else by math-verify (Kydlíček et al., Hugging Face), which takes an irrational number
in six decimals, too. It computes with sympy, which may take hours for a short text such as `9^{9^{9}}`, and its own
timeouts work in the main thread only. So it runs in a child process that ends itself after some seconds (decision 11).
"""

import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from threading import Lock

from unveil.tasks.grading.numbers import exact

LONGEST, SECONDS = 300, 5.0  # characters of an answer; processor time for a pair
CHILD = "unveil.tasks.grading.compare"


def check_installed() -> None:
    """ValueError if math-verify is not there."""
    if find_spec("math_verify") is None:
        raise ValueError("answers of mathematics are judged by math-verify: pip install 'unveil[tasks]'")


def equal(answer: str, gold: str) -> bool:
    """Whether an answer equals the right one. What is too long, no mathematics, or takes too long is wrong."""
    if len(answer) > LONGEST:
        return False
    answer = answer.strip().removesuffix(".")
    numbers = exact(answer), exact(gold)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return answer == gold or _child().equal(answer, gold)


class _Child:
    """A process that compares pairs one after the other; a new one after it has ended."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.process: subprocess.Popen[str] | None = None

    def equal(self, answer: str, gold: str) -> bool:
        """False where the process ended over the pair."""
        with self.lock:
            process, self.process = self.process or _started(), None
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
