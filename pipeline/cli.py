"""The command ``breast-density``: its parser, and how errors are reported."""

from __future__ import annotations

import os
import sys
import traceback
from io import TextIOWrapper
from typing import Annotated

import typer

from pipeline.commands import data, kubeflow, models, operations, runs
from pipeline.commands.extras import missing_extra
from pipeline.commands.review import review_app
from schema.software import DISTRIBUTION, NOTICE, installed_version

_HELP = f"Mammography DICOM to a served, explainable BI-RADS density classifier. {NOTICE}"

app = typer.Typer(
    name=DISTRIBUTION,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
runs.register(app)
data.register(app)
models.register(app)
operations.register(app)
kubeflow.register(app)
app.add_typer(review_app, name="review")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{DISTRIBUTION} {installed_version()}")
        raise typer.Exit


@app.callback(help=_HELP)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line: an error is one sentence, with the traceback only on request."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the terminal cannot show must not end a run
    try:
        app()
    except Exception as error:
        if os.environ.get("BREAST_DENSITY_DEBUG"):
            traceback.print_exc()
        text = missing_extra(error) or " ".join(str(error).split()) or type(error).__name__
        typer.secho(f"Error: {text}", fg=typer.colors.RED, err=True)
        if not os.environ.get("BREAST_DENSITY_DEBUG"):
            typer.echo("Set BREAST_DENSITY_DEBUG=1 for the traceback.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
