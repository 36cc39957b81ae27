"""Imports point down: each part of the package stands on a floor and knows only the floors below."""
import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.surface.tree import CODE, FLOORS, PACKAGE, parsed, part, write

OUTSIDE = set(CODE) - {"src"}


class Import(NamedTuple):
    source: str  # module that imports
    target: str  # module or package imported
    line: int
    eager: bool  # runs when the source is imported, not when a function is called or types are checked


def modules(package: Path) -> dict[str, tuple[Path, ast.Module]]:
    """Module name -> file and tree."""
    named = {}
    for path, tree in parsed(package):
        parts = path.with_suffix("").parts
        named[".".join(("unveil", *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path, tree
    return named


def imports(package: Path) -> Iterator[Import]:
    """Every import statement in the package, relative ones resolved."""
    known = modules(package)
    for name, (path, tree) in known.items():
        home = name if path.name == "__init__.py" else name.rpartition(".")[0]
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        typing = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
        lazy = {id(node) for block in (*functions, *typing) for node in ast.walk(block)}
        for node in ast.walk(tree):
            targets = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), home)
                submodules = [f"{base}.{alias.name}" for alias in node.names]
                targets = [module if module in known else base for module in submodules]
            for target in targets:
                yield Import(name, target, node.lineno, id(node) not in lazy)


def part_of(module: str) -> str:
    return (module.split(".") + ["__init__"])[1]


def legal(found: Import) -> bool:
    here, there = part_of(found.source), part_of(found.target)
    if here == "__init__":  # it may show everything, but importing unveil must stay cheap
        return not found.eager or FLOORS[there] <= 2
    ground = FLOORS[here] == FLOORS[there] == 0
    return here == there or ground or FLOORS[there] < FLOORS[here]


def floor_faults(package: Path) -> list[str]:
    """Imports that point up or sideways, and parts without a floor."""
    parts = {part(path) for path, _ in parsed(package)}
    faults = [f"{name!r} has no floor: enter it in FLOORS" for name in sorted(parts - FLOORS.keys())]
    for found in imports(package):
        root, text = found.target.split(".")[0], f"{found.source}:{found.line} imports {found.target}"
        if root in OUTSIDE:
            faults.append(f"{text}, which may import unveil, never the reverse")
        elif root == "unveil" and part_of(found.target) not in FLOORS:
            faults.append(f"{text}, which has no floor")
        elif root == "unveil" and part_of(found.source) in FLOORS and not legal(found):
            faults.append(f"{text}, which is not on a floor below")
    return faults


def cycle_faults(package: Path) -> list[str]:
    """A ring of modules that import one another when they are imported."""
    graph: dict[str, set[str]] = {name: set() for name in modules(package)}
    for found in imports(package):
        if found.eager and found.target in graph and found.target != found.source:
            graph[found.source].add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def torch_faults(package: Path) -> list[str]:
    """Tasks that reach torch, themselves or through a part they import."""
    edges = list(imports(package))
    faults = []
    for task in (name for name in modules(package) if part_of(name) == "tasks"):
        reached, waiting = {task}, [task]
        while waiting:
            module = waiting.pop()
            targets = {edge.target for edge in edges if edge.source == module}
            faults += [f"{task} reaches torch in {module}" for target in targets if target.split(".")[0] == "torch"]
            waiting += targets - reached
            reached |= targets
    return faults


def test_the_package_is_seen() -> None:
    assert "unveil.canvas" in modules(PACKAGE)


@pytest.mark.parametrize("check", [floor_faults, cycle_faults, torch_faults])
def test_package(check) -> None:
    assert check(PACKAGE) == []


BAD = {
    "up": ({"models/kv.py": "from unveil.sampling.blocks import Blocks"}, "models.kv:1 imports unveil.sampling"),
    "up, relative": ({"canvas.py": "from . import models", "models/__init__.py": ""}, "canvas:1 imports unveil.models"),
    "up, in a function": ({"sampling/a.py": "def f():\n    import unveil.cli"}, "sampling.a:2 imports unveil.cli"),
    "siblings": ({"policies/a.py": "from ..tasks import x"}, "policies.a:1 imports unveil.tasks"),
    "floor 6": ({"evaluation/a.py": "import unveil.training"}, "evaluation.a:1 imports unveil.training"),
    "diagnoses": ({"training/a.py": "import unveil.diagnostics"}, "training.a:1 imports unveil.diagnostics"),
    "names": ({"policies/a.py": "import unveil.decoding"}, "policies.a:1 imports unveil.decoding"),
    "surface from below": ({"sampling/a.py": "from unveil import load"}, "sampling.a:1 imports unveil, "),
    "heavy surface": ({"__init__.py": "from unveil.cli import main"}, "unveil:1 imports unveil.cli"),
    "outside": ({"cli/a.py": "from experiments import lab"}, "may import unveil, never the reverse"),
    "no floor": ({"extras.py": ""}, "'extras' has no floor"),
    "to no floor": ({"cli/a.py": "import unveil.extras"}, "unveil.extras, which has no floor"),
}
GOOD = {
    "down": {"sampling/a.py": "from unveil.canvas import Canvas\nfrom ..models import kv"},
    "floor 0": {"canvas.py": "from unveil import noise", "noise.py": ""},
    "same part": {"tasks/a.py": "from unveil.tasks.b import x", "tasks/b.py": ""},
    "front": {"cli/a.py": "from unveil import api", "api.py": "from unveil.evaluation import run"},
    "lazy surface": {"canvas.py": "", "__init__.py": "from .canvas import C\ndef f():\n    from .cli import main"},
    "surface for type checkers": {"__init__.py": "if TYPE_CHECKING:\n    from .cli import main", "cli/__init__.py": ""},
}


@pytest.mark.parametrize(("files", "words"), BAD.values(), ids=BAD)
def test_bad_imports_are_found(tmp_path: Path, files: dict[str, str], words: str) -> None:
    faults = floor_faults(write(tmp_path, files))
    assert len(faults) == 1 and words in faults[0]


@pytest.mark.parametrize("files", GOOD.values(), ids=GOOD)
def test_good_imports_pass(tmp_path: Path, files: dict[str, str]) -> None:
    package = write(tmp_path, files)
    assert floor_faults(package) == cycle_faults(package) == torch_faults(package) == []


def test_a_cycle_is_found(tmp_path: Path) -> None:
    ring = {"canvas.py": "from unveil import noise", "noise.py": "import unveil.canvas"}
    assert "unveil.noise" in cycle_faults(write(tmp_path, ring))[0]


def test_torch_in_a_task_is_found(tmp_path: Path) -> None:
    files = {"tasks/a.py": "from unveil.files import read", "files.py": "def read():\n    from torch import nn"}
    assert torch_faults(write(tmp_path, files)) == ["unveil.tasks.a reaches torch in unveil.files"]
