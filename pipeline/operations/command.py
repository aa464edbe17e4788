"""Commands for those who run the pipeline day by day."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.logs import quiet_tensorflow


def lineage(
    run: Annotated[Path, typer.Argument(help="Output folder of a run, such as demo.", exists=True, file_okay=False)],
    version: Annotated[str | None, typer.Option(help="Version of the pushed model; the last one by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every node's whole configuration.")] = False,
) -> None:
    """Tell which data, code, configuration and parents made a pushed model, from ML Metadata.

    Data is the archive's fingerprint, code each node's own; both change when a byte that matters does. Numbers are
    those of the executions in ML Metadata; what a run took from its cache keeps the number of the run that computed it.
    """
    quiet_tensorflow()
    import json

    from rich.console import Console

    from pipeline.operations.lineage import as_json as written
    from pipeline.operations.lineage import open_store, read_lineage
    from pipeline.operations.lineage_table import lineage_tables

    found = read_lineage(open_store(run), version)
    if as_json:
        typer.echo(json.dumps(written(found), indent=1))
        return
    Console(highlight=False).print(lineage_tables(found))


def doctor(
    output: Annotated[Path, typer.Option(help="Folder whose disk a run would write to.", exists=True)] = Path("."),
) -> None:
    """Tell what is missing on this machine, for which task, and how to get it.

    Exit code 1 where something is missing that every run needs.
    """
    from rich.console import Console

    from pipeline.operations.checks import check_machine
    from pipeline.operations.checks_table import advice_lines, checks_table
    from pipeline.operations.machine import look_at_machine

    checks = check_machine(look_at_machine(output))
    Console(highlight=False).print(checks_table(checks))
    for line in advice_lines(checks):
        typer.echo(line)
    if any(check.needed and not check.good for check in checks):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(lineage)
    app.command()(doctor)
