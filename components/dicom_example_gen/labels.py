"""Rows of a labels CSV or of a manifest CSV: parsing, and typed problems that name line, column and value."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.dicom_example_gen.config import SPLITS
from components.dicom_example_gen.header import parse_age
from components.dicom_example_gen.rejections import Rejection, RejectionReason, shown
from schema.features import DENSITY_CLASSES, UNKNOWN_INT

_DENSITIES: Final = {
    **{c: c for c in DENSITY_CLASSES},
    **{str(i + 1): c for i, c in enumerate(DENSITY_CLASSES)},
}
DENSITIES_ALLOWED: Final = f"{', '.join(DENSITY_CLASSES)} or 1 to {len(DENSITY_CLASSES)}"


class ManifestError(Exception):
    """A CSV file cannot be used at all; the message names the file, the fault and what is needed."""


@dataclass(frozen=True)
class Label:
    """What a CSV row says of an exam.

    Attributes:
        exam_id: Exam as the CSV names it; it may identify a person.
        density: One of ``schema.features.DENSITY_CLASSES``.
        patient_id: Patient as the CSV names it, empty = not given.
        age: Years, -1 = not given.
        split: ``train``, ``eval`` or ``test``, empty = not given.
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
    """Why a CSV row cannot be used.

    Attributes:
        reason: Why.
        where: File name, line and column, such as ``labels.csv line 3, column density``.
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
    """One row of a CSV file.

    Attributes:
        where: File name and line, for messages.
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


def read_rows(path: Path, required: frozenset[str]) -> Iterator[Row]:
    """Reads a CSV file with a header line; separators ``,`` and ``;`` and tabs are told apart by the header.

    Args:
        path: CSV file, UTF-8.
        required: Columns that must be there.

    Yields:
        Rows that are not blank.

    Raises:
        ManifestError: The file is absent, no text, no CSV, or lacks columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{path}: cannot be read as UTF-8 text ({type(error).__name__}); correct its path or encoding."
        ) from error
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        missing = sorted(required - set(columns))
        if missing:
            found = ", ".join(shown(c) for c in columns) or "none"
            raise ManifestError(f"{path}: columns {', '.join(missing)} are missing; add them. Received: {found}.")
        if len(set(columns)) < len(columns):
            raise ManifestError(f"{path}: column names repeat; name each once. Received: {', '.join(columns)}.")
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
    if split and split not in SPLITS:
        return row.problem(RejectionReason.INVALID_ROW, "split", f"{', '.join(SPLITS)} or nothing is allowed")
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


def read_labels(path: Path) -> dict[str, Label | RowProblem]:
    """Reads a labels CSV: one row an exam.

    An exam named twice with one and the same label counts once; with different ones it has no valid label.

    Args:
        path: CSV with the columns ``exam_id``, ``density``, and optionally ``patient_id``, ``age``,
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
