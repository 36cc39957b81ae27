"""The verbs and flags of the program are a promise: whoever changes them changes this table, knowingly."""

from typing import Annotated, Any

import typer

# verb -> its arguments (in order) and its options. "" is the program itself.
SURFACE: dict[str, list[str]] = {
    "": ["--version"],
    "bench": [
        "model", "--adapter", "--batch", "--bits", "--device", "--dtype", "--exact", "--json", "--new-tokens",
        "--prompt-tokens", "--repeat", "--revision", "--sampler", "--seed", "--threads", "--trust-remote-code",
    ],
    "compare": ["files", "--grader", "--json", "--plot"],
    "decode": [
        "model", "prompts", "--adapter", "--batch", "--bits", "--candidates", "--chat", "--delay", "--device",
        "--dtype", "--escapes", "--exact", "--guidance", "--infill", "--new-tokens", "--prefix", "--raw", "--revision",
        "--sampler", "--seed", "--stop", "--threads", "--trace", "--trust-remote-code", "--watch",
    ],
    "demo": ["--out", "--problems", "--threads"],
    "diagnose": [
        "model", "--adapter", "--bits", "--chat", "--device", "--draws", "--dtype", "--exact", "--hotpotqa",
        "--letters",
        "--limit", "--masks", "--out", "--pools", "--probe", "--revision", "--task", "--threads", "--tokens",
        "--trust-remote-code",
    ],
    "evaluate": [
        "model", "--adapter", "--allow-code-execution", "--batch", "--bits", "--chat", "--data", "--device",
        "--dtype", "--exact", "--guidance", "--json", "--limit", "--raw", "--revision", "--sampler", "--seed", "--stop",
        "--task", "--threads", "--trust-remote-code",
    ],
    "export": ["model", "folder", "--adapter", "--dtype", "--layout", "--revision", "--shard-size"],
    "frontier": [
        "model", "--adapter", "--allow-code-execution", "--batch", "--bits", "--blocks", "--budget", "--data",
        "--device", "--dtype", "--exact", "--guidance", "--limit", "--out", "--range", "--revision", "--sampler",
        "--seed", "--stop", "--task", "--threads", "--trust-remote-code", "--tune", "--tune-limit", "--tune-seed",
    ],
    "lm-eval": ["words"],
    "models": [],
    "train": [],
    "train mask-agnostic": ["--data", "--lora", "--model", "--out", "--preset", "--resume", "--set", "--threads"],
    "train policy": [
        "--allow-code-execution", "--alpha", "--block", "--data", "--model", "--out", "--preset", "--resume",
        "--reward", "--set", "--task", "--threads",
    ],
    "train sft": ["--data", "--lora", "--model", "--out", "--resume", "--set", "--threads"],
    "train trajectory": ["--data", "--lora", "--model", "--out", "--preset", "--resume", "--set", "--threads"],
    "trace": ["file", "--html"],
    "verify": ["folder"],
}  # fmt: skip


def verbs(command: Any, name: str = "") -> dict[str, Any]:
    """Every command of a program by its full name, groups included."""
    found = {name: command}
    for word, child in getattr(command, "commands", {}).items():
        found |= verbs(child, f"{name} {word}".strip())
    return found


def surface(app: typer.Typer) -> dict[str, list[str]]:
    """What a user can type: arguments in order, then option names sorted."""
    table = {}
    for name, command in sorted(verbs(typer.main.get_command(app)).items()):
        arguments = [param.name for param in command.params if param.param_type_name == "argument"]
        options = [param for param in command.params if param.param_type_name == "option"]
        table[name] = arguments + sorted(word for param in options for word in (*param.opts, *param.secondary_opts))
    return table


def unhelpful(app: typer.Typer) -> list[str]:
    """Verbs without help or an example, and parameters that are not explained."""
    faults = []
    for name, command in verbs(typer.main.get_command(app)).items():
        verb = f"unveil {name}".strip()
        if not command.help:
            faults.append(f"{verb}: no help")
        elif name and verb not in command.help:
            faults.append(f"{verb}: help shows no example")
        faults += [f"{verb}: {param.name} is not explained" for param in command.params if not param.help]
    return faults


def test_the_surface_is_frozen() -> None:
    from unveil.cli import app

    assert surface(app) == SURFACE


def test_help_helps() -> None:
    from unveil.cli import app

    assert unhelpful(app) == []


def small_program() -> typer.Typer:
    app = typer.Typer(add_completion=False, help="A program.")
    models = typer.Typer()

    @app.command()
    def decode(
        model: Annotated[str, typer.Argument(help="A folder.")],
        steps: Annotated[int, typer.Option("--steps", "-s")] = 1,
        watch: Annotated[bool, typer.Option(help="Animate.")] = False,
    ) -> None:
        """Decode. Example: unveil decode lab-sudoku"""

    @models.command("list")
    def list_them() -> None:
        """Show them."""

    @models.command()
    def remove() -> None: ...

    app.add_typer(models, name="models", help="Models. Example: unveil models list")
    return app


def test_every_verb_and_flag_is_seen() -> None:
    assert surface(small_program()) == {
        "": [],
        "decode": ["model", "--no-watch", "--steps", "--watch", "-s"],
        "models": [],
        "models list": [],
        "models remove": [],
    }


def test_missing_help_is_found() -> None:
    assert unhelpful(small_program()) == [
        "unveil decode: steps is not explained",
        "unveil models list: help shows no example",
        "unveil models remove: no help",
    ]
