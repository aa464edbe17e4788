"""Commands for daily operation: ``lineage`` and ``doctor``."""

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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the complete configuration of every node.")
    ] = False,
) -> None:
    """Show which data, code, configuration and parent models made a pushed model, from ML Metadata.

    Data has the fingerprint of the archive, code has a fingerprint per node; both change with any relevant byte.
    Numbers are those of the executions in ML Metadata. A cached output has the number of the run that computed it.
    """
    import json

    from rich.console import Console

    from pipeline.operations.lineage import lineage_document, lineage_tables, read_lineage, require_store

    found = read_lineage(require_store(run), version)
    if as_json:
        typer.echo(json.dumps(lineage_document(found), indent=1))
        return
    # A file or another program needs complete lines.
    width = None if sys.stdout.isatty() else _LINE
    Console(highlight=False, width=width).print(lineage_tables(found))


def doctor(
    config: Annotated[
        str | None, typer.Argument(help="Configuration to run here, as for run; by default the default values.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Output folder of a run.")] = None,
    overrides: Overrides = None,
) -> None:
    """Show what is missing on this machine, for which task, and how to get it.

    Only the configured Beam runner is checked: its packages, Java, and the servers in its configuration.

    Exit code 1 if something is missing that every run of this configuration needs.
    """
    from rich.console import Console

    from pipeline.config import find_config, load_config
    from pipeline.operations.checks import advice_lines, check_machine, checks_table
    from pipeline.operations.machine import look_at_machine

    named = {"output": str(output)} if output else {}
    settings = load_config(find_config(config) if config else None, overrides or (), named)
    checks = check_machine(look_at_machine(settings))
    Console(highlight=False).print(checks_table(checks))
    for line in advice_lines(checks):
        typer.echo(line)
    if any(check.needed and not check.good for check in checks):
        raise typer.Exit(1)


def worker_pool(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port, as in beam.worker_pool.")] = 50000,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Whoever can connect starts Python processes here.")
    ] = "127.0.0.1",
    number: Annotated[int, typer.Option(min=1, max=64, help="Number of pools that share the port.")] = 1,
) -> None:
    """Run the Python workers of beam.runner portable on this machine, for Beam's job servers.

    Workers have this command's interpreter and packages, which are imported once. They start only for drivers with the
    same versions of Python, Beam and breast-density.
    """
    from pipeline.beam.worker_pool import serve

    serve(host, port, number, typer.echo)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(lineage)
    app.command()(doctor)
    app.command("worker-pool")(worker_pool)
