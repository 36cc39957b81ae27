"""The child process of mathematics.py: for each line [answer, right answer] of JSON it writes true or false."""

import json
import signal
import sys
from contextlib import suppress

from math_verify import LatexExtractionConfig, parse, verify

MEMORY = 4 << 30  # bytes
LATEX = [LatexExtractionConfig(boxed_match_priority=0)]  # its other reader, of plain text, calls eval


def main(seconds: float) -> None:
    """Says "ready" to the first line, then compares, with `seconds` of processor time for each pair."""
    with suppress(ImportError, OSError, ValueError):  # not every system has limits of memory
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stdin.readline()
    print("ready", flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # nothing catches its signal: the process ends
        print(json.dumps(_equal(*json.loads(line))), flush=True)


def _equal(answer: str, gold: str) -> bool:
    try:
        found = [parse(rf"\boxed{{{text}}}", LATEX, parsing_timeout=None) for text in (gold, answer)]
        return bool(verify(*found, timeout_seconds=None, allow_set_relation_comp=True))
    except Exception:  # of any kind: the text is a model's
        return False


if __name__ == "__main__":
    main(float(sys.argv[1]))
