"""Runs one program where it can do no harm: a script of its own, started by the package, with Python's library alone.

This process reads a job and moves into new user, PID, network, IPC and UTS namespaces. Its child is the first
process of the PID namespace: whatever it starts ends with it. The child makes a root folder of its own (Python and the
system's libraries, read-only, and a small empty working folder), gives up every privilege, is limited, and becomes the
Python that runs judge.py. Nothing of this needs the root user, nor any program or library beside Python's.
"""

import ctypes  # little more: json, secrets, signal and enum would take longer to import than all that is done here
import marshal
import os
import resource
import select
import struct
import sys
from typing import Any, NoReturn

NOBODY = 65534
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")
NULL = "/dev/null"
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
NOSUID, NODEV, NOEXEC, BIND, REC, PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
MOUNT_SETATTR, AT_RECURSIVE, RDONLY, DETACH = 442, 0x8000, 1, 2
SIGKILL, SIGXCPU, PDEATHSIG, SECCOMP, CAPBSET_DROP, NO_NEW_PRIVS = 9, 24, 1, 22, 24, 38
TOLD, GRACE = 3, 60  # how judge.py ends a program that would not have ended; milliseconds that it has for saying so

# What is refused inside: sockets (some kinds know no namespaces), memory that no limit counts, and ways to reach keys,
# other processes and rarely used parts of the kernel. Numbers of the calls on x86_64 and on aarch64.
REFUSED = {
    "socket": (41, 198), "socketpair": (53, 199), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "bpf": (321, 280), "perf_event_open": (298, 241), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "open_by_handle_at": (304, 265),
}  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E, 157), "aarch64": (1, 0xC00000B7, 167)}  # column, audit number, prctl
LOAD, EQUAL, ABOVE, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE, KILL, X32 = 0x7FFF0000, 0x00050001, 0x80000000, 0x40000000

LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """A function of the C library; OSError, with its name, where it fails."""
    wide = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    if getattr(LIBC, name)(*wide) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def identities() -> str:
    """Which users exist inside. The root user needs another one outside to become: limits do not hold for root."""
    if os.geteuid():
        return f"{NOBODY} {{own}} 1"
    with open("/proc/self/uid_map") as file:
        known = [tuple(map(int, line.split())) for line in file]
    whole = any(first <= NOBODY < first + count for first, _, count in known)
    return f"0 0 1\n{NOBODY} {NOBODY} 1" if whole else f"{NOBODY} {{own}} 1"


def separate() -> None:
    """Into new namespaces. A child from before writes who is who inside, as only those outside may."""
    process, users, (wait, ready) = os.getpid(), identities(), os.pipe()
    if users.startswith("0"):
        call("setgroups", 0, None)
    helper = os.fork()
    if not helper:
        os.close(ready)
        try:
            if os.read(wait, 1):
                own = {"setgroups": "deny", "uid_map": users.format(own=os.geteuid())}
                for name, text in {**own, "gid_map": users.format(own=os.getegid())}.items():
                    with open(f"/proc/{process}/{name}", "w") as file:
                        file.write(text)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
    call("unshare", NEWUSER | NEWPID | NEWNET | NEWIPC | NEWUTS)
    os.write(ready, b".")
    code = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
    if code:
        raise OSError(code, f"uid_map: {os.strerror(code)}")


def needed() -> list[str]:
    """Files and folders without which Python does not start, none inside another."""
    own = [sys.executable, os.path.join(sys.base_prefix, "lib"), *sys.path]
    kept: list[str] = []
    for path in sorted({*LIBRARIES, *map(os.path.realpath, own)}):
        inside = any(path.startswith(f"{above}/") for above in kept if not os.path.islink(above))
        if os.path.exists(path) and not inside:
            kept.append(path)
    return kept


def make_root(paths: dict[str, str], size: int) -> None:
    """A root folder with `paths`, read-only, and an empty working folder of `size` bytes, which becomes the current.

    `paths` says where each path outside stands inside.
    """
    call("mount", None, b"/", None, REC | PRIVATE, None)
    call("mount", b"none", b"/tmp", b"tmpfs", NOSUID | NODEV, b"size=1m,mode=755")
    os.chdir("/tmp")
    os.mkdir("old")
    os.mkdir("new")
    call("pivot_root", b".", b"old")
    os.chdir("/")
    call("mount", b"none", b"/new", b"tmpfs", NOSUID | NODEV, b"size=1m,mode=755")
    for outside, inside in paths.items():
        old, new = "/old" + outside, "/new" + inside
        os.makedirs(os.path.dirname(new), exist_ok=True)
        if os.path.islink(old):
            os.symlink(os.readlink(old), new)
            continue
        if os.path.isdir(old):
            os.mkdir(new)
        else:
            open(new, "x").close()
        call("mount", old.encode(), new.encode(), None, BIND | REC, None)
    os.mkdir("/new/work")
    os.mkdir("/new/dev")
    open(f"/new{NULL}", "x").close()
    attributes = struct.pack("QQQQ", RDONLY | NOSUID | NODEV, 0, 0, 0)
    call("syscall", MOUNT_SETATTR, 0, b"/new", AT_RECURSIVE, attributes, len(attributes))
    settings = f"size={size},nr_inodes=1000,mode=700,uid={NOBODY},gid={NOBODY}"
    call("mount", b"none", b"/new/work", b"tmpfs", NOSUID | NODEV | NOEXEC, settings.encode())
    if os.major(os.stat(f"/old{NULL}").st_rdev) == 1:  # after the others, which are no devices
        call("mount", f"/old{NULL}".encode(), f"/new{NULL}".encode(), None, BIND, None)
    call("umount2", b"/old", DETACH)
    os.chroot("/new")  # and not the namespace's own root: who is in a chroot may not make user namespaces
    os.chdir("/work")


def drop_privileges() -> None:
    """Nobody, for good: the exec takes the capabilities that are left from who is not root."""
    for capability in range(64):
        if LIBC.prctl(CAPBSET_DROP, capability, 0, 0, 0):  # beyond the last that the kernel knows
            break
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    call("prctl", PDEATHSIG, SIGKILL, 0, 0, 0)  # forgotten whenever the user changes
    call("prctl", NO_NEW_PRIVS, 1, 0, 0, 0)


def limit(job: dict[str, Any]) -> None:
    """Limits of the process. That of processes counts those of this namespace (since Linux 5.14)."""
    seconds = int(job["seconds"]) + 2
    limits = {
        resource.RLIMIT_AS: job["memory_bytes"], resource.RLIMIT_NPROC: job["processes"],
        resource.RLIMIT_FSIZE: job["file_bytes"], resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_CORE: 0, resource.RLIMIT_MEMLOCK: 0, resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }  # fmt: skip
    resource.setrlimit(resource.RLIMIT_NPROC, (1, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
    try:
        if not os.fork():
            os._exit(0)
        raise OSError("the number of processes of this user is without limit")
    except BlockingIOError:  # as it should be
        pass
    for what, most in limits.items():
        hard = resource.getrlimit(what)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def refuse_calls() -> None:
    """System calls of `REFUSED` fail; so does keeping alive when this process's parent dies."""
    machine = os.uname().machine
    if machine not in MACHINES:
        raise OSError(f"machine {machine} is not one of {', '.join(MACHINES)}")
    column, audit, prctl = MACHINES[machine]
    rules = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    rules += [(ABOVE, 0, 1, X32), (RETURN, 0, 0, REFUSE)]
    for numbers in REFUSED.values():
        rules += [(EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, REFUSE)]
    rules += [(EQUAL, 0, 3, prctl), (LOAD, 0, 0, 16), (EQUAL, 0, 1, PDEATHSIG), (RETURN, 0, 0, REFUSE)]
    rules.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    call("prctl", SECCOMP, 2, struct.pack("HP", len(rules), ctypes.addressof(code)), 0, 0)


def become(job: dict[str, Any], paths: dict[str, str], task: int, verdict: int, output: int) -> NoReturn:
    """The child: the Python that runs judge.py. What does not get through the exec is closed by it."""
    os.setsid()
    os.umask(0o022)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory runs out, this goes first
    python, nothing = os.path.realpath(sys.executable), os.open(os.devnull, os.O_RDONLY)
    call("unshare", NEWNS)
    call("sethostname", b"sandbox", 7)
    make_root(paths, job["file_bytes"])
    drop_privileges()
    limit(job)
    refuse_calls()
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for handle in (task, verdict):
        os.set_inheritable(handle, True)
    words = [python, "-s", "-S", "-P", "-B", "-c", job["judge"], str(task), str(verdict)]
    settings = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}  # the same order of sets in every run
    os.execve(python, words, settings)


def run(job: dict[str, Any]) -> tuple[str, bytes]:
    """How the program ended, and the end of its output. OSError where it cannot be isolated."""
    separate()
    call("prctl", PDEATHSIG, SIGKILL, 0, 0, 0)
    secret, paths = os.urandom(16), {path: path for path in needed()}
    paths |= {path: f"/libraries/{os.path.basename(path)}" for path in job["libraries"]}
    task, output = os.memfd_create("task"), os.memfd_create("output")
    told = {name: job[name] for name in ("program", "checks", "names")} | {"secret": secret}
    os.write(task, marshal.dumps(told))
    os.lseek(task, 0, os.SEEK_SET)
    (heard, verdict), (fault, faulty) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            become(job, paths, task, verdict, output)
        except BaseException as error:
            os.write(faulty, str(error).encode())
            os._exit(1)
    os.close(verdict)
    os.close(faulty)
    reason = os.read(fault, 4096).decode()  # closed by the exec
    waiting = select.poll()
    waiting.register(os.pidfd_open(child), select.POLLIN)
    ended = waiting.poll(1000 * job["seconds"])
    for _ in range(0 if ended else 6):  # it is asked, then it has to go
        os.kill(child, SIGXCPU)
        if waiting.poll(GRACE):
            break
    os.kill(child, SIGKILL)
    status = os.waitpid(child, 0)[1]  # returns when all that it started has ended, too
    if reason:
        raise OSError(reason)
    end = os.fstat(output).st_size
    text = os.pread(output, 4000, max(0, end - 4000))
    passed = ended and os.read(heard, 1000) == secret
    hopeless = os.waitstatus_to_exitcode(status) == TOLD
    return "passed" if passed else "failed" if ended or hopeless else "timeout", text


def main() -> None:
    """Read the job, say what came of it: a word on a line, and the output or what is missing."""
    try:
        word, text = run(marshal.load(sys.stdin.buffer))
    except OSError as error:
        word, text = "missing", (error.strerror or str(error)).encode()
    sys.stdout.buffer.write(word.encode() + b"\n" + text)


if __name__ == "__main__":
    main()
