"""Which program an answer holds."""

import ast
import gzip
import json
from pathlib import Path
from textwrap import indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.tasks.benchmarks.programs import completed, defining, unfenced

PROMPT = 'from typing import List\n\n\ndef twice(n: int) -> int:\n    """Two times n.\n\n    >>> twice(2)\n    """\n'
BODY = "    return 2 * n\n"
WHOLE = "def twice(n):\n    return 2 * n\n"
HELPED = "def half(n):\n    return n // 2\n\n\ndef twice(n):\n    return half(4 * n)\n"

# answer: what the program does, and what of the answer it holds
RIGHT = {
    "a body": BODY,
    "a body after a blank line": "\n" + BODY,
    "a body without a line end": "    return 2 * n",
    "a body of several parts": "    m = n\n\n    # twice\n    if n:\n        m += n\n    return m\n",
    "an inner function of that name": "    def twice(n):\n        return 2 * n\n    return twice(n)\n",
    "then a function": BODY + "\n\ndef thrice(n):\n    return 3 * \n",
    "then a class": BODY + "\n\nclass A:\n  !\n",
    "then a comment": BODY + "\n# Test the function!\nassert twice(2) == 5",
    "then a main part": BODY + '\nif __name__ == "__main__":\n    raise ValueError',
    "then a print": BODY + "\nprint(twice(2, 3))\n",
    "then the end of a fence": BODY + "```\n\nThis returns two times n.",
    "then the end of a fence and another": BODY + "```\n```python\nprint(1/0)\n```\n",
    "the prompt again": PROMPT + BODY,
    "the function": WHOLE,
    "the function on several lines": "def twice(\n    n: int,\n) -> int:\n    return 2 * n\n",
    "an asynchronous helper": "async def wait():\n    pass\n\ndef twice(n):\n    return 2 * n\n",
    "the function with a helper before": HELPED,
    "the function with a helper after": "def twice(n):\n    return half(4 * n)\n\ndef half(n):\n    return n // 2\n",
    "the function of the prompt's imports": "def twice(n: List) -> List:\n    return 2 * n\n",
    "the function, its import": "import math\n\n" + WHOLE,
    "the function, decorated": "import functools\n\n@functools.cache\n" + WHOLE,
    "prose, then the function": "Here is the code:\n\n" + WHOLE,
    "the function, then a print": WHOLE + "\nprint(twice(1, 2))\n",
    "the function, then a comment and prose": WHOLE + "\n# Example:\nand so on",
    "the function, then a main part": WHOLE + "\nif __name__ == '__main__':\n    main(",
    "a block": f"```python\n{WHOLE}```",
    "a block, prose around": f"Sure! Here it is:\n\n```python\n{WHOLE}```\n\nIt doubles n.",
    "a block without a language": f"Sure:\n```\n{WHOLE}```\n",
    "a block in capitals": f"```Python\n{WHOLE}```\n",
    "a block that never ends": f"Sure:\n```python\n{WHOLE}",
    "a block with a body": f"Add this:\n```python\n{BODY}```\n",
    "a block of the prompt and a body": f"```python\n{PROMPT}{BODY}```",
    "a block in a list": f"1. The code:\n   ```python\n{indent(WHOLE, '   ')}   ```",
    "a block with a class": f"```python\nclass A:\n    factor = 2\n\n{WHOLE.replace('2', 'A.factor')}```",
    "a block with a print": f"```python\n{WHOLE}\nprint(twice(2))\n```",
    "a block with a main part": f"```python\n{WHOLE}\nif __name__ == '__main__':\n    1 / 0\n```",
    "the second block": f"First install it:\n```bash\npip install x\n```\nThen\n```python\n{WHOLE}```",
    "the first of two that define it": f"```python\n{WHOLE}```\nor\n```python\n{WHOLE.replace('2', '3')}```",
    "the function, then the end of a fence": WHOLE + "```\nIt doubles n.",
    "the end of a fence, then a block": f"```\n\n```python\n{WHOLE}```",
    "the end of a fence, then a block without a language": f"```\nOr:\n```\n{WHOLE}```\n",
    "only a comment, then a block": f"    # to do\n```\n\n```python\n{WHOLE}```",
    "a block in four ticks": f"So:\n````python\n{WHOLE}````\nDone.",
    "a block in tildes": f"So:\n~~~python\n{WHOLE}~~~\nDone.",
    "a block of four ticks with three inside": f'So:\n````python\n{WHOLE}\n"""\n```\nno\n```\n"""\n````\nDone.',
    "a block that another follows unclosed": f"So:\n```python\n{WHOLE}```python\nnot (\n```",
    "a future import": "from __future__ import annotations\n\n" + WHOLE,
    "a future import in a block": f"```python\nfrom __future__ import (\n    annotations,\n)\n{WHOLE}```",
    "a helper after a comment": (
        "def twice(n):\n    return half(4 * n)\n\n# helps\n\n# a lot\ndef half(n):\n    return n // 2\n"
    ),
    "a helper after a comment, then prose": (
        "def twice(n):\n    return half(4 * n)\n\n# helps\ndef half(n):\n    return n // 2\n\n# So\nthat is it"
    ),
    "a constant before": "So:\nFACTOR = 2\n\ndef twice(n):\n    return FACTOR * n\n",
    "windows lines": WHOLE.replace("\n", "\r\n"),
}
WRONG = {
    "nothing": "",
    "blanks": "   \n",
    "prose": "I am sorry, I cannot do that.",
    "another function": "```python\ndef thrice(n):\n    return 2 * n\n```",
    "a name that begins so": "def twice_of(n):\n    return 2 * n\n",
    "a body without indentation": "return 2 * n\n",
    "code that breaks off": "```python\ndef twice(n):\n    return 2 * (\n```",
    "prose after the function": WHOLE + "\nThis returns two times n.",
    "the wrong block first": f"```python\n{WHOLE.replace('2', '3')}```\nor\n```python\n{WHOLE}```",
    "a body after the function was left": "\n# twice\n" + BODY + "\n",
    "an empty block": "```python\n```",
}


def works(program: str) -> bool:
    """Whether the program doubles. The texts are our own: they need no sandbox."""
    space: dict[str, object] = {"__name__": "program"}
    try:
        exec(program, space)
        return space["twice"](21) == 42  # type: ignore[operator]
    except Exception:
        return False


@pytest.mark.parametrize("answer", RIGHT.values(), ids=RIGHT)
def test_the_program_is_found(answer: str) -> None:
    assert works(completed(PROMPT, answer, "twice"))


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_nothing_is_made_up(answer: str) -> None:
    assert not works(completed(PROMPT, answer, "twice"))


def test_programs_to_the_letter() -> None:
    assert completed(PROMPT, BODY + "\n\ndef g", "twice") == PROMPT + BODY + "\n"
    assert completed(PROMPT, f"So:\n```python\n{HELPED}```\nDone.", "twice") == f"{PROMPT}\n{HELPED}"
    assert completed(PROMPT, f"So:\n{HELPED}\n# More", "twice") == f"{PROMPT}\n{HELPED}"
    for body in ("    pass\n", "\tpass\n", "  pass\n", "\n\n    pass\n"):
        assert completed(PROMPT, f"{body}```\nDone", "twice") == PROMPT + body


@given(text=st.text("def twice(n):\n` #@importx") | st.text(), prompt=st.sampled_from(["", PROMPT]))
def test_any_answer_makes_a_program(text: str, prompt: str) -> None:
    program = completed(prompt, text, "twice")
    assert program.startswith(prompt) and len(program) <= len(prompt) + len(text) + 1


@given(body=st.lists(st.sampled_from(["    x = 1", "    # x", "", "    '''a", "    b'''", "    return x"]), max_size=6))
def test_a_body_is_taken_whole(body: list[str]) -> None:
    text = "".join(f"{line}\n" for line in ["    x = 0", *body])
    assert completed(PROMPT, text, "twice") == PROMPT + text
    assert completed(PROMPT, f"```python\n{text}```", "twice") == PROMPT + text


def test_future_imports_come_first() -> None:
    future = "from __future__ import annotations\n"
    assert completed(PROMPT, f"```\n{future}{WHOLE}```", "twice") == f"{future}{PROMPT}\n{WHOLE}"


def test_any_of_several_names_is_what_is_asked() -> None:
    defines = defining(["Pair", "largest"])
    assert defines.search("x\nclass Pair:") and defines.search("def largest(a)") and not defines.search(" class Pair")
    assert unfenced("a\n```\nx\n```\n```\nclass Pair(A): 1\n```", defines) == "class Pair(A): 1\n"
    assert unfenced("a\n```\nx\n```\n", defines) == "x\n" and unfenced("a = 1", defines) == "a = 1"


def test_the_published_answers_are_taken_whole(data: Path) -> None:
    for line in gzip.open(data / "humaneval" / "HumanEval.jsonl.gz"):
        item = json.loads(line)
        whole = item["prompt"] + item["canonical_solution"]
        assert completed(item["prompt"], item["canonical_solution"], item["entry_point"]) == whole
        fenced = completed(item["prompt"], f"Sure:\n```python\n{whole}```\n", item["entry_point"])
        assert ast.unparse(ast.parse(fenced)).endswith(ast.unparse(ast.parse(whole)))
