"""A process with limits: `python -I serve.py PROGRAM LIMITS` gives the program's answer to each line of JSON."""

import contextlib
import json
import runpy
import sys
from typing import Any


def limit(memory: int) -> None:
    """No more memory than that, no files, no core; where the system has no such limits it stays without."""
    with contextlib.suppress(ImportError):
        import resource

        for name, most in (("RLIMIT_AS", memory), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                resource.setrlimit(getattr(resource, name), (most, most))


def allow(seconds: int) -> None:
    """So much more processor time; the system ends the process after it."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime) + 1 + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main(program: str, limits: dict[str, Any]) -> None:
    """Answer until there are no more questions."""
    sys.path[:] = limits["path"]
    limit(limits["memory"])
    allow(limits["cpu"])
    answer = runpy.run_path(program)["answer"]
    for line in sys.stdin.buffer:
        allow(limits["cpu"])
        try:
            found = json.dumps(answer(json.loads(line)))
        except MemoryError:
            found = json.dumps({"failed": f"it wants more than {limits['memory'] >> 20} MiB of memory"})
        if len(found) > limits["longest"]:
            found = json.dumps({"failed": f"it writes more than {limits['longest'] >> 20} MiB"})
        sys.stdout.write(found + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
