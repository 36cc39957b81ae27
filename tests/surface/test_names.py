"""Names say what a thing is; public things of floors 0 to 2 say it in a docstring; parts are frozen values."""
import ast
from collections.abc import Iterator
from pathlib import Path

from tests.surface.tree import CODE, PACKAGE, ROOT, low_floors, parsed, write

EMPTY_FILE_NAMES = {"util", "utils", "common", "base", "helper", "helpers", "misc"}
EMPTY_CLASS_NAMES = ("Manager", "Factory", "Runner", "Handler", "Wrapper")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def empty_names(folder: Path) -> list[str]:
    """Files, folders and classes whose name says nothing."""
    faults = []
    for path, tree in parsed(folder):
        faults += [f"{path}: {word!r} says nothing" for word in path.with_suffix("").parts if word in EMPTY_FILE_NAMES]
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        faults += [f"{path}: class {node.name}" for node in classes if node.name.endswith(EMPTY_CLASS_NAMES)]
    return faults


def public(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, Definition]]:
    """Functions, classes and methods without a leading underscore."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield owner + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{owner}{node.name}.")


def silent(package: Path) -> list[str]:
    """Public things of floors 0 to 2 without a docstring."""
    return [
        f"{path}:{node.lineno} {name}: no docstring"
        for path, tree in low_floors(package)
        for name, node in public(tree.body)
        if not ast.get_docstring(node)
    ]


def dataclass_flags(node: ast.ClassDef) -> set[str] | None:
    """The keywords a dataclass is made with, None for other classes."""
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
        if ast.unparse(call.func) in ("dataclass", "dataclasses.dataclass"):
            return {str(k.arg) for k in call.keywords if isinstance(k.value, ast.Constant) and k.value.value is True}
    return None


def loose_parts(folder: Path) -> list[str]:
    """Dataclasses that are not frozen and keyword-only."""
    return [
        f"{path}:{node.lineno} {node.name}: needs @dataclass(frozen=True, kw_only=True)"
        for path, tree in parsed(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        if (flags := dataclass_flags(node)) is not None and not {"frozen", "kw_only"} <= flags
    ]


def test_names_say_something() -> None:
    assert [fault for folder in CODE for fault in empty_names(ROOT / folder)] == []


def test_public_things_are_documented() -> None:
    assert silent(PACKAGE) == []


def test_parts_are_frozen_values() -> None:
    assert loose_parts(PACKAGE / "sampling") == []


def test_empty_names_are_found(tmp_path: Path) -> None:
    write(tmp_path, {"models/utils.py": "class A: ...", "a.py": "def f():\n    class CacheManager: ...", "b.py": ""})
    assert empty_names(tmp_path) == ["a.py: class CacheManager", f"{Path('models/utils.py')}: 'utils' says nothing"]


def test_silence_is_found(tmp_path: Path) -> None:
    code = 'def f(): ...\ndef _g(): ...\nclass C:\n    """Yes."""\n    def m(self): ...\n    def __call__(self): ...\n'
    write(tmp_path, {"sampling/a.py": code, "tasks/a.py": code})
    name = Path("sampling/a.py")
    assert silent(tmp_path) == [f"{name}:1 f: no docstring", f"{name}:5 C.m: no docstring"]


def test_loose_parts_are_found(tmp_path: Path) -> None:
    heads = [
        "@dataclass",
        "@dataclass(frozen=True)",
        "@dataclasses.dataclass(frozen=True, kw_only=False)",
        "@dataclass(frozen=True, kw_only=True)",
        "@final",
    ]
    write(tmp_path, {"a.py": "".join(f"{head}\nclass C{i}: ...\n" for i, head in enumerate(heads))})
    assert [fault.split()[1] for fault in loose_parts(tmp_path)] == ["C0:", "C1:", "C2:"]
