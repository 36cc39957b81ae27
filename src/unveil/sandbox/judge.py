"""Runs a program and then its checks, inside the sandbox; its __init__ sends the text of this file there.

Success is told by writing a secret after the last check. What the program may change is taken before it runs and put
back before the checks: the functions used here, Python's built-in names, and the modules that the checks import, with
their classes and functions. (New copies would have other classes: no Counter of the program would equal one of the
checks.) A program that reads the frames of its own process can find the secret: no more than that is promised.

When its time is over it is asked, by a signal, whether it will ever end: in endless recursion, or in one operation such
as a huge power, it has failed.
"""

import _signal  # type: ignore[import-not-found]  # signal itself imports enum, which takes longer than all that is done here
import marshal
import os
import sys
import time
from collections.abc import Callable
from types import FrameType, FunctionType, ModuleType
from typing import Any

LIBRARIES = "/libraries"  # where launch.py puts what is not Python's own
SIGXCPU, TOLD = 24, 3  # TOLD: how a program ends that would not have ended
DEEP, DEEPEST = 800, 200_000  # calls within one another: what is endless, and the most that a program may allow itself
CHANGEABLE = 1 << 9  # of a class's flags: not one of C's, which nobody can change


def main() -> None:
    """The arguments are the numbers of two open files: where the task is read, where the secret goes."""
    source, target = map(int, sys.argv[1:])
    with open(source, "rb") as file:
        task = marshal.load(file)
    sys.path.append(LIBRARIES)
    names, write, flush, leave, run = task["names"], os.write, sys.stdout.flush, os._exit, exec
    checks = compile(task["checks"], "<checks>", "exec")
    import_for(task["checks"])
    pristine = vars(sys.modules["builtins"]).copy()
    watch(write, leave)
    set_limit = sys.setrecursionlimit
    sys.setrecursionlimit = lambda limit: set_limit(min(limit, DEEPEST))
    put_back = taken()
    module = sys.modules["program"] = ModuleType("program")  # not __main__: what stands below such a line is no answer
    space = vars(module)
    run(compile(task["program"], "<program>", "exec"), space)
    kept = {name: value for name, value in space.items() if name in names or name not in pristine}
    put_back()
    run(checks, {**kept, "__builtins__": pristine})
    write(target, task["secret"])
    flush()
    leave(0)


def import_for(text: str) -> None:
    """Import what the checks import; what cannot be imported is their own error, later."""
    if "import" not in text:
        return
    import ast

    wanted = set[str]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    for name in sorted(wanted):
        try:
            __import__(name)
        except Exception:
            pass


def taken() -> Callable[[], None]:
    """What puts back all that the modules hold now. What a program adds to a module stays."""
    spaces, lists = list[Any](), list[Any]()
    classes, functions = list[tuple[type, dict[str, Any]]](), list[Any]()
    seen = set[int]()
    waiting: list[Any] = list(sys.modules.values())
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) in (dict, list):
            (spaces if type(value) is dict else lists).append((value, value.copy()))
        elif isinstance(value, FunctionType):
            functions.append((value, value.__code__, value.__defaults__, value.__kwdefaults__))
        elif isinstance(value, type):
            if value.__flags__ & CHANGEABLE:
                classes.append((value, dict(vars(value))))
                waiting += [getattr(part, "__func__", part) for part in vars(value).values() if callable(part)]
        elif type(space := getattr(value, "__dict__", None)) is dict:
            spaces.append((space, space.copy()))
            waiting += space.values() if isinstance(value, ModuleType) else ()
    put, remove = type.__setattr__, type.__delattr__

    def put_back() -> None:
        for space, values in spaces:  # first: this code's own names are among them
            space.update(values)
        for row, values in lists:
            row[:] = values
        for function, code, defaults, by_name in functions:
            function.__code__, function.__defaults__, function.__kwdefaults__ = code, defaults, by_name
        for kind, values in classes:
            now = dict(vars(kind))
            for name in now.keys() - values.keys():
                remove(kind, name)
            for name, value in values.items():
                if now.get(name, now) is not value:
                    put(kind, name, value)

    return put_back


def watch(write: Callable[[int, bytes], Any], leave: Callable[[int], Any]) -> None:
    """On signals after the time is over, leave and say why if it can be told that the program would not end."""
    since, clock, trace_with = list[float](), time.process_time, sys.settrace
    steps = list[None]()

    def stepped(at: FrameType, *_: object) -> None:
        if at.f_code is not over.__code__:
            steps.append(None)
            trace_with(None)

    def over(_: int, frame: FrameType | None) -> None:
        here, depth = frame, 0
        while here is not None and depth < DEEP:
            here, depth = here.f_back, depth + 1
        if depth == DEEP:
            write(2, b"stopped: endless recursion, %d calls within one another and more\n" % DEEP)
            leave(TOLD)
        if not since:
            since.append(clock())
            here = frame
            trace_with(stepped)
            while here is not None:
                here.f_trace, here = stepped, here.f_back
        elif not steps and clock() - since[0] > 0.05:  # not asleep
            write(2, b"stopped: one operation does not end, such as a huge power\n")
            leave(TOLD)

    _signal.signal(SIGXCPU, over)


if __name__ == "__main__":
    main()
