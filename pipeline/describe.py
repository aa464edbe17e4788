"""The command ``describe``: the tables of an archive, from its headers, without decoding pixels.

What only the pixels show (damaged images, the content of a picture, equal pixels in different files) is unknown here,
and the command says so; the ingest report of a run includes it. Everything else uses the same code as a run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from components.common.files import write_whole
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.exam_ids import label_hints
from components.dicom_example_gen.plan.identity import find_key
from components.dicom_example_gen.plan.planning import files_to_hash, inspect, inspect_pixels, plan, unlabelled_files
from components.dicom_example_gen.rejection_summary import empty_splits_message
from components.dicom_example_gen.report import file_rows, summary
from components.report_generator.artifacts import IngestSummary
from components.report_generator.loading import combine
from components.report_generator.page import Table
from components.report_generator.sections.data import (
    balances,
    class_table,
    loss_tables,
    split_table,
    system_table,
)
from components.report_generator.sections.readers import reader_tables
from components.sources.source import Source, find_candidates
from components.sources.spans import SpanSource

_BY_HEADERS = (
    "By headers and tables. A run accepts these files too, except for what only pixels show: damaged compressed data,"
    " pictures that do not show a whole breast, and copies of one image under other identifiers."
)
_STYLES = {"pass": "green", "fail": "bold red", "warn": "yellow", "muted": "dim"}


@dataclass(frozen=True)
class Described:
    """The content of an archive.

    Attributes:
        figures: Content of ``summary.json`` of the ingest report; it identifies nobody.
        files: Content of ``files.jsonl``, one row per file; names of files may be names of persons.
    """

    figures: dict[str, Any]
    files: tuple[dict[str, Any], ...]


def describe_source(source: Source, config: IngestConfig, on_file: Callable[[int, int], None]) -> Described:
    """Read every header of an archive, and plan its ingest.

    Args:
        source: The archive.
        config: How it is read and split.
        on_file: Called after each file with the number of finished files and of all files.

    Returns:
        What a run would accept and reject, by headers and rows.

    Raises:
        ManifestError: Labels or manifest cannot be used.
        HashKeyError: The hash key cannot be used.
    """
    key = find_key(config, os.environ)
    offered = find_candidates(source)
    count = len(offered.found)
    outcomes = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(lambda c: inspect(c, offered.root, config.max_pixels, config), offered.found):
            outcomes.append(outcome)
            on_file(len(outcomes), count)
        shared = files_to_hash(outcomes)
        hashed = pool.map(lambda n: inspect_pixels(outcomes[n], offered.root, config.max_pixels, config), shared)
        for position, outcome in zip(shared, list(hashed), strict=True):
            outcomes[position] = outcome
    planned = plan(outcomes, offered.labels, config, key.key)
    warnings = (*offered.warnings, *label_hints(unlabelled_files(outcomes, planned), offered.labels))
    return Described(summary(planned, offered.ignored, warnings), tuple(file_rows(planned)))


def describe_spans(spans: Iterable[SpanSource], config: IngestConfig, on_file: Callable[[int, int], None]) -> Described:
    """Describe all spans of an archive together; arguments and errors as for :func:`describe_source`."""
    parts = [(part.span, describe_source(part.source, config, on_file)) for part in spans]
    if len(parts) == 1:
        return parts[0][1]
    figures = combine([IngestSummary.model_validate(part.figures) for _, part in parts]).model_dump(mode="json")
    rows = [row | {"span": span.number} for span, part in parts if span is not None for row in part.files]
    return Described(figures, tuple(rows))


def write_file_rows(described: Described, path: Path) -> None:
    """Write ``files.jsonl``: every file once, accepted or rejected with its reason."""
    write_whole(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in described.files).encode())


def terminal_table(table: Table) -> RichTable:
    """Return a table of the report for a terminal."""
    drawn = RichTable()
    for number, name in enumerate(table.columns):
        drawn.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(f"{cell.text} ({cell.detail})" if cell.detail else cell.text) for cell in row))
    return drawn


def _how_split(config: IngestConfig) -> str:
    shares = ", ".join(f"{name} {share:.0%}" for name, share in config.splits)
    key = "the public key" if find_key(config, os.environ).is_research else "your own key"
    return (
        f"If the archive has no splits, patients are divided by their hash with {key}: {shares}, seed"
        f" {config.split_seed}. Another key divides them differently."
    )


def tables_of(figures: dict[str, Any], config: IngestConfig) -> list[RenderableType]:
    """Return the tables of the report, for a terminal.

    Args:
        figures: ``figures`` of what :func:`describe_source` returned.
        config: Configuration that it was called with.

    Returns:
        Notes and tables, in order.
    """
    ingest = IngestSummary.model_validate(figures)
    parts: list[RenderableType] = [Text(note.text, style=_STYLES.get(note.tone, "")) for note in balances(ingest)]
    if ingest.accepted:
        parts.append(Text(_BY_HEADERS, style=_STYLES["muted"]))
    lacking = empty_splits_message(figures)
    if lacking is not None:
        parts.append(Text(f"A run would stop: {lacking}", style=_STYLES["fail"]))
    splits = split_table(ingest)
    systems = system_table(ingest)
    readers = reader_tables(ingest)
    for table in (class_table(ingest), *([systems] if systems.rows else []), splits, *readers, *loss_tables(ingest)):
        parts.append(Text(f"\n{table.caption}", style="bold"))
        if table is splits:
            parts.append(Text(_how_split(config)))
        parts.append(terminal_table(table))
        if table.note:
            parts.append(Text(table.note, style=_STYLES["muted"]))
    return parts
