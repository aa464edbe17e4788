"""Shows the checks of a machine on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.operations.checks import Check


def _sign(check: Check) -> Text:
    if check.good:
        return Text("ok", style="green")
    return Text("MISSING", style="bold red") if check.needed else Text("absent", style="yellow")


def checks_table(checks: Sequence[Check]) -> RenderableType:
    """Draws the checks."""
    table = Table()
    for column in ("", "for", "what"):
        table.add_column(column, no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        table.add_row(_sign(check), check.task, check.subject, check.found)
    return table


def advice_lines(checks: Sequence[Check]) -> list[str]:
    """Says what to do about those that are not good, and whether the pipeline can run.

    Lines of their own, not cells of the table, which would break commands that are to be copied.
    """
    wanting = [f"- {check.subject}: {line}" for check in checks for line in check.advice.splitlines()]
    missing = [check.subject for check in checks if check.needed and not check.good]
    sentence = f"The pipeline cannot run here yet: {', '.join(missing)}." if missing else "The pipeline can run here."
    return [*(("What to do:", *wanting) if wanting else ()), sentence]
