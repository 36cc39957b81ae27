"""The program in an answer: a fenced block, a whole program, or the rest of a function that the prompt began."""

import re
import textwrap
from collections.abc import Collection
from dataclasses import fields, replace

from unveil.sandbox import Sandbox
from unveil.tasks.task import Task

FENCE = re.compile(r"^([ \t]*)```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
BODY = re.compile(r"\s*\n(?: {2}|\t)|(?: {2}|\t)")  # how the rest of a function begins: an indented line
LEAVING = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # where it ends: Chen et al. 2021, section 3.2, and lm-eval
AFTER = ("\n#", "\nif", "\nprint")  # where a whole program ends: functions may follow the one that is asked for
PROGRAM = re.compile(r"^(?:(?:import|from|def|class|async)\b|@)", re.MULTILINE)


def defining(names: Collection[str]) -> re.Pattern[str]:
    """What finds the line that defines any of the names, outside of functions."""
    return re.compile(rf"^(?:async[ \t]+def|def|class)[ \t]+(?:{'|'.join(map(re.escape, names))})\b", re.MULTILINE)


def before(text: str, stops: Collection[str]) -> str:
    """The text before the first of the stops."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def unfenced(text: str, defines: re.Pattern[str]) -> str:
    """The code of an answer: a block in fences ```, the first that defines what is asked if there are several.

    An answer that begins as code ends at its first fence: the prompt opened the block. One without fences is all code.
    """
    head = before(text, ("```",))
    if head == text or BODY.match(head) or defines.search(head):
        return head
    blocks = [textwrap.dedent(block) if indent else block for indent, block in FENCE.findall(text)]
    return next(filter(defines.search, blocks), blocks[0] if blocks else head)


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
    if code != text:  # a block
        return f"{prompt}\n{code}"
    begin = PROGRAM.search(code)
    assert begin is not None
    return f"{prompt}\n{code[begin.start() : found.end()]}{before(code[found.end() :], AFTER)}"


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
