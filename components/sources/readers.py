"""Densities of several readers of one exam: where a table has them, and which density the exam then has.

A table names readers in one of two ways:
    * a column per reader, ``density_reader1``, ``density_reader2``, ``density_reader_rossi`` and so on;
    * a row per reader and exam, with the reader in the column ``reader``.
Upper and lower case do not matter. Reports show the names as they are written: use codes, not names of persons.
Densities of several readers together (``density_reader_consensus``) or of a breast (``density_reader1_right``) are
errors, because they would count as one more reader.

Rules:
    * Each reader has one density per exam, by the rules of ``labels``; rows of one reader that differ are an error.
      Rows without a reader beside rows with one are an error too.
    * If some readers graded one breast and others the other or both, the names do not count.
    * **Adjudicated**: a column ``density`` beside reader columns is the density of the exam, whatever the readers say.
    * **Majority**: else the exam has the density that most readers chose. If several densities are chosen equally
      often, it has the densest of these. Warnings count the exams whose readers differ, and these ties.
    * An exam with one reader is an exam with a ``density``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from components.dicom.rejections import RejectionReason
from components.sources.candidates import Readings
from components.sources.densities import (
    DENSITIES_ALLOWED,
    DensityValues,
    is_empty,
    is_no_density,
    normalised_text,
    parse_density,
)
from components.sources.tables import READER_COLUMN, Row, RowProblem, columns_of_readers, is_reader_name
from schema.features import DENSITY_CLASSES

BREAST_COLUMNS: Final = {"density_right": "R", "density_left": "L"}


@dataclass(frozen=True)
class Reading:
    """A density of an exam in one row, by one reader.

    Attributes:
        column: Column of the density.
        reader: Name of the reader, empty = not named.
        density: One of ``schema.features.DENSITY_CLASSES``; that of the denser breast if the row has both.
        by_side: Density per side, ``R`` or ``L``, if the row has densities of breasts.
    """

    column: str
    reader: str
    density: str
    by_side: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Graded:
    """The density of an exam, from all its rows.

    Attributes:
        density: One of ``schema.features.DENSITY_CLASSES``.
        readings: Density by reader, if there are several readers.
        breasts_differ: The breasts differ in density.
        is_tied: Several densities were chosen equally often, and it has the densest of these.
    """

    density: str
    readings: Readings = ()
    breasts_differ: bool = False
    is_tied: bool = False

    @property
    def readers_differ(self) -> bool:
        """True if the readers chose several densities."""
        return len({density for _, density in self.readings}) > 1


def reader_of(row: Row) -> str:
    """Return the reader that a row names, empty = none."""
    named = row.cells.get(READER_COLUMN, "")
    return "" if is_empty(named) else normalised_text(named)


def written_densities(row: Row, values: DensityValues | None) -> dict[str, str]:
    """Return the texts of a row's densities by column, without those that mean no density."""
    columns = ("density", *BREAST_COLUMNS, *columns_of_readers(row.cells))
    written = {column: row.cells[column] for column in columns if column in row.cells}
    return {column: text for column, text in written.items() if not is_no_density(text, values)}


def read_densities(row: Row, side: str, values: DensityValues | None) -> tuple[Reading, ...] | RowProblem:
    """Read the densities of one row.

    Args:
        row: The row.
        side: Side of the row, empty = both.
        values: Meanings of texts, instead of the built-in ones.

    Returns:
        At least one density, the one without a reader first, or the row's first error.
    """
    written = written_densities(row, values)
    found = {column: parse_density(text, values) for column, text in written.items()}
    allowed = ", ".join(values) + " are" if values else f"{DENSITIES_ALLOWED} is"
    wrong = next((column for column, density in found.items() if density is None), None)
    if wrong is not None:
        return row.problem(RejectionReason.INVALID_LABEL, wrong, f"{allowed} allowed")
    if not found:
        return row.problem(RejectionReason.NO_LABEL, "density", f"{allowed} allowed")
    known = {column: density for column, density in found.items() if density is not None}
    readers = columns_of_readers(known)
    readings = [
        Reading(column, name, known[column], {side: known[column]} if side else {}) for column, name in readers.items()
    ]
    own = {column: density for column, density in known.items() if column not in readers}
    if own:
        name = reader_of(row)
        if name and not is_reader_name(name):
            allowed = "one reader is allowed: up to 32 characters, the first a letter or digit; no consensus, no breast"
            return row.problem(RejectionReason.INVALID_ROW, READER_COLUMN, allowed)
        by_side = {BREAST_COLUMNS[column]: density for column, density in own.items() if column in BREAST_COLUMNS}
        if side and "density" in own:
            by_side[side] = own["density"]
        exam = denser(own.values())
        if own.get("density", exam) != exam:
            return row.problem(RejectionReason.INVALID_LABEL, "density", "it is not that of the denser breast")
        readings.insert(0, Reading("density", name, exam, by_side))
    return tuple(readings)


def combine_densities(rows: Sequence[tuple[Row, Sequence[Reading]]]) -> Graded | RowProblem:
    """Combine the densities of an exam's rows; see the module for the rules.

    Args:
        rows: At least one row, each with at least one density.
    """
    of_reader: dict[str, list[Reading]] = defaultdict(list)
    for _, readings in rows:
        for one in readings:
            of_reader[one.reader].append(one)
    last = rows[-1][0]
    if len(of_reader) > 1 and "" in of_reader and READER_COLUMN in last.cells:
        return last.problem(RejectionReason.INVALID_ROW, READER_COLUMN, "name the reader in every row of the exam")
    breasts = {frozenset(side for one in own for side in one.by_side or "RL") for own in of_reader.values()}
    if len(breasts) > 1:  # one reader of each breast: nobody read the exam alone
        of_reader = {"": [one for _, readings in rows for one in readings]}
    densities: dict[str, str] = {}
    breasts_differ = False
    for reader, own in sorted(of_reader.items()):
        sides = [{one.by_side[side] for one in own if side in one.by_side} for side in BREAST_COLUMNS.values()]
        densities[reader] = denser(one.density for one in own)
        if any(len(found) > 1 for found in sides):
            return last.problem(RejectionReason.INVALID_LABEL, own[-1].column, "rows of one breast must agree")
        if {one.density for one in own if not one.by_side} - {densities[reader]}:
            return last.problem(RejectionReason.INVALID_LABEL, own[-1].column, "rows of one exam must agree")
        breasts_differ = breasts_differ or len(set().union(*sides)) > 1
    adjudicated = densities.pop("", None)
    density, is_tied = (adjudicated, False) if adjudicated else majority(densities.values())
    return Graded(density, tuple(densities.items()) if len(densities) > 1 else (), breasts_differ, is_tied)


def denser(densities: Iterable[str]) -> str:
    """Return the densest class."""
    return max(densities, key=DENSITY_CLASSES.index)


def majority(densities: Collection[str]) -> tuple[str, bool]:
    """Return the density that most readers chose, the densest of several; and whether there were several.

    Examples:
        >>> majority(["B", "C", "B"])
        ('B', False)
        >>> majority(["B", "C"])
        ('C', True)
    """
    counts = Counter(densities)
    most = [density for density, count in counts.items() if count == max(counts.values())]
    return denser(most), len(most) > 1
