"""The command ``describe``: the data set's tables of an archive, from its headers, without decoding a pixel.

What only the pixels tell (undecodable images, equal pixels in different files) is not known here; the ingest report of
a run counts it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.identity import find_key
from components.dicom_example_gen.manifest import Source, find_candidates
from components.dicom_example_gen.planning import inspect, plan
from components.dicom_example_gen.report import summary
from components.dicom_example_gen.spans import SpanSource
from components.report_generator.artifacts import IngestSummary
from components.report_generator.page import Table
from components.report_generator.sections.data_tables import (
    balances,
    class_table,
    loss_tables,
    split_table,
    system_table,
)
from components.report_generator.spans import combine

_STYLES = {"pass": "green", "fail": "bold red", "warn": "yellow", "muted": "dim"}


def describe_source(source: Source, config: IngestConfig, on_file: Callable[[int, int], None]) -> dict[str, Any]:
    """Reads every header of an archive and plans its ingest.

    Args:
        source: Archive.
        config: How it is read and split.
        on_file: Is told the files done and their number after each file.

    Returns:
        What ``summary.json`` of the ingest report holds; it identifies nobody.

    Raises:
        ManifestError: Labels or manifest cannot be used.
    """
    offered = find_candidates(source)
    count = len(offered.found)
    outcomes = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(lambda c: inspect(c, offered.root, config.max_pixels, config), offered.found):
            outcomes.append(outcome)
            on_file(len(outcomes), count)
    key = find_key(config, os.environ)
    return summary(plan(outcomes, offered.labels, config, key.key), offered.ignored)


def describe_spans(
    spans: Iterable[SpanSource], config: IngestConfig, on_file: Callable[[int, int], None]
) -> dict[str, Any]:
    """Describes all spans of an archive together; arguments and errors as :func:`describe_source`."""
    figures = [describe_source(span.source, config, on_file) for span in spans]
    if len(figures) == 1:
        return figures[0]
    return combine([IngestSummary.model_validate(span) for span in figures]).model_dump(mode="json")


def _rich(table: Table) -> RichTable:
    drawn = RichTable()
    for number, name in enumerate(table.columns):
        drawn.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell.text) for cell in row))
    return drawn


def tables_of(figures: dict[str, Any]) -> list[RenderableType]:
    """Draws the tables that the report shows, for a terminal.

    Args:
        figures: What :func:`describe_source` gave.

    Returns:
        Notes and tables, in order.
    """
    ingest = IngestSummary.model_validate(figures)
    parts: list[RenderableType] = [Text(note.text, style=_STYLES.get(note.tone, "")) for note in balances(ingest)]
    for table in (class_table(ingest), system_table(ingest), split_table(ingest), *loss_tables(ingest)):
        parts += [Text(f"\n{table.caption}", style="bold"), _rich(table)]
    return parts
