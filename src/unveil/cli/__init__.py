"""The program `unveil`: one verb, one file. Heavy imports are inside the verbs, so that help is instant."""

from typing import Annotated

import typer

from unveil.cli import (
    bench,
    compare,
    decode,
    demo,
    diagnose,
    evaluate,
    export,
    frontier,
    lm_eval,
    models,
    trace,
    train,
    verify,
)
from unveil.cli.errors import Verbs

app = typer.Typer(
    name="unveil",
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("decode")(decode.decode)
app.command("trace")(trace.trace)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("frontier")(frontier.frontier)
app.command("lm-eval", cls=lm_eval.WithTheirHelp, context_settings=lm_eval.CONTEXT, no_args_is_help=True)(
    lm_eval.lm_eval
)
app.command("diagnose")(diagnose.diagnose)
app.command("verify")(verify.verify)
app.command("bench")(bench.bench)
app.command("export")(export.export)
app.command("models")(models.models)
app.command("demo")(demo.demo)
app.add_typer(train.app, name="train")


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


def main() -> None:
    """The entry point of the program."""
    app()
