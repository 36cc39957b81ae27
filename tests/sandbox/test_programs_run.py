"""What a program finds in the sandbox, what it may patch in vain, and when it has failed or ran out of time."""


import pytest

from tests.sandbox.namespaces import needs_namespaces
from unveil.sandbox import Sandbox

CHECKS = "assert answer() == 42"
RIGHT = "def answer():\n    return 42\n"
LONG, SHORT = Sandbox(), Sandbox(seconds=0.7)


@pytest.fixture(autouse=True, scope="module")
def isolated() -> None:
    """Skips where there are no namespaces. The sandbox itself is not asked: it could fail by a fault of ours."""
    needs_namespaces()


def test_numpy_time_zones_and_dev_null_are_there() -> None:
    program = (
        "import datetime, os, zoneinfo\nimport numpy as np\n"
        "with open(os.devnull, 'w') as file:\n    print('x' * 10**6, file=file)\n"
        "day = datetime.datetime(2020, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))\n"
        "def answer():\n    return np.linalg.inv(np.eye(42)).sum()\n"
    )
    checks = "assert day.utcoffset().seconds == 7200 and open('/dev/null').read() == '' and answer() == 42"
    assert LONG.run(program, checks) == ("passed", "")


@pytest.mark.parametrize("program", ["import no_such_module", "open('/etc/passwd')", "import os\nos.fork()"])
def test_what_is_not_there_is_listed_where_it_was_looked_for(program: str) -> None:
    outcome = LONG.run(f"print('x' * 9000)\n{program}", CHECKS)
    assert outcome.verdict == "failed" and len(outcome.output) <= 4000
    assert "The sandbox has Python's own library and numpy, an empty folder and /dev/null; no" in outcome.output
    assert "The sandbox has" not in LONG.run("1 / 0", CHECKS).output


WRONG = "def answer():\n    return 41\n"
PATCHES = {
    "a function": (
        "import math\nmath.isclose = lambda *a, **k: True", "import math\nassert math.isclose(answer(), 42)"
    ),
    "the module": (
        "import sys, types\nfake = sys.modules['math'] = types.ModuleType('math')\nfake.isclose = lambda *a: True",
        "from math import isclose\nassert isclose(answer(), 42)",
    ),
    "inside a check": (
        "import copy\ncopy.deepcopy = lambda x: 41",
        "def check(f):\n    import copy\n    assert copy.deepcopy(42) == f()\ncheck(answer)",
    ),
    "code": (
        "import copy\ncopy.deepcopy.__code__ = (lambda x, m=None, n=None: 41).__code__",
        "import copy\nassert copy.deepcopy(42) == answer()",
    ),
    "a table": (
        "import copy\ncopy._deepcopy_dispatch[int] = lambda x, memo: 41",
        "import copy\nassert copy.deepcopy(42) == answer()",
    ),
    "a class": (
        "from collections import Counter\nCounter.__eq__ = lambda *a: True",
        "from collections import Counter\nassert Counter([answer()]) == Counter([42])",
    ),
    "an object": (
        "import random\nrandom._inst.choice = lambda x: 41\nrandom.choice = lambda x: 41",
        "import random\nassert random.choice([42]) == answer()",
    ),
    "numpy": (
        "import numpy as np\nnp.allclose = lambda *a: True", "import numpy as np\nassert np.allclose(answer(), 42)"
    ),
    "what finds modules": (
        "import sys\nsys.meta_path.clear()\nsys.path.insert(0, '.')\nsys.modules.pop('math', None)\n"
        "open('math.py', 'w').write('isclose = lambda *a: True')",
        "import math\nassert math.isclose(answer(), 42)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("patch", "checks"), PATCHES.values(), ids=PATCHES)
def test_the_checks_see_modules_as_they_were(patch: str, checks: str) -> None:
    wrong = LONG.run(WRONG + patch, checks)
    assert wrong.verdict == "failed" and "AssertionError" in wrong.output
    assert LONG.run(RIGHT + patch, checks).passed or "finds" in patch


def test_objects_of_the_program_equal_those_of_the_checks() -> None:
    imports = "import collections, datetime, decimal, fractions\n"
    value = "(collections.Counter('ab'), datetime.date(2020, 1, 1), decimal.Decimal(3), fractions.Fraction(1, 2))"
    assert LONG.run(f"{imports}def answer():\n    return {value}", f"{imports}assert answer() == {value}").passed


ENDLESS = {
    "a power": "x = 9\ny = x**x**x",
    "a power of a function": "x = 9\npow(x, x**x)",
    "a factorial": "import math\nmath.factorial(10**8)",
    "recursion that catches its end": "def f():\n    try:\n        f()\n    except RecursionError:\n        f()\nf()",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n):\n    return f(n + 1) + 1\nf(0)",
}


@pytest.mark.parametrize("program", ENDLESS.values(), ids=ENDLESS)
def test_what_would_never_end_has_failed(program: str) -> None:
    outcome = Sandbox(seconds=2.0).run(program, CHECKS)
    assert outcome.verdict == "failed" and ("stopped: " in outcome.output or "RecursionError" in outcome.output)


@pytest.mark.parametrize("program", ["i = 0\nwhile True:\n    i += 1", "while True:\n    max(1, 2)"])
def test_what_might_end_ran_out_of_time(program: str) -> None:
    assert SHORT.run(program, CHECKS).verdict == "timeout"


def test_what_passes_after_its_time_has_not_passed() -> None:
    assert SHORT.run(f"{RIGHT}import time\ntime.sleep(0.7)", CHECKS).verdict == "timeout"


# what would harm the machine ------------------------------------------------------------------------------------------
