"""What the surface tests read: the repository's Python files, parsed, and the floor of each part of the package."""
import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "unveil"
CODE = ("src", "recipes", "experiments", "benchmarks", "examples", "tests")

# A part of the package is a file or a folder in src/unveil. "__init__" is the public surface, `import unveil`.
FLOORS = {
    "canvas": 0, "noise": 0, "schedule": 0, "files": 0, "fields": 0, "settings": 0, "legal": 0, "catalogue": 0,
    "interrupts": 0, "terminal": 0, "processes": 0,
    "sandbox": 0,
    "models": 1,
    "sampling": 2,
    "checkpoints": 3,
    "policies": 4, "tasks": 4, "objectives": 4,
    "decoding": 5, "__init__": 5,
    "evaluation": 6, "training": 6,
    "diagnostics": 7,
    "api": 8, "train": 8,
    "cli": 9,
    "__main__": 10,
}  # fmt: skip


def part(path: Path) -> str:
    """The part a file belongs to; `path` is relative to the package."""
    return path.parts[0].removesuffix(".py")


def parsed(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file below `folder`: its path relative to it, its syntax tree."""
    for path in sorted(folder.rglob("*.py")):
        yield path.relative_to(folder), ast.parse(path.read_text("utf-8"), str(path))


def low_floors(package: Path) -> Iterator[tuple[Path, ast.Module]]:
    """The files of floors 0 to 2, which the strictest rules hold for."""
    return ((path, tree) for path, tree in parsed(package) if FLOORS.get(part(path), 99) <= 2)


def write(folder: Path, files: dict[str, str]) -> Path:
    """A small tree to try a checker on."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder
