"""The sandbox: right programs pass, and whatever a program tries, it does no harm and ends judged wrong."""

import json
import marshal
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from tests.sandbox.namespaces import needs_namespaces
from unveil import sandbox as module
from unveil.sandbox import Sandbox
from unveil.tasks import Sums
from unveil.tasks.benchmarks.humaneval import HumanEval
from unveil.tasks.benchmarks.programs import allow_code

ROOT = Path(__file__).resolve().parents[2]
CODE = Path(module.__file__).parent
CHECKS = "assert answer() == 42"
RIGHT = "def answer():\n    return 42\n"
LONG, SHORT = Sandbox(), Sandbox(seconds=0.7)
MANY = Sandbox(seconds=1.2, processes=16)
CHILD = "import os, sys\nos.execv(sys.executable, [{mark!r}, '-S', '-c', 'import time; time.sleep(100)'])\n"


@pytest.fixture(autouse=True, scope="module")
def isolated() -> None:
    """Skips where there are no namespaces. The sandbox itself is not asked: it could fail by a fault of ours."""
    needs_namespaces()


def alive(mark: str) -> bool:
    """Whether any process of the machine is called `mark`."""
    return any(called(path, mark) for path in Path("/proc").glob("[0-9]*"))


def called(process: Path, mark: str) -> bool:
    """Whether the process is."""
    try:
        return (process / "cmdline").read_bytes().startswith(mark.encode())
    except OSError:  # just ended
        return False


def space(process: str | Path, name: str) -> str:
    """Which namespace it is in."""
    return os.readlink(Path("/proc", process, "ns", name))


def eventually(test: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether the test comes true in time."""
    end = time.monotonic() + seconds
    while not test() and time.monotonic() < end:
        time.sleep(0.02)
    return test()


# right programs -------------------------------------------------------------------------------------------------------


def test_a_right_program_passes_and_a_wrong_one_does_not() -> None:
    assert LONG.run(RIGHT, CHECKS) == ("passed", "")
    wrong = Sandbox().run(RIGHT.replace("42", "41"), CHECKS)
    assert wrong.verdict == "failed" and not wrong.passed and "AssertionError" in wrong.output


def test_any_text_comes_through() -> None:
    text = "".join(map(chr, [*range(1, 300), 0x4E2D, 0x1F600, 0xFFFF]))
    assert LONG.run(f"def answer():\n    return {text!r}", f"assert answer() == {text!r}").passed
    assert not LONG.run(f"{RIGHT}# \ud800", CHECKS).passed and not LONG.run(f"{RIGHT}# \0", CHECKS).passed
    assert LONG.run(f"{RIGHT}# {'x' * 10**6}", CHECKS).passed


def test_its_folder_its_library_and_its_checks_are_there() -> None:
    program = (
        "import collections, dataclasses, functools, hashlib, heapq, itertools, math, os, random, re, typing\n"
        "@dataclasses.dataclass\nclass Pair:\n    a: int\n"
        "open('a.txt', 'w').write('x')\nos.mkdir('b')\n"
        "def sum(a):\n    return 42\n"
        "def helper():\n    return Pair(1)\n"
        "if __name__ == '__main__':\n    raise SystemExit\n"
    )
    checks = "assert sum([1]) == 42 and helper() == Pair(1) and open('a.txt').read() == 'x' and os.listdir('b') == []"
    assert LONG.run(program, checks, ["sum"]).passed
    assert LONG.run(program, "assert sum([1]) == 1").passed  # a name that is not asked for hides none of Python's


def test_nothing_lasts_from_one_run_to_the_next() -> None:
    program = "import os\nfresh = not os.path.exists('a')\nopen('a', 'w')"
    assert all(Sandbox().run(program, "assert fresh").passed for _ in range(2))
    order = Sandbox().run("print({str(i) for i in range(20)})").output
    assert order == Sandbox().run("print({str(i) for i in range(20)})").output


def test_it_sees_nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNVEIL_SECRET", "1")
    program = (
        "import os, sys, json\n"
        "print(json.dumps([sorted(os.environ), sys.stdin.read(), os.getuid(), os.geteuid(), os.getpid(), os.getppid(),"
        "os.uname().nodename, os.listdir('.'), os.path.exists('/proc'), os.listdir('/dev'), os.listdir('/work')]))"
    )
    seen = json.loads(Sandbox().run(program).output)
    names = ["LC_CTYPE", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED"]
    assert seen == [names, "", 65534, 65534, 1, 0, "sandbox", [], False, ["null"], []]


# what leaves before the end of the checks, or says that it passed ----------------------------------------------------

LEAVING = {
    "exit": "exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "SystemExit": "raise SystemExit(0)",
    "os._exit": "import os\nos._exit(0)",
    "in the function": "import os\ndef answer():\n    os._exit(0)",
    "killed": "import os\nos.kill(os.getpid(), 9)\nos.abort()",
    "at exit": "import atexit, os\natexit.register(lambda: os._exit(0))",
    "printed": "import os\nprint('passed')\nprint('{\"verdict\": \"passed\"}')",
    "written anywhere": (
        "import os\nfor i in range(64):\n    try:\n        os.write(i, b'passed')\n    except OSError:\n        pass"
    ),
    "no function": "",
    "no Python": "def answer(:",
    "None": "def answer():\n    return None",
    "a check of its own": "def check(candidate):\n    pass",
    "exec": "import builtins\nbuiltins.exec = lambda *a: None",
    "compile": "import builtins\nbuiltins.compile = lambda *a: 'pass'",
    "AssertionError": "import builtins\nbuiltins.AssertionError = Warning\nclass AssertionError(Exception): pass",
    "excepthook": "import sys\nsys.excepthook = lambda *a: None",
    "os.write": "import os\nos.write = lambda *a: None\nos._exit = lambda *a: None",
    "all files closed": f"{RIGHT}import os\nos.closerange(0, 100)",
}  # fmt: skip


@pytest.mark.parametrize("program", LEAVING.values(), ids=LEAVING)
def test_leaving_or_claiming_is_not_passing(program: str) -> None:
    assert LONG.run(program, CHECKS).verdict == "failed"


@pytest.mark.parametrize("hidden", ["def abs(x):\n    return 0", "import builtins\nbuiltins.abs = lambda x: 0"])
def test_the_checks_have_pythons_own_names(hidden: str) -> None:
    program = f"{hidden}\ndef answer():\n    return 7.0"
    assert not LONG.run(program, "assert abs(answer() - 42) < 1e-6").passed
    assert LONG.run(program, "assert abs(answer() - 7) < 1e-6").passed


# what a program may use, and what the checks see ---------------------------------------------------------------------


HARM = {
    "endless loop": ("while True:\n    pass", SHORT, "timeout"),
    "asleep": ("import time\ntime.sleep(100)", SHORT, "timeout"),
    "signals ignored": (
        "import signal\nfor s in range(1, 65):\n    try:\n        signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\nwhile True:\n    signal.pause()",
        SHORT,
        "timeout",
    ),
    "10 GB": ("x = bytearray(10 << 30)", LONG, "failed"),
    "10 GB in pieces": ("x = []\nwhile True:\n    x.append(bytearray(1 << 26))", LONG, "failed"),
    "one fork": ("import os\nos.fork()", LONG, "failed"),
    "one thread": ("import threading\nthreading.Thread(target=print).start()", LONG, "failed"),
    "fork bomb": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass", MANY, "timeout"
    ),
    "threads bomb": (
        "import threading, time\nwhile True:\n    try:\n"
        "        threading.Thread(target=time.sleep, args=[100]).start()\n    except RuntimeError:\n        pass",
        MANY,
        "timeout",
    ),
    "kills": (
        "import os, signal\nfor p in (os.getppid(), 1, 0, -1, 2, 3):\n    for s in (15, 9, 19):\n        try:\n"
        "            os.kill(p, s)\n        except OSError:\n            pass",
        Sandbox(processes=16),
        "failed",
    ),
    "recursion": ("def f():\n    f()\nf()", LONG, "failed"),
    "recursion without limit": (
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self):\n        return repr(self)\n"
        "repr(A())",
        LONG,
        "failed",
    ),
    "huge output": ("while True:\n    print('x' * 10**6)", LONG, "failed"),
    "huge file": ("f = open('a', 'wb')\nwhile True:\n    f.write(b'x' * 10**6)", LONG, "failed"),
    "many files": ("for i in range(10**6):\n    open(str(i), 'wb').write(b'x' * 10**6)", LONG, "failed"),
    "many open files": ("x = [open('a', 'w') for i in range(10**4)]", LONG, "failed"),
}  # fmt: skip


@pytest.mark.parametrize(("program", "sandbox", "verdict"), HARM.values(), ids=HARM)
def test_harm_is_survived_and_judged_wrong(program: str, sandbox: Sandbox, verdict: str) -> None:
    began = time.monotonic()
    outcome = sandbox.run(program, CHECKS)
    assert outcome.verdict == verdict and len(outcome.output) <= 4000
    assert time.monotonic() - began < sandbox.seconds + 10  # and the machine may be busy


def test_its_folder_holds_no_more_than_its_size() -> None:
    program = (
        "import os\ntry:\n    for i in range(100):\n        open(str(i), 'wb').write(b'x' * 10**6)\n"
        "except OSError:\n    pass\n"
        "size = sum(os.path.getsize(name) for name in os.listdir('.'))"
    )
    assert Sandbox(file_bytes=1 << 22).run(program, "assert 3 << 20 < size <= 1 << 22").passed


@pytest.mark.parametrize("end", ["", "os._exit(0)", "while True: pass", "os.kill(1, 9)"])
def test_no_child_outlives(end: str) -> None:
    mark = f"unveil-child-{os.getpid()}"
    child = "".join(f"    {line}\n" for line in CHILD.format(mark=mark).splitlines())
    program = f"{RIGHT}import os, time\nif os.fork() == 0:\n    os.setsid()\n{child}time.sleep(0.7)\n{end}"
    runs = Thread(target=MANY.run, args=[program, CHECKS])
    runs.start()
    seen = eventually(lambda: alive(mark))  # or the test could not fail
    runs.join()
    assert seen and not alive(mark)


def test_its_namespaces_are_its_own() -> None:
    mark = f"unveil-spaces-{os.getpid()}"
    runs = Thread(target=Sandbox(seconds=2.0).run, args=[CHILD.format(mark=mark)])
    runs.start()
    assert eventually(lambda: alive(mark))
    (process,) = [path for path in Path("/proc").glob("[0-9]*") if called(path, mark)]
    try:
        spaces = ("user", "mnt", "pid", "net", "ipc", "uts")
        same = [name for name in spaces if space(process, name) == space("self", name)]
    except PermissionError:
        pytest.skip("needs the root user, who can look into any process")
    finally:
        runs.join()
    assert same == []


@pytest.mark.parametrize("give_up", ["kill", "terminate"])
def test_it_ends_with_the_program_that_asked(give_up: str) -> None:
    mark = f"unveil-orphan-{os.getpid()}"
    script = f"from unveil.sandbox import Sandbox\nSandbox(seconds=50).run({CHILD.format(mark=mark)!r})"
    asking = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    assert eventually(lambda: alive(mark), 20)
    getattr(asking, give_up)()
    asking.wait()
    assert eventually(lambda: not alive(mark))


# what is outside ------------------------------------------------------------------------------------------------------


def test_files_outside_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    tmp_path.chmod(0o777)
    read = [
        Path("/", "etc", "shadow"), Path("/", "etc", "passwd"), Path("/", "proc", "1", "environ"), tmp_path / "secret",
        Path("/", "dev", "zero"), ROOT / "pyproject.toml", Path.home() / ".profile", Path.home() / ".bashrc",
        CODE / "judge.py",
    ]  # fmt: skip
    write = [tmp_path / "new", Path("/new"), Path("/", "usr", "lib", "new"), Path(os.__file__), Path(sys.executable)]
    program = f"""
import os
def attempt(path, mode):
    try:
        with open(path, mode) as file:
            file.read(1) if mode == "r" else file.write("x")
        print("done", path, mode)
    except OSError:
        pass
for number, path in enumerate({list(map(str, read))}):
    os.symlink(path, f"r{{number}}")
    for way in (path, "../" * 9 + path, f"r{{number}}"):
        attempt(way, "r")
for number, path in enumerate({list(map(str, write))}):
    os.symlink(path, f"w{{number}}")
    for way in (path, "../" * 9 + path, f"w{{number}}"):
        attempt(way, "a")
os.symlink("/", "top")
link, device = lambda: os.link({str(tmp_path / "secret")!r}, "a"), lambda: os.mknod("b", 0o60666, 0)
for move in (link, device, lambda: os.chroot(".")):
    try:
        move()
        print("done", move)
    except OSError:
        pass
attempt("mine", "a")
print(sorted(os.listdir("top/")))
"""
    outcome = LONG.run(program, CHECKS)
    lines = outcome.output.splitlines()
    assert [line for line in lines if line.startswith("done")] == ["done mine a"]
    assert not {"proc", "home", "sys", "tmp"} & set(lines[-1].split("'")) or "Traceback" in outcome.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"] and (tmp_path / "secret").read_text() == "x"


def test_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        name = f"\0unveil-{os.getpid()}"
        local.bind(name)
        local.listen()
        program = f"""
import socket
for family, address in ((socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})), (socket.AF_UNIX, {name!r})):
    try:
        with socket.socket(family) as tried:
            tried.settimeout(1)
            tried.connect(address)
        print("connected", address)
    except OSError:
        print("refused")
"""
        assert LONG.run(program).output == "refused\nrefused\n"
        exec(program)  # or the test could not fail
        assert server.accept() and local.accept()


PRIVILEGES = """
import ctypes, os, platform, socket
libc = ctypes.CDLL(None)
clone, shmget, memfd = {"x86_64": (56, 29, 319), "aarch64": (220, 194, 279)}[platform.machine()]
tries = {
    "user namespace": lambda: libc.unshare(0x10000000),
    "user namespace by clone": lambda: libc.syscall(clone, 0x10000000 | 17, 0, 0, 0, 0),
    "mount": lambda: libc.mount(b"none", b"/work", b"tmpfs", 0, None),
    "user": lambda: os.setuid(0),
    "socket": lambda: socket.socket(socket.AF_UNIX),
    "pair of sockets": lambda: socket.socketpair(),
    "shared memory": lambda: libc.syscall(shmget, 0, 1 << 33, 0o1600),
    "memory as a file": lambda: libc.syscall(memfd, b"a", 0),
    "to outlive its parent": lambda: libc.prctl(1, 0, 0, 0, 0),
    "more memory": lambda: __import__("resource").setrlimit(9, (1 << 40, 1 << 40)),
    "a capability": lambda: -1 if not any(libc.prctl(23, n, 0, 0, 0) for n in range(40)) else 0,
    "capabilities": lambda: 0 if any(held()) else -1,
    "new privileges": lambda: -1 if libc.prctl(39, 0, 0, 0, 0) == 1 else 0,
}
def held():
    found = ctypes.create_string_buffer(24)
    assert libc.capget((ctypes.c_uint * 2)(0x20080522, 0), found) == 0
    return found.raw
for name, attempt in tries.items():
    try:
        if attempt() == -1:
            continue
    except (OSError, ValueError):
        continue
    print("had", name)
"""


def test_no_privilege_can_be_had() -> None:
    assert Sandbox(processes=4).run(PRIVILEGES) == ("passed", "")


# where it runs --------------------------------------------------------------------------------------------------------


def as_nobody(program: str, processes: int = 1) -> tuple[str, str]:
    """What the script says when an ordinary user starts it, with the system's Python."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if os.geteuid() or python is None:
        pytest.skip("needs the root user, who can become nobody, and a Python of the system")
    version = subprocess.run([python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True)
    if version.stdout.strip() != b"True":
        pytest.skip(f"{python} is older than Python 3.11")
    job = {"program": program, "checks": CHECKS, "names": [], "libraries": [], "judge": (CODE / "judge.py").read_text()}
    ended = subprocess.run(
        [python, "-I", "-S", "-B", "-c", (CODE / "launch.py").read_text()],
        input=marshal.dumps({**job, **vars(Sandbox(seconds=1.0, processes=processes))}),
        capture_output=True, env={}, cwd="/", start_new_session=True, user=65534, group=65534, extra_groups=[],
    )  # fmt: skip
    word, _, text = ended.stdout.decode().partition("\n")
    if word == "missing":
        pytest.skip(f"an ordinary user may not make namespaces here: {text}")
    return word, text or ended.stderr.decode()


def test_an_ordinary_user_can_run_it_too() -> None:
    assert as_nobody(RIGHT) == as_nobody(RIGHT + PRIVILEGES, processes=4) == ("passed", "")
    assert as_nobody("import os\nos._exit(0)") == ("failed", "")
    assert as_nobody("while True:\n    pass") == ("timeout", "")
    assert "BlockingIOError" in as_nobody("import os\nos.fork()")[1]
    kills = HARM["kills"][0]
    assert as_nobody(RIGHT + kills) == ("passed", "")  # they reach nobody, not even those of the same user
    assert as_nobody(HARM["fork bomb"][0], processes=16)[0] == "timeout"
    assert as_nobody(RIGHT + "import os\nassert os.listdir('.') == []\nopen('a', 'w')\n") == ("passed", "")
    assert "Read-only" in as_nobody("import os\nos.mkdir('/a')")[1]


ASK = """
from unveil.sandbox import Sandbox
for ask in (Sandbox().check, lambda: Sandbox().run("open('/dev/stderr', 'w').write('it ran')")):
    try:
        ask()
    except ValueError as error:
        print(error)
"""


def refused(before: str) -> list[str]:
    """What is said in a new user namespace where `before` was done."""
    script = f"import ctypes, pathlib\nassert ctypes.CDLL(None).unshare(0x10000000) == 0\n{before}\n{ASK}"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")}
    )
    assert ended.stderr == ""
    return ended.stdout.splitlines()


def test_without_namespaces_nothing_runs() -> None:
    assert refused("pathlib.Path('/proc/sys/user/max_user_namespaces').write_text('0')") == 2 * [
        "code cannot be isolated here (unshare: No space left on device). It needs Linux 5.12 or later, with user "
        "namespaces, and is never run without. Run as an administrator: sysctl -w user.max_user_namespaces=10000"
    ]


def test_where_processes_have_no_limit_nothing_runs() -> None:
    if os.geteuid():
        pytest.skip("needs the root user: the number of all others' processes can be limited")
    own = {"setgroups": "deny", "uid_map": "0 0 1", "gid_map": "0 0 1"}
    for said in refused(f"for name, text in {own}.items(): pathlib.Path('/proc/self', name).write_text(text)"):
        assert "(the number of processes of this user is without limit)" in said
        assert "be another user than root and start it with --security-opt" in said


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "SYSTEM", tmp_path)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ValueError, match=r"isolated here \(this is darwin\)\. .*judge the answers on another machine"):
        Sandbox().check()
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns").write_text("1\n")
    with pytest.raises(ValueError, match="sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"):
        Sandbox().run(RIGHT, CHECKS)


def test_too_little_memory_for_python_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "run", lambda *_: module.Outcome("failed", "ImportError"))
    with pytest.raises(ValueError, match=r"Python does not start in the sandbox \(failed\): ImportError. Give it more"):
        Sandbox().check()


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("seconds", 0.0, "0.1"), ("memory_bytes", 1, "67108864"), ("processes", 0, "1"), ("file_bytes", 0, "65536")],
)
def test_bad_limits_are_refused(name: str, value: float, least: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be at least {least}"):
        Sandbox(**{name: value})  # type: ignore[arg-type]


# permission -----------------------------------------------------------------------------------------------------------


def test_code_runs_only_where_it_is_allowed() -> None:
    assert allow_code(HumanEval(canvas=9), True) == HumanEval(canvas=9, sandbox=Sandbox())
    with pytest.raises(ValueError, match="task humaneval runs code .* only with --allow-code-execution"):
        allow_code(HumanEval(), False)
    assert allow_code(Sums(), False) == Sums()
    with pytest.raises(ValueError, match="task sums runs no code: leave out --allow-code-execution"):
        allow_code(Sums(), True)


def test_a_sandbox_that_was_killed_is_not_taken_for_a_system_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, -9, b"", b"")

    monkeypatch.setattr(module.subprocess, "run", killed)
    with pytest.raises(OSError, match="^the sandbox was killed by signal 9, as it is where the machine runs out of"):
        LONG.run(RIGHT, CHECKS, ["answer"])
