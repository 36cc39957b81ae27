"""What there is to choose from, read from the source files without importing them: help does not wait for torch.

A sampler, a task, a probe, a policy, a layout and a verb are each one file in a folder of their own. Nothing lists them
a second time: a new file is found here.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SAMPLERS = ("sampling/recipes", "policies")
TASKS = ("tasks/puzzles", "tasks/benchmarks")
PROBES = ("diagnostics/context/probes",)
POLICIES = ("policies",)
LAYOUTS = ("checkpoints/families",)
TRAININGS = ("training",)
CHECKS = (*SAMPLERS, "sampling")  # where samplers' settings are checked


class Entry(NamedTuple):
    """Something that a user can name, and where it is defined."""

    name: str
    module: str
    attribute: str
    settings: Mapping[str, str] = MappingProxyType({})  # of a sampler, with their defaults as they are typed
    constants: Mapping[str, Any] = MappingProxyType({})  # of a class: its constants that stand in the class itself

    def load(self) -> Any:
        """Import the module and return the sampler, class or verb itself."""
        return getattr(import_module(self.module), self.attribute)


@cache
def samplers() -> Mapping[str, Entry]:
    """Samplers by name: a function called as its file, whose keyword-only parameters are its settings.

    ImportError for a recipe's file without such a function.
    """
    found = _by_name(
        Entry(node.name, module, node.name, _defaults(node))
        for module, node in _top(SAMPLERS)
        if isinstance(node, ast.FunctionDef) and node.name == module.rpartition(".")[2]
    )
    for module, _ in _files(SAMPLERS[:1]):
        name = module.rpartition(".")[2]
        if name not in ("__init__", *found):
            raise ImportError(f"{module} has no function {name}(new_tokens, *, ...): a sampler is called as its file")
    return found


@cache
def words() -> Mapping[str, tuple[str, ...]]:
    """The legal words of samplers' settings, by setting: what `one_of("setting", value, WORDS)` asks for.

    WORDS is a tuple, or a dict by word, that is made in the same file.
    """
    found: dict[str, tuple[str, ...]] = {}
    for _, tree in _files(CHECKS):
        made: dict[str, tuple[str, ...]] = {}
        checked: dict[str, str] = {}
        for node in ast.walk(tree):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    made[name] = _texts(node.value)
                case ast.Call(func=ast.Name(id="one_of"), args=[ast.Constant(value=setting), _, ast.Name(id=name)]):
                    checked[str(setting)] = name
        found |= {setting: made[name] for setting, name in checked.items()}
    return MappingProxyType(found)


@cache
def tasks() -> Mapping[str, Entry]:
    """Tasks by name: classes with a constant `name`."""
    return _named_classes(TASKS)


@cache
def probes() -> Mapping[str, Entry]:
    """Probes by name: classes with a constant `name`."""
    return _named_classes(PROBES)


@cache
def policies() -> Mapping[str, Entry]:
    """Networks of policies by name: classes with a constant `name`."""
    return _named_classes(POLICIES)


@cache
def layouts() -> Mapping[str, Entry]:
    """Layouts of checkpoints by model_type: constants that are made with a constant `model_type=...`."""
    return _by_name(
        Entry(str(keyword.value.value), module, node.targets[0].id)
        for module, node in _top(LAYOUTS)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call)
        for keyword in node.value.keywords
        if keyword.arg == "model_type" and isinstance(keyword.value, ast.Constant)
    )


@cache
def presets(training: str) -> tuple[str, ...]:
    """The names of a training's PRESETS, a mapping of constants in its file; none where it has no such thing."""
    for module, node in _top(TRAININGS):
        if module.rpartition(".")[2] == training and isinstance(node, ast.AnnAssign):
            if isinstance(node.target, ast.Name) and node.target.id == "PRESETS":
                (table,) = (one for one in ast.walk(node) if isinstance(one, ast.Dict))
                return tuple(str(key.value) for key in table.keys if isinstance(key, ast.Constant))
    return ()


def _defaults(function: ast.FunctionDef) -> dict[str, str]:
    """The keyword-only parameters of a function and their defaults."""
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {one.arg: "" if default is None else _typed(default) for one, default in pairs}


def _typed(default: ast.expr) -> str:
    """A constant as it is typed; anything else as it stands in the file."""
    if not isinstance(default, ast.Constant):
        return ast.unparse(default)
    value = default.value
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _texts(value: ast.expr | None) -> tuple[str, ...]:
    """The texts of a tuple, or the keys of a dict."""
    parts = value.keys if isinstance(value, ast.Dict) else value.elts if isinstance(value, ast.Tuple) else []
    return tuple(one.value for one in parts if isinstance(one, ast.Constant) and isinstance(one.value, str))


def _named_classes(folders: tuple[str, ...]) -> Mapping[str, Entry]:
    classes = ((module, node, _constants(node)) for module, node in _top(folders) if isinstance(node, ast.ClassDef))
    return _by_name(
        Entry(str(constants["name"]), module, node.name, constants=constants)
        for module, node, constants in classes
        if isinstance(constants.get("name"), str)
    )


def _constants(node: ast.ClassDef) -> dict[str, Any]:
    """The constants that a class defines."""
    found = {}
    for line in node.body:
        match line:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value)):
                found[name] = value
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                found[name] = value
    return found


def _by_name(entries: Iterator[Entry]) -> Mapping[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.name in found:
            raise ImportError(f"{entry.name!r} is in {found[entry.name].module} and in {entry.module}: rename one")
        found[entry.name] = entry
    return MappingProxyType(found)


def _top(folders: tuple[str, ...]) -> Iterator[tuple[str, ast.stmt]]:
    """Every statement at the top of every file, with the name of its module."""
    return ((module, node) for module, tree in _files(folders) for node in tree.body)


def _files(folders: tuple[str, ...]) -> Iterator[tuple[str, ast.Module]]:
    """Every file of the folders, with the name of its module."""
    for folder in folders:
        for path in sorted((HERE / folder).glob("*.py")):
            module = ".".join(("unveil", *path.relative_to(HERE).with_suffix("").parts))
            yield module, ast.parse(path.read_text("utf-8"), filename=str(path))
