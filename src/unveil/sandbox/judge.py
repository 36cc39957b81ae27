"""Runs a program and then its checks, inside the sandbox; sandbox.py sends the text of this file there.

Success is told by writing a secret after the last check. What the program may change is taken before it runs: the
functions used here, and the built-in names that the checks see. A program that reads the frames of its own process
can find the secret: no more than that is promised.
"""

import marshal
import os
import sys
from types import ModuleType


def main() -> None:
    """The arguments are the numbers of two open files: where the task is read, where the secret goes."""
    source, target = map(int, sys.argv[1:])
    with open(source, "rb") as file:
        task = marshal.load(file)
    names, write, flush, leave, run = task["names"], os.write, sys.stdout.flush, os._exit, exec
    pristine = vars(sys.modules["builtins"]).copy()
    checks = compile(task["checks"], "<checks>", "exec")
    module = sys.modules["program"] = ModuleType("program")  # not __main__: what stands below such a line is no answer
    space = vars(module)
    run(compile(task["program"], "<program>", "exec"), space)
    kept = {name: value for name, value in space.items() if name in names or name not in pristine}
    run(checks, {**kept, "__builtins__": pristine})
    write(target, task["secret"])
    flush()
    leave(0)


if __name__ == "__main__":
    main()
