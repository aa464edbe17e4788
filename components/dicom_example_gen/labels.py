"""Rows of a labels file or a manifest, CSV or Parquet: parsing, and typed problems that name row, column and value."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from components.common.location import Location
from components.dicom_example_gen.config import DEVELOPMENT, SPLITS
from components.dicom_example_gen.header import parse_age
from components.dicom_example_gen.rejections import Rejection, RejectionReason, shown
from schema.features import DENSITY_CLASSES, UNKNOWN_INT

_DENSITIES: Final = {
    **{c: c for c in DENSITY_CLASSES},
    **{str(i + 1): c for i, c in enumerate(DENSITY_CLASSES)},
}
DENSITIES_ALLOWED: Final = f"{', '.join(DENSITY_CLASSES)} or 1 to {len(DENSITY_CLASSES)}"
_PARQUET_MAGIC: Final = b"PAR1"


class ManifestError(Exception):
    """A labels file or manifest cannot be used at all; the message names the file, the fault and what is needed."""


@dataclass(frozen=True)
class Label:
    """What a row says of an exam.

    Attributes:
        exam_id: Exam as the row names it; it may identify a person.
        density: One of ``schema.features.DENSITY_CLASSES``.
        patient_id: Patient as the row names it, empty = not given.
        age: Years, -1 = not given.
        split: ``train``, ``eval``, ``test`` or ``train+eval`` (to be divided into these two), empty = not given.
        acquisition_system: Slicing key to use instead of the header's, empty = not given.
    """

    exam_id: str
    density: str
    patient_id: str = ""
    age: int = UNKNOWN_INT
    split: str = ""
    acquisition_system: str = ""


@dataclass(frozen=True)
class RowProblem:
    """Why a row cannot be used.

    Attributes:
        reason: Why.
        where: File name, line or row, and column, such as ``labels.csv line 3, column density``.
        value: Value received.
        allowed: What is allowed.
    """

    reason: RejectionReason
    where: str
    value: str
    allowed: str

    def rejection(self, file: str) -> Rejection:
        """Returns the problem as the rejection of a file that depends on the row."""
        return Rejection(self.reason, file, self.where, self.value, self.allowed)


@dataclass(frozen=True)
class Row:
    """One row of a CSV or Parquet file.

    Attributes:
        where: File name, and line (of CSV) or row (of Parquet, from 1), for messages.
        cells: Column name in lower case -> stripped text.
    """

    where: str
    cells: Mapping[str, str]

    def problem(self, reason: RejectionReason, column: str, allowed: str) -> RowProblem:
        """Returns the problem of one of the row's columns."""
        return RowProblem(reason, f"{self.where}, column {column}", shown(self.cells.get(column)), allowed)


def parse_density(value: str) -> str | None:
    """Reads a density class: A to D, or 1 to 4 as DDSM writes it (also ``2.0``); None for others."""
    return _DENSITIES.get(re.sub(r"^([1-4])\.0+$", r"\1", value.strip().upper()))


def _require_columns(path: Location, columns: list[str], required: frozenset[str]) -> None:
    missing = sorted(required - set(columns))
    if missing:
        found = ", ".join(shown(c) for c in columns) or "none"
        raise ManifestError(f"{path}: columns {', '.join(missing)} are missing; add them. Received: {found}.")
    if len(set(columns)) < len(columns):
        raise ManifestError(f"{path}: column names repeat; name each once. Received: {', '.join(columns)}.")


def _csv_rows(path: Location, data: bytes, required: frozenset[str]) -> Iterator[Row]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: this is no UTF-8 text; save it as UTF-8, or as Parquet.") from error
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        _require_columns(path, columns, required)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                # A short row leaves its last columns empty, which the checks of each column then report.
                padded = cells + [""] * (len(columns) - len(cells))
                yield Row(
                    f"{path.name} line {reader.line_num}",
                    {name: cell.strip() for name, cell in zip(columns, padded, strict=False)},
                )
    except csv.Error as error:
        raise ManifestError(f"{path}: line {reader.line_num} is no CSV ({error}); correct it.") from error


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()  # only NaN differs from itself


def _parquet_rows(path: Location, data: bytes, required: frozenset[str]) -> Iterator[Row]:
    number = 0
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        columns = [name.strip().lower() for name in file.schema_arrow.names]
        _require_columns(path, columns, required)
        for batch in file.iter_batches():
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield Row(f"{path.name} row {number}", dict(zip(columns, map(_text, values), strict=True)))
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"{path}: this Parquet file is damaged ({type(error).__name__}); write it again."
        ) from error


def read_rows(path: Location, required: frozenset[str]) -> Iterator[Row]:
    """Reads a table whose columns have names; upper and lower case do not matter.

    Args:
        path: Parquet file, known by its first bytes; or else CSV, UTF-8, with a header line, which tells the separators
            ``,`` and ``;`` and tabs apart.
        required: Columns that must be there.

    Yields:
        Rows that are not blank.

    Raises:
        ManifestError: The file is absent, is neither CSV nor Parquet, or lacks columns.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({type(error).__name__}); correct its path.") from error
    rows = _parquet_rows if data.startswith(_PARQUET_MAGIC) else _csv_rows
    yield from rows(path, data, required)


def parse_label(row: Row) -> Label | RowProblem:
    """Reads the label columns of a row.

    Args:
        row: Row with ``exam_id``, ``density``, and optionally ``patient_id``, ``age``, ``split``,
            ``acquisition_system``.

    Returns:
        The label, or the first problem found.
    """
    cells = row.cells
    if not cells["exam_id"]:
        return row.problem(RejectionReason.INVALID_ROW, "exam_id", "name the exam")
    if not cells["density"]:
        return row.problem(RejectionReason.NO_LABEL, "density", f"{DENSITIES_ALLOWED} is allowed")
    density = parse_density(cells["density"])
    if density is None:
        return row.problem(RejectionReason.INVALID_LABEL, "density", f"{DENSITIES_ALLOWED} is allowed")
    split = cells.get("split", "").lower()
    if split and split not in (*SPLITS, DEVELOPMENT):
        allowed = f"{', '.join(SPLITS)}, {DEVELOPMENT} or nothing is allowed"
        return row.problem(RejectionReason.INVALID_ROW, "split", allowed)
    age = parse_age(cells.get("age", ""))
    if cells.get("age") and age == UNKNOWN_INT:
        return row.problem(RejectionReason.INVALID_ROW, "age", "whole years from 0 to 120 or nothing is allowed")
    return Label(
        exam_id=cells["exam_id"],
        density=density,
        patient_id=cells.get("patient_id", ""),
        age=age,
        split=split,
        acquisition_system=re.sub(r"\s+", " ", cells.get("acquisition_system", ""))[:96],
    )


def read_labels(path: Location) -> dict[str, Label | RowProblem]:
    """Reads a labels file: one row an exam.

    An exam named twice with one and the same label counts once; with different ones it has no valid label.

    Args:
        path: CSV or Parquet with the columns ``exam_id``, ``density``, and optionally ``patient_id``, ``age``,
            ``split``, ``acquisition_system``.

    Returns:
        exam_id -> label, or what is wrong with its row.

    Raises:
        ManifestError: The file cannot be used at all.
    """
    labels: dict[str, Label | RowProblem] = {}
    for row in read_rows(path, frozenset({"exam_id", "density"})):
        label = parse_label(row)
        exam = row.cells["exam_id"]
        if not exam:
            continue  # no file can depend on a row that names no exam
        if exam in labels and labels[exam] != label:
            label = row.problem(RejectionReason.INVALID_LABEL, "density", "rows of one exam must agree")
        labels[exam] = label
    return labels
