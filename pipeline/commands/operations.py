"""Commands for those who run the pipeline day by day."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.commands.options import Overrides

_LINE: Final = 400  # characters


def lineage(
    run: Annotated[Path, typer.Argument(help="Output folder of a run, such as demo.", exists=True, file_okay=False)],
    version: Annotated[str | None, typer.Option(help="Version of the pushed model; the last one by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every node's whole configuration.")] = False,
) -> None:
    """Tell which data, code, configuration and parents made a pushed model, from ML Metadata.

    Data is the archive's fingerprint, code each node's own; both change when a byte that matters does. Numbers are
    those of the executions in ML Metadata; what a run took from its cache keeps the number of the run that computed it.
    """
    import json

    from rich.console import Console

    from pipeline.operations.lineage import as_json as written
    from pipeline.operations.lineage import open_store, read_lineage
    from pipeline.operations.lineage_table import lineage_tables

    found = read_lineage(open_store(run), version)
    if as_json:
        typer.echo(json.dumps(written(found), indent=1))
        return
    # A file or another program takes whole lines.
    width = None if sys.stdout.isatty() else _LINE
    Console(highlight=False, width=width).print(lineage_tables(found))


def doctor(
    config: Annotated[
        str | None, typer.Argument(help="Configuration that is to run here, as for run; the defaults without one.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder that a run would write to.")] = None,
    overrides: Overrides = None,
) -> None:
    """Tell what is missing on this machine, for which task, and how to get it.

    Of Beam's runners only the configured one is looked at: its packages, Java, and the servers that it names.

    Exit code 1 where something is missing that every run of this configuration needs.
    """
    from rich.console import Console

    from pipeline.config import find_config, load_config
    from pipeline.operations.checks import check_machine
    from pipeline.operations.checks_table import advice_lines, checks_table
    from pipeline.operations.machine import look_at_machine

    named = {"output": str(output)} if output else {}
    settings = load_config(find_config(config) if config else None, overrides or (), named)
    checks = check_machine(look_at_machine(settings))
    Console(highlight=False).print(checks_table(checks))
    for line in advice_lines(checks):
        typer.echo(line)
    if any(check.needed and not check.good for check in checks):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(lineage)
    app.command()(doctor)
