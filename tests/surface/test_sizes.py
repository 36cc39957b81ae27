"""Files, functions and the three lowest floors stay small enough to read."""
import ast
from pathlib import Path

from tests.surface.tree import CODE, PACKAGE, ROOT, low_floors, parsed, write

FILE, HARD, FUNCTION, LOW_FLOORS = 300, 500, 40, 4000  # lines; of the low floors lines of code


def num_lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def long_files(folder: Path, limit: int) -> list[str]:
    """Files of more than `limit` lines."""
    sizes = {path: num_lines(folder / path) for path, _ in parsed(folder)}
    return [f"{path}: {size} lines, at most {limit}" for path, size in sizes.items() if size > limit]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, without its docstring."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function, clean=False) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring


def long_functions(folder: Path, limit: int) -> list[str]:
    """Functions of more than `limit` lines."""
    return [
        f"{path}:{node.lineno} {node.name}: {body_lines(node)} lines, at most {limit}"
        for path, tree in parsed(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_lines(node) > limit
    ]


def code_lines(text: str, tree: ast.Module) -> int:
    """Lines that are neither blank nor a comment nor part of a docstring."""
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = (line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in docstrings)
    return sum(bool(line) and not line.startswith("#") for line in lines)


def low_floor_lines(package: Path) -> int:
    """Lines of code of floors 0 to 2 together."""
    return sum(code_lines((package / path).read_text("utf-8"), tree) for path, tree in low_floors(package))


def test_no_file_is_very_long() -> None:
    assert [fault for folder in CODE for fault in long_files(ROOT / folder, HARD)] == []


def test_files_of_the_package_are_short() -> None:
    assert long_files(PACKAGE, FILE) == []


def test_functions_of_the_package_are_short() -> None:
    assert long_functions(PACKAGE, FUNCTION) == []


def test_the_low_floors_are_small() -> None:
    assert 0 < low_floor_lines(PACKAGE) <= LOW_FLOORS


def test_a_long_file_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = 1\n" * 300, "b/c.py": "x = 1\n" * 301})
    assert long_files(tmp_path, 300) == [f"{Path('b/c.py')}: 301 lines, at most 300"]


def test_a_long_function_is_found_and_its_docstring_is_free(tmp_path: Path) -> None:
    body, docstring = "    x = 1\n" * 39, '    """One.\n\n    Two.\n    """\n'
    method = "class C:\n    async def f(self):\n" + "        x = 1\n" * 40
    write(tmp_path, {"a.py": f"def f():\n{docstring}{body}", "b.py": f"def g():\n{body}    x = 2\n", "c.py": method})
    assert long_functions(tmp_path, 40) == ["b.py:1 g: 41 lines, at most 40", "c.py:2 f: 41 lines, at most 40"]


def test_low_floors_are_counted_together(tmp_path: Path) -> None:
    text = '"""Doc\n\nstring."""\n\n# why\nx = 1\ny = 2\n'
    files = dict.fromkeys(["canvas.py", "models/kv.py", "sampling/a.py", "tasks/a.py", "__init__.py"], text)
    assert low_floor_lines(write(tmp_path, files)) == 6
