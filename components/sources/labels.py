"""Labels of exams: rows of a labels file or a manifest, with typed errors that name row, column and value.

Rules:
    * **Density**: ``densities`` lists the accepted texts. An exam whose rows have different densities is rejected. A
      row without density does not count if another row of the exam has one.
    * **One density per breast**, in the columns ``density_right`` and ``density_left``, or in rows with a ``side``
      (``laterality``): the exam has the density of its denser breast, as BI-RADS grades a woman whose breasts differ
      (ACR BI-RADS Atlas, 5th edition, 2013, "Breast composition"). A warning counts these exams.
    * **Age**: a wrong age does not reject a label. If an age is not valid, or the rows of an exam differ in it, the
      DICOM header's age is used, and a warning counts these rows or exams. Fractions are cut off.
    * **Several readers** of one exam, see ``readers``.
    * **Identifiers** that a spreadsheet turned into numbers: ``2.25E+38`` no longer identifies an exam, so its row is
      rejected. If every ``exam_id`` of a table ends in ``.0``, and no file has such a name, they are read without it
      (see ``plan.exam_ids``); then ``1.0`` and ``1,0`` are one exam, whose rows must agree.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from components.common.location import Location
from components.dicom.headers.header import parse_age
from components.dicom.rejections import RejectionReason
from components.sources.candidates import DEVELOPMENT, Label
from components.sources.densities import DensityValues, density_warnings, is_empty
from components.sources.readers import Graded, Reading, combine_densities, read_densities, written_densities
from components.sources.tables import Row, RowProblem, columns_of_readers, read_rows
from schema.features import SPLITS, UNKNOWN_INT

LABEL_COLUMNS: Final = frozenset({"exam_id", "density"})
_SIDES: Final = {"r": "R", "right": "R", "l": "L", "left": "L"}
_NO_SIDE: Final = frozenset({"", "b", "both", "bilateral", "u", "unknown", "unspecified", "none", "na", "n/a", "-"})
_SIDE_COLUMNS: Final = ("side", "laterality")
_AGE: Final = re.compile(r"([0-9]{1,3})(?:[.,][0-9]+)? ?(y|yr|yrs|years?|yo|y/o|years? old|[mwd])?\.?", re.I)
_EXPONENT: Final = re.compile(r"[0-9](?:[.,][0-9]+)?e\+[0-9]{2,3}", re.I)
WITH_FRACTION: Final = re.compile(r"[0-9]{1,15}[.,]0")
_CUT_DIGITS: Final = re.compile(r"[1-9][0-9]{14}0+")  # a spreadsheet keeps 15 digits of a number
_AS_TEXT: Final = "format the column as text in the spreadsheet program, and fill it in again"


@dataclass(frozen=True)
class LabelRow:
    """Label of one row.

    Attributes:
        row: The row.
        label: Its label, or its first error. If the row has several densities, see ``readers.combine_densities``.
        densities: Its densities, if it has a label.
        side: Side of the row, empty = both.
    """

    row: Row
    label: Label | RowProblem
    densities: tuple[Reading, ...] = ()
    side: str = ""


def parse_label_age(text: str) -> int:
    """Read an age from a table, such as ``63``, ``63.5``, ``51,0``, ``82y``, ``045Y``, ``540M``, ``90+``, ``>89``.

    Returns:
        Whole years from 0 to 90, where 90 means all ages above 89; or -1 if the text is not an age up to 120.
    """
    text = text.strip()
    if text in ("90+", ">89", "> 89", "≥90"):
        return parse_age("90")
    match = _AGE.fullmatch(text)
    if match is None:
        return UNKNOWN_INT
    unit = (match.group(2) or "").upper()
    return parse_age(match.group(1) + (unit if unit in ("M", "W", "D") else ""))


def exam_id_problem(row: Row) -> RowProblem | None:
    """Return the error of a row without ``exam_id``, or whose ``exam_id`` lost digits in a spreadsheet; else None."""
    exam = row.cells["exam_id"]
    if not exam:
        return row.problem(RejectionReason.INVALID_ROW, "exam_id", "name the exam")
    if _EXPONENT.fullmatch(exam):
        where, allowed = f"{row.where}, column exam_id", f"a spreadsheet cut off its digits, {_AS_TEXT}"
        return RowProblem(RejectionReason.INVALID_ROW, where, "a number with an exponent", allowed)
    return None


def system_name(row: Row) -> str:
    """Return the acquisition system that a row names, empty = none."""
    return re.sub(r"\s+", " ", row.cells.get("acquisition_system", ""))[:96].strip()


def _side(row: Row) -> str | RowProblem:
    column = next((name for name in _SIDE_COLUMNS if name in row.cells), None)
    written = row.cells[column].lower() if column else ""
    if column and written not in (*_SIDES, *_NO_SIDE):
        return row.problem(RejectionReason.INVALID_ROW, column, "R, L, right, left, both or nothing is allowed")
    return _SIDES.get(written, "")


def breasts_differ_warning(table: str, exams: int) -> str:
    """Return the warning that counts exams whose breasts differ in density."""
    return f"{table}: the breasts of {exams:,} exams differ in density; these exams have that of the denser breast."


class LabelReader:
    """Read the label columns of a table's rows, and collect warnings about the table as a whole."""

    def __init__(self, table: str, values: DensityValues | None = None) -> None:
        """Initialize the reader.

        Args:
            table: Name of the table, for messages.
            values: Meanings of densities, instead of the built-in ones.
        """
        self._table = table
        self._values = values
        self._densities: dict[str, Counter[str]] = defaultdict(Counter)
        self._ages: list[str] = []
        self._with_exponent: list[str] = []
        self._unnamed: list[str] = []
        self._with_fraction = self._named = 0
        self._cut: set[str] = set()
        self._breasts_differ = self._readers_differ = self._tied = 0
        self._differing = dict.fromkeys(("age", "acquisition_system"), 0)

    def read(self, row: Row) -> LabelRow:
        """Read one row.

        Args:
            row: Row with ``exam_id``, ``density`` (or ``density_right`` and ``density_left``, or columns of readers),
                and optionally ``patient_id``, ``age``, ``split``, ``acquisition_system``, ``side``, ``reader``.

        Returns:
            Its label, or its first error.
        """
        cells = dict(row.cells)
        self._count_exam(row)
        problem = exam_id_problem(row) or row.shape_problem()
        if problem is not None:
            return LabelRow(row, problem)
        side = _side(row)
        if isinstance(side, RowProblem):
            return LabelRow(row, side)
        self._count_densities(row)
        densities = read_densities(row, side, self._values)
        if isinstance(densities, RowProblem):
            return LabelRow(row, densities)
        graded = combine_densities([(row, densities)])
        if isinstance(graded, RowProblem):
            return LabelRow(row, graded)
        split = cells.get("split", "").lower()
        if split and split not in (*SPLITS, DEVELOPMENT):
            allowed = f"{', '.join(SPLITS)}, {DEVELOPMENT} or nothing is allowed"
            return LabelRow(row, row.problem(RejectionReason.INVALID_ROW, "split", allowed))
        age = parse_label_age(cells.get("age", ""))
        if age == UNKNOWN_INT and not is_empty(cells.get("age", "")):
            self._ages.append(row.where)
        label = Label(cells["exam_id"], graded.density, cells.get("patient_id", ""), age, split, system_name(row))
        return LabelRow(row, label, densities, side)

    def _count_exam(self, row: Row) -> None:
        exam = row.cells["exam_id"]
        if not exam:
            self._unnamed.append(row.where)
            return
        self._named += 1
        self._with_fraction += WITH_FRACTION.fullmatch(exam) is not None
        if _CUT_DIGITS.fullmatch(exam):
            self._cut.add(exam)
        if _EXPONENT.fullmatch(exam):
            self._with_exponent.append(row.where)

    def _count_densities(self, row: Row) -> None:
        written = written_densities(row, self._values)
        readers = columns_of_readers(written)
        for column, text in written.items():
            self._densities[column if column in readers else "density"][text] += 1

    def of_exam(self, rows: Sequence[LabelRow]) -> Label | RowProblem:
        """Combine the rows of one exam.

        Args:
            rows: At least one row.

        Returns:
            The exam's label, or an error.
        """
        problems = [row.label for row in rows if isinstance(row.label, RowProblem)]
        sound = [row for row in rows if isinstance(row.label, Label)]
        labels = [row.label for row in sound if isinstance(row.label, Label)]
        error = next((problem for problem in problems if problem.reason is not RejectionReason.NO_LABEL), None)
        if error is not None or not labels:
            return error or problems[0]
        graded = self.density_of(rows)
        if isinstance(graded, RowProblem):
            return graded
        patients, splits, systems = (
            {getattr(label, name) for label in labels} - {""} for name in ("patient_id", "split", "acquisition_system")
        )
        for name, values in (("patient_id", patients), ("split", splits)):
            if len(values) > 1:
                where = f"{sound[-1].row.where}, column {name}"
                found = f"{len(values)} for one exam"
                return RowProblem(RejectionReason.INVALID_ROW, where, found, "rows of one exam must agree")
        self._differing["acquisition_system"] += len(systems) > 1
        return Label(
            labels[0].exam_id,
            graded.density,
            next(iter(patients), ""),
            self.age_of(rows),
            next(iter(splits), ""),
            next(iter(systems)) if len(systems) == 1 else "",
            graded.readings,
        )

    def density_of(self, rows: Sequence[LabelRow]) -> Graded | RowProblem:
        """Combine the densities of an exam's rows; at least one row has a label."""
        graded = combine_densities([(row.row, row.densities) for row in rows if isinstance(row.label, Label)])
        if isinstance(graded, Graded):
            self._breasts_differ += graded.breasts_differ
            self._readers_differ += graded.readers_differ
            self._tied += graded.is_tied
        return graded

    def age_of(self, rows: Sequence[LabelRow]) -> int:
        """Combine the ages of an exam's rows; return -1 if there is none, or if they differ."""
        ages = {row.label.age for row in rows if isinstance(row.label, Label)} - {UNKNOWN_INT}
        self._differing["age"] += len(ages) > 1
        return ages.pop() if len(ages) == 1 else UNKNOWN_INT

    @property
    def ids_have_fractions(self) -> bool:
        """True if every ``exam_id`` is a number that ends in ``.0``, as programs write a column of numbers."""
        return 0 < self._named == self._with_fraction

    def warnings(self) -> tuple[str, ...]:
        """Return what a person should check; call it after all rows were read.

        Raises:
            ManifestError: The meaning of the densities is ambiguous (see ``densities``).
        """
        name = self._table
        found = [
            warning
            for column, texts in self._densities.items()
            for warning in density_warnings(f"{name}: column {column}", texts.elements(), self._values)
        ]
        if self._unnamed:
            found.append(f"{name}: exam_id is empty in {len(self._unnamed):,} rows (first {self._unnamed[0]}).")
        if self._with_exponent:
            found.append(
                f"{name}: exam_id is a number with an exponent, such as 2.25E+38, in {len(self._with_exponent):,} rows"
                f" (first {self._with_exponent[0]}), which name no exam any more: {_AS_TEXT}."
            )
        if self.ids_have_fractions:
            found.append(
                f"{name}: every exam_id ends in .0, as numbers do, and is read without it unless a folder or a header"
                f" has one so; {_AS_TEXT}."
            )
        if len(self._cut) > 1:
            found.append(
                f"{name}: {len(self._cut):,} exam_id have more than 15 digits and end in zeros: a spreadsheet may have"
                f" cut them off; if so, {_AS_TEXT}."
            )
        if self._ages:
            found.append(
                f"{name}: age is no age in years in {len(self._ages):,} rows (first {self._ages[0]}); the DICOM"
                " header's age is used there."
            )
        for column, count in self._differing.items():
            if count:
                found.append(
                    f"{name}: rows of one exam differ in {column} in {count:,} exams; the DICOM header's is used there."
                )
        if self._breasts_differ:
            found.append(breasts_differ_warning(name, self._breasts_differ))
        if self._readers_differ:
            found.append(
                f"{name}: the readers of {self._readers_differ:,} exams differ in density; {self._tied:,} of these have"
                " no majority, and the densest of the densities that were chosen most."
            )
        return tuple(found)


def whole_id(exam_id: str) -> str:
    """Return an identifier without its ``.0``: ``1`` for ``1.0``."""
    return exam_id[:-2]


def with_exam_id(label: Label | RowProblem, exam_id: str) -> Label | RowProblem:
    """Return a label with another identifier of its exam."""
    return replace(label, exam_id=exam_id) if isinstance(label, Label) else label


def read_labels(
    path: Location, values: DensityValues | None = None
) -> tuple[dict[str, Label | RowProblem], tuple[str, ...]]:
    """Read a labels file with a row per exam or per breast; see the module for the rules.

    Args:
        path: CSV or Parquet with the columns ``exam_id``, ``density`` (or ``density_right`` and ``density_left``, or
            columns of readers), and optionally ``patient_id``, ``age``, ``split``, ``acquisition_system``, ``side``,
            ``reader``.
        values: Meanings of densities, instead of the built-in ones.

    Returns:
        exam_id -> label or error; and warnings about the file.

    Raises:
        ManifestError: The file cannot be used at all, or the meaning of its densities is ambiguous.
    """
    reader = LabelReader(path.name, values)
    exams: dict[str, list[LabelRow]] = {}
    for row in read_rows(path, LABEL_COLUMNS):
        read = reader.read(row)
        if row.cells["exam_id"]:  # no file depends on a row without exam_id
            exams.setdefault(row.cells["exam_id"], []).append(read)
    if reader.ids_have_fractions:
        numbers: dict[str, list[LabelRow]] = {}
        for exam, rows in exams.items():
            numbers.setdefault(whole_id(exam), []).extend(rows)
        joined = {number: reader.of_exam(rows) for number, rows in numbers.items()}
        labels = {exam: with_exam_id(joined[whole_id(exam)], exam) for exam in exams}
    else:
        labels = {exam: reader.of_exam(rows) for exam, rows in exams.items()}
    return labels, reader.warnings()
