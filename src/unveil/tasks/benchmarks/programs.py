"""The program in an answer: a fenced block, a whole program, or the rest of a function that the prompt began.

The first block that defines what is asked counts, whatever follows.
"""

import re
import textwrap
from collections.abc import Collection
from dataclasses import fields, replace

from unveil.sandbox import Sandbox
from unveil.tasks.task import Task

TICKS = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([^\n`]*)$", re.MULTILINE)  # a line that begins or ends a block
BODY = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*(?: {2}|\t)[ \t]*[^\s#]")  # how the rest of a function begins
LEAVING = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # where it ends: Chen et al. 2021, section 3.2, and lm-eval
PROGRAM = re.compile(r"^(?:(?:import|from|def|class|async)\b|@|[A-Z][A-Z0-9_]*[ \t]*=)", re.MULTILINE)
FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]+(?:\([^()]*\)|[^\n(;]*)(?:\n|\Z)", re.MULTILINE)


def defining(names: Collection[str]) -> re.Pattern[str]:
    """What finds the line that defines any of the names, outside of functions."""
    return re.compile(rf"^(?:async[ \t]+def|def|class)[ \t]+(?:{'|'.join(map(re.escape, names))})\b", re.MULTILINE)


def before(text: str, stops: Collection[str]) -> str:
    """The text before the first of the stops."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def unfenced(text: str, defines: re.Pattern[str]) -> str:
    """The code of an answer: a block in fences, the first that defines what is asked if there are several.

    An answer that begins as code ends at its first fence: the prompt opened the block. One without fences is all code.
    """
    head = before(text, ("```", "~~~"))
    if head == text or BODY.match(head) or defines.search(head):
        return head
    blocks = _blocks(text)
    if not head.strip():  # its first fence may only end what the prompt has begun
        blocks += _blocks(text[len(head) :].lstrip("`~"))
    return next(filter(defines.search, blocks), blocks[0] if blocks else head)


def _blocks(text: str) -> list[str]:
    """What stands between fences of three signs or more.

    A fence with a word behind it always begins a block: the one before may only have ended what the prompt has begun.
    """
    blocks, opened = list[str](), None
    for fence in TICKS.finditer(text):
        if opened and not fence[2].startswith(opened[2]):
            continue
        if opened:
            blocks.append(_inside(text, opened, fence.start()))
        opened = None if opened and not fence[3].strip() else fence
    return [*blocks, _inside(text, opened, len(text))] if opened else blocks


def _inside(text: str, opened: re.Match[str], end: int) -> str:
    inside = text[opened.end() + 1 : end]
    return textwrap.dedent(inside) if opened[1] else inside


def completed(prompt: str, text: str, entry: str) -> str:
    """The program that an answer makes of HumanEval's prompt.

    An answer that defines the function `entry` anew is a whole program; it follows the prompt, whose imports and other
    functions it may use. Any other goes on where the prompt ends, up to the first line that leaves the function.
    """
    defines = defining([entry])
    code = unfenced(text, defines)
    found = defines.search(code)
    if found is None:
        return prompt + before(code, LEAVING)
    if code == text:  # no block
        begin = PROGRAM.search(code)
        assert begin is not None
        code = code[begin.start() : found.end()] + _functions(code[found.end() :])
    return future_first(f"{prompt}\n{code}")


def _functions(text: str) -> str:
    """A program up to what is no longer one: a main part, an example, or a comment that no further function follows."""
    kept, remarks = list[str](), list[str]()
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        if kept and line.startswith(("if", "print")):
            break
        if kept and (line.startswith("#") or (remarks and not line.strip())):
            remarks.append(line)
        elif remarks and not (PROGRAM.match(line) or line[0] in " \t"):
            remarks = []
            break
        else:
            kept += [*remarks, line]
            remarks = []
    found = "".join(kept)
    return found if len(found) == len(text) else found.removesuffix("\n")


def future_first(program: str) -> str:
    """The program with what it imports from __future__ where Python wants that: before all else."""
    imports = "".join(f"{found[0].rstrip()}\n" for found in FUTURE.finditer(program))
    return imports + FUTURE.sub("", program) if imports else program


def judged(task: Task, sandbox: Sandbox | None, program: str, checks: str, names: Collection[str]) -> bool:
    """Whether the program passes its checks in the sandbox of the task. ValueError without one."""
    if sandbox is None:
        raise _forbidden(task)
    return sandbox.run(program, checks, names).passed


def _forbidden(task: Task) -> ValueError:
    return ValueError(
        f"task {task.name} runs code that a model wrote: it does so only with --allow-code-execution "
        "(in Python: with a Sandbox), and then in a sandbox"
    )


def allow_code(task: Task, allowed: bool) -> Task:
    """The task, with a sandbox if code is `allowed` to run.

    ValueError for a task that needs it and may not, for one that runs no code, and where nothing can be isolated.
    """
    runs_code = any(field.name == "sandbox" for field in fields(task))  # type: ignore[arg-type]
    if not runs_code:
        if allowed:
            raise ValueError(f"task {task.name} runs no code: leave out --allow-code-execution")
        return task
    if not allowed:
        raise _forbidden(task)
    sandbox = Sandbox()
    sandbox.check()
    return replace(task, sandbox=sandbox)  # type: ignore[type-var]
