"""The program `unveil`: one verb, one file of `verbs`. Heavy imports are inside the verbs, so that help is instant."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated

import typer

from unveil.cli import verbs
from unveil.cli.errors import Verbs


def _program() -> typer.Typer:
    """All verbs, each in a file of its own, which has a function of that name; `train` is a group of its own.

    A file's COMMAND, if it has one, are more settings of typer's `command`.
    """
    made = typer.Typer(
        name="unveil",
        cls=Verbs,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in sorted(found.name for found in iter_modules(verbs.__path__)):
        module = import_module(f"{verbs.__name__}.{name}")
        if hasattr(module, "app"):
            made.add_typer(module.app, name=name)
        else:
            made.command(name.replace("_", "-"), **getattr(module, "COMMAND", {}))(getattr(module, name))
    return made


app = _program()


def _version(wanted: bool) -> bool:
    if wanted:
        from unveil import __version__

        typer.echo(f"unveil {__version__}")
        raise typer.Exit()
    return wanted


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Decode, compare, check and train masked diffusion language models (LLaDA, Dream) and their samplers.

    Start with: unveil demo
    """

