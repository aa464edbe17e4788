"""Read a table of view probabilities of any model: CSV, one row per image.

Columns: ``exam_id``, ``view``, ``label``, ``p_A`` to ``p_D``, optionally ``patient_id``. Any further column is one to
slice by (``patient_age`` becomes age bands). Everything that could silently make a metric wrong is rejected.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.evaluator.slices import AGE_BAND, age_band
from schema.features import DENSITY, DENSITY_CLASSES, PATIENT_AGE, UNKNOWN, VIEWS

_EXAM, _VIEW, _LABEL, _PATIENT = "exam_id", "view", "label", "patient_id"
_PROBABILITIES: Final = tuple(f"p_{density}" for density in DENSITY_CLASSES)
_REQUIRED: Final = (_EXAM, _VIEW, _LABEL, *_PROBABILITIES)
_SUM_TOLERANCE: Final = 0.01  # tables are often rounded to two or three digits
_MOST_VALUES: Final = 50  # of a column that is sliced by
_SHOWN: Final = 60


class PredictionsError(ValueError):
    """A table cannot be evaluated; the message names file, line, column, value and what to do."""


@dataclass(frozen=True)
class ViewPrediction:
    """One row.

    Attributes:
        exam_id: Exam.
        patient_id: Patient; ``unknown`` if the table has none.
        view: One of VIEWS.
        label: One of DENSITY_CLASSES.
        probabilities: Of the four classes; they sum to 1.
        slices: Value of each column that is sliced by.
    """

    exam_id: str
    patient_id: str
    view: str
    label: str
    probabilities: tuple[float, ...]
    slices: dict[str, str]


@dataclass(frozen=True)
class Predictions:
    """A whole table.

    Attributes:
        rows: Rows in the order of the file.
        slice_columns: Columns that are sliced by, in order.
        not_sliced: Further columns with too many values, and their number of values.
    """

    rows: tuple[ViewPrediction, ...]
    slice_columns: tuple[str, ...]
    not_sliced: dict[str, int]


@dataclass(frozen=True)
class _Place:
    """The position of a cell, for messages."""

    file: str
    line: int

    def error(self, column: str, value: str | None, remedy: str) -> PredictionsError:
        text = "nothing" if value is None else repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")
        return PredictionsError(f"{self.file} line {self.line}, column {column}: received {text}; {remedy}.")


def _required(place: _Place, row: dict[str, str], column: str) -> str:
    if not row[column]:
        raise place.error(column, row[column], "fill it in, or remove the row")
    return row[column]


def _one_of(place: _Place, row: dict[str, str], column: str, allowed: tuple[str, ...]) -> str:
    if row[column] not in allowed:
        raise place.error(column, row[column], f"write one of {', '.join(allowed)}")
    return row[column]


def _probabilities(place: _Place, row: dict[str, str]) -> tuple[float, ...]:
    values = []
    for column in _PROBABILITIES:
        try:
            value = float(row[column])
        except ValueError:
            value = math.nan
        if not 0.0 <= value <= 1.0:
            raise place.error(column, row[column], "write a probability from 0 to 1, with a decimal point")
        values.append(value)
    total = math.fsum(values)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        shown = ", ".join(row[column] for column in _PROBABILITIES)
        raise place.error(f"{_PROBABILITIES[0]} to {_PROBABILITIES[-1]}", shown, f"they sum to {total:.4g}: make it 1")
    return tuple(value / total for value in values)


def _slices(place: _Place, row: dict[str, str], columns: list[str]) -> dict[str, str]:
    values = {column: row[column] or UNKNOWN for column in columns}
    if PATIENT_AGE in values:
        text = values.pop(PATIENT_AGE)
        try:
            age = -1 if text == UNKNOWN else int(float(text))
        except (ValueError, OverflowError) as error:
            raise place.error(PATIENT_AGE, text, "write years, or leave it empty") from error
        values[AGE_BAND] = age_band(age)
    return values


def _cells(path: Path) -> Iterator[tuple[_Place, dict[str, str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PredictionsError(f"{path.name} is not UTF-8 text; save it as CSV in UTF-8.") from error
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in _REQUIRED if name not in header]
        if missing:
            found = ", ".join(header)[: 3 * _SHOWN] or "nothing"
            raise PredictionsError(
                f"{path.name} line 1: columns {', '.join(missing)} are missing, found {found}; "
                "add them, separated by commas."
            )
        twice = sorted({name for name in header if header.count(name) > 1 or not name})
        if twice:
            raise PredictionsError(f"{path.name} line 1: columns {twice} repeat or have no name; name each once.")
        # Slices of these names are computed here.
        taken = [name for name in (DENSITY, AGE_BAND if PATIENT_AGE in header else DENSITY) if name in header]
        if taken:
            raise PredictionsError(
                f"{path.name} line 1: column {taken[0]} is computed from others; remove or rename it."
            )
        for values in reader:
            place = _Place(path.name, reader.line_num)
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                remedy = f"the header has {len(header)} columns: quote values that hold commas"
                raise place.error(f"number {min(len(values), len(header)) + 1}", f"{len(values)} values", remedy)
            yield place, {name: value.strip() for name, value in zip(header, values, strict=True)}
    except csv.Error as error:
        raise PredictionsError(f"{path.name} line {reader.line_num} is not CSV ({error}); save it again.") from error


def read_predictions(path: Path) -> Predictions:
    """Read and check a table.

    Args:
        path: CSV file, UTF-8.

    Returns:
        The table.

    Raises:
        PredictionsError: The table cannot be evaluated.
        OSError: The file cannot be read.
    """
    rows: list[ViewPrediction] = []
    seen: dict[tuple[str, str], int] = {}
    first: dict[str, tuple[int, str, str]] = {}
    for place, cells in _cells(path):
        exam = _required(place, cells, _EXAM)
        view = _one_of(place, cells, _VIEW, VIEWS)
        label = _one_of(place, cells, _LABEL, DENSITY_CLASSES)
        patient = cells.get(_PATIENT) or UNKNOWN
        line, known, owner = first.setdefault(exam, (place.line, label, patient))
        if known != label:
            raise place.error(
                _LABEL, label, f"line {line} gives exam {exam!r} the class {known}: an exam has one class"
            )
        if owner != patient:
            raise place.error(
                _PATIENT, patient, f"line {line} gives exam {exam!r} to {owner!r}: an exam has one patient"
            )
        earlier = seen.setdefault((exam, view), place.line)
        if earlier != place.line:
            raise place.error(_VIEW, view, f"exam {exam!r} has it in line {earlier} already: keep one row per view")
        further = [name for name in cells if name not in (*_REQUIRED, _PATIENT)]
        slices = _slices(place, cells, further)
        rows.append(ViewPrediction(exam, patient, view, label, _probabilities(place, cells), slices))
    if not rows:
        raise PredictionsError(f"{path.name} has a header and no rows; add one row per image.")
    counts = {name: len({row.slices[name] for row in rows}) for name in rows[0].slices}
    return Predictions(
        rows=tuple(rows),
        slice_columns=tuple(name for name, count in counts.items() if count <= _MOST_VALUES),
        not_sliced={name: count for name, count in counts.items() if count > _MOST_VALUES},
    )
