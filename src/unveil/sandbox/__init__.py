"""A place where code that a model wrote is run and judged, and can do no harm. Linux only.

Each program gets a process of its own in new user, mount, PID, network, IPC and UTS namespaces, as a user without any
privilege: see launch.py for how it is shut in and judge.py for how it is judged. There is no way to run it without.

A program has Python's own library, the time zones of the system, numpy where it is installed here, an empty folder and
/dev/null. Not there: any other library, program, file or device, /proc, the network, and further threads or processes.
"""

import marshal
import re
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

STARTING = 60  # seconds that a busy machine may take to begin and to clear away
SYSTEM = Path("/proc/sys")
CLOSED = {  # a setting of the system, its value where it forbids user namespaces, a value that allows them
    "user/max_user_namespaces": ("0", "10000"),
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
}
LACKING = re.compile(
    r"^(?:ModuleNotFoundError|FileNotFoundError|BlockingIOError|PermissionError|RuntimeError: can't start new thread)",
    re.MULTILINE,
)  # what a program says that looks for what is not there
LONGEST = 4000  # bytes of output

Word = Literal["passed", "failed", "timeout"]


class Outcome(NamedTuple):
    """What became of a program."""

    verdict: Word
    output: str  # the end of what it printed, at most 4000 bytes of it: untrusted text, and what it may have lacked

    @property
    def passed(self) -> bool:
        """Whether it ran, and its checks held."""
        return self.verdict == "passed"


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """The limits of a program. It sees Python's own library, numpy, and no file, process or network outside."""

    seconds: float = 10.0  # by the clock, and of one processor
    memory_bytes: int = 1 << 30  # of a process: all of them may use `processes` times as much
    processes: int = 1  # threads count, too
    file_bytes: int = 1 << 24  # of its folder, which is in memory, and of what it prints

    def __post_init__(self) -> None:
        least = {"seconds": 0.1, "memory_bytes": 1 << 26, "processes": 1, "file_bytes": 1 << 16}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {lowest}")

    def run(self, program: str, checks: str = "", names: Collection[str] = ()) -> Outcome:
        """Run `program`, then `checks` with the names that the program defines.

        Passed is what reaches the end of the checks: leaving before, by whatever way, is not. The checks see Python's
        built-in names and the modules that they import as they were before the program ran; `names` are those that
        the program may hide. Raises ValueError where nothing can be isolated.
        """
        here = Path(__file__)
        job = {"program": program, "checks": checks, "names": list(names), "libraries": _libraries(), **vars(self)}
        word, text = self._told(
            {**job, "judge": here.with_name("judge.py").read_text("utf-8")}, here.with_name("launch.py")
        )
        if word not in get_args(Word):
            raise ValueError(
                f"code cannot be isolated here ({text}). It needs Linux 5.12 or later, with user namespaces, and is "
                f"never run without. {_remedy()}"
            )
        lacks = word == "failed" and LACKING.search(text)
        return Outcome(cast(Word, word), f"{text[len(_absent()) - LONGEST :]}{_absent()}" if lacks else text)

    def _told(self, job: dict[str, Any], script: Path) -> tuple[str, str]:
        """What the script says: a word and a text."""
        if sys.platform != "linux":
            return "missing", f"this is {sys.platform}"
        python = getattr(sys, "_base_executable", sys.executable)  # a virtual environment's own is not needed
        try:
            ended = subprocess.run(
                [python, "-I", "-S", "-B", str(script)], input=marshal.dumps(job), capture_output=True, env={}, cwd="/",
                timeout=self.seconds + STARTING, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "timeout", ""
        if ended.returncode < 0:
            raise OSError(
                f"the sandbox was killed by signal {-ended.returncode}, as it is where the machine runs out of memory: "
                "free some, or judge the answers on another machine"
            )
        word, _, text = ended.stdout.decode(errors="replace").partition("\n")
        return word, text or ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]

    def check(self) -> None:
        """ValueError, saying what is missing and how to have it, unless programs can be isolated here."""
        outcome = self.run("answer = 6 * 7", "assert answer == 42")
        if not outcome.passed:
            raise ValueError(
                f"Python does not start in the sandbox ({outcome.verdict}): {outcome.output or 'it says nothing'}. "
                "Give it more time and memory, or install Python in a folder of its own, not spread over several"
            )


@cache
def _libraries() -> tuple[str, ...]:
    """The folders of numpy, and of time zones as a package, where they are installed."""
    found = (find_spec(name) for name in ("numpy", "tzdata"))
    folders = [Path(spec.origin).resolve().parent for spec in found if spec is not None and spec.origin]
    folders += [folder.with_name("numpy.libs") for folder in folders]  # what its wheels bring along
    return tuple(sorted({str(folder) for folder in folders if folder.is_dir()}))


def _absent() -> str:
    """What a program may look for in vain."""
    numpy = " and numpy" if any("numpy" in path for path in _libraries()) else ""
    return (
        f"The sandbox has Python's own library{numpy}, an empty folder and /dev/null; no other library, file, thread, "
        "process or network.\n"
    )


def _remedy() -> str:
    for name, (closed, opened) in CLOSED.items():
        setting = SYSTEM / name
        if setting.is_file() and setting.read_text().strip() == closed:
            return f"Run as an administrator: sysctl -w {name.replace('/', '.')}={opened}"
    return (
        "In a container, be another user than root and start it with --security-opt seccomp=unconfined "
        "--security-opt apparmor=unconfined, or judge the answers on another machine"
    )
