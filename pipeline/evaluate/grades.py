"""Join the table of grades that ``predict`` wrote with a labels file, exam by exam.

An exam of ``grades.csv`` is named by a keyed hash. It gets its label by the first of these:

    * its name in the labels file: the hash itself, or the ``exam_id`` of the manifest that was graded, or an
      ``exam_id`` with this hash under the key in the environment;
    * its files, listed in ``exams.csv`` beside the table: their headers and folders, by the rules of ingest
      (``components.dicom_example_gen.plan.label_keys``).

A join that could be meant in two ways is an error, never a guess. What joins with nothing is counted on both sides.
"""

from __future__ import annotations

import csv
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.dicom.headers.header import ViewHeader
from components.dicom.reading import read_header
from components.dicom.rejections import ANY_IMAGE, IngestError
from components.dicom_example_gen.plan.identity import keyed_hash
from components.dicom_example_gen.plan.label_keys import Images, find_keys
from components.exams.census import take_census
from components.sources.candidates import Label
from components.sources.labels import read_labels
from components.sources.tables import RowProblem
from schema.features import DENSITY_CLASSES

GRADED: Final = "graded"
FILES_TABLE: Final = "exams.csv"
_PROBABILITIES: Final = tuple(f"p_{name}" for name in DENSITY_CLASSES)
_COLUMNS: Final = ("exam", "status", "density", *_PROBABILITIES)
_STATUSES: Final = (GRADED, "refused", "failed")
_TOLERANCE: Final = 0.01  # of the sum; tables are rounded
_KEY_DIGITS: Final = 16


class GradesError(ValueError):
    """A table of grades or of files cannot be used; the message names file, line, column, value and what to do."""


class AmbiguousJoinError(ValueError):
    """An exam could have several labels, or a label several exams. The message names exams by their hashes only."""


@dataclass(frozen=True)
class Grade:
    """A row of ``grades.csv``.

    Attributes:
        exam: Hash of the exam.
        status: ``graded``, ``refused`` or ``failed``.
        density: Grade; empty unless it is graded.
        probabilities: Of the four classes; empty unless it is graded.
    """

    exam: str
    status: str
    density: str = ""
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True)
class LabelledGrade:
    """An exam with its label.

    Attributes:
        grade: Row of the table of grades.
        label: Label of the exam.
        patient: Identifier of the patient, for intervals by patient; empty if it is not known. Not to be shown.
    """

    grade: Grade
    label: Label
    patient: str


@dataclass(frozen=True)
class Joined:
    """The join.

    Attributes:
        exams: Exams with a label, in the order of the table.
        unlabelled: Exams of the table without a label, by status.
        bad_labels: Exams of the table whose label cannot be used, by reason.
        unused_labels: Labels without an exam in the table.
        joined_by: Number of exams by kind of join: ``name``, or a kind of key such as ``accession number``.
        warnings: Warnings about the labels file.
    """

    exams: tuple[LabelledGrade, ...]
    unlabelled: Mapping[str, int]
    bad_labels: Mapping[str, int]
    unused_labels: int
    joined_by: Mapping[str, int]
    warnings: tuple[str, ...]


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of a CSV that ``predict`` wrote."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise GradesError(
            f"{path.name} cannot be read ({error.strerror}): name the table that predict wrote."
        ) from None
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise GradesError(f"{path.name} line 1: columns {', '.join(missing)} are missing: give the table of predict.")
    try:
        for row in reader:
            if None in row or None in row.values():
                raise GradesError(f"{path.name} line {reader.line_num}: it has more or fewer cells than the header.")
            yield reader.line_num, row
    except csv.Error as error:
        raise GradesError(f"{path.name} line {reader.line_num} is not CSV ({error}): run predict again.") from None


def is_grades_table(path: Path) -> bool:
    """Return True if the first line of a file is the header of a table of grades."""
    with path.open("rb") as stream:
        first = stream.readline(4096).decode("utf-8-sig", "replace")
    return {"exam", "status", "p_A"} <= {name.strip() for name in first.split(",")}


def read_grades(path: Path) -> tuple[Grade, ...]:
    """Read ``grades.csv``.

    Args:
        path: Table that ``predict`` wrote; columns may have been added.

    Returns:
        Its rows.

    Raises:
        GradesError: A row cannot be used.
    """
    grades: dict[str, Grade] = {}
    for line, row in _rows(path, _COLUMNS):

        def error(column: str, value: str, remedy: str, line: int = line) -> GradesError:
            return GradesError(f"{path.name} line {line}, column {column}: received {value[:60]!r}; {remedy}.")

        exam, status = row["exam"].strip(), row["status"].strip()
        if not exam:
            raise error("exam", exam, "name the exam")
        if exam in grades:
            raise error("exam", exam, "an earlier line has this exam already: keep one")
        if status not in _STATUSES:
            raise error("status", status, f"one of {', '.join(_STATUSES)} is allowed")
        if status != GRADED:
            grades[exam] = Grade(exam, status)
            continue
        if row["density"] not in DENSITY_CLASSES:
            raise error("density", row["density"], f"one of {', '.join(DENSITY_CLASSES)} is allowed")
        values = []
        for column in _PROBABILITIES:
            try:
                value = float(row[column])
            except ValueError:
                value = math.nan
            if not 0 <= value <= 1:
                raise error(column, row[column], "a probability from 0 to 1 is allowed")
            values.append(value)
        total = math.fsum(values)
        if abs(total - 1) > _TOLERANCE:
            raise error(", ".join(_PROBABILITIES), f"sum {total:.4g}", "they must sum to 1")
        grades[exam] = Grade(exam, status, row["density"], tuple(value / total for value in values))
    if not grades:
        raise GradesError(f"{path.name} has a header and no rows: run predict again.")
    return tuple(grades.values())


@dataclass(frozen=True)
class _ExamFiles:
    paths: tuple[Path, ...]
    name: str


def _read_files(path: Path) -> dict[str, _ExamFiles]:
    """Read ``exams.csv``: the files of each exam and its name in a manifest."""
    paths: dict[str, list[Path]] = defaultdict(list)
    names: dict[str, str] = {}
    for _, row in _rows(path, ("exam", "path", "exam_id")):
        paths[row["exam"]] += [Path(row["path"])] if row["path"] else []
        names[row["exam"]] = row["exam_id"]
    return {exam: _ExamFiles(tuple(found), names[exam]) for exam, found in paths.items()}


def _header(path: Path) -> ViewHeader | None:
    try:
        return read_header(path, acceptance=ANY_IMAGE)  # the model may have accepted special images
    except (IngestError, OSError):
        return None


def _by_files(
    files: Mapping[str, _ExamFiles], labels: Mapping[str, Label | RowProblem]
) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Join exams with labels by their files.

    Returns:
        Name in the labels file and kind of key by exam; and patient by exam.
    """
    listed = sorted((str(path.absolute()), exam) for exam, found in files.items() for path in found.paths)
    if not listed:
        return {}, {}
    root = os.path.dirname(os.path.commonpath([os.path.dirname(path) for path, _ in listed]))
    headers = tuple(_header(Path(path)) for path, _ in listed)
    census = take_census(header for header in headers if header is not None)
    names = tuple(Path(os.path.relpath(path, root)).as_posix() for path, _ in listed)
    keys = find_keys(Images(names, headers, census), labels)
    found: dict[str, set[str]] = defaultdict(set)
    kinds: dict[str, str] = {}
    patients: dict[str, str] = {}
    for position, (_, exam) in enumerate(listed):
        if position in keys.disputed:
            raise AmbiguousJoinError(
                f"The files of exam {exam} match different labels as {' and as '.join(keys.kinds)}: name the exams of"
                " the labels file by one kind of key, such as the Study Instance UID or the hash in grades.csv."
            )
        if position in keys.key:
            found[exam].add(keys.key[position])
            kinds.setdefault(exam, keys.kind[position])
        header = headers[position]
        if header is not None and header.patient_id:
            patients.setdefault(exam, header.patient_id)
    for exam, several in found.items():
        if len(several) > 1:
            raise AmbiguousJoinError(
                f"The files of exam {exam} have {len(several)} different labels: give the labels by exam, or grade"
                " the exams in folders of their own."
            )
    return {exam: (next(iter(names)), kinds[exam]) for exam, names in found.items()}, patients


def _by_name(
    grades: Sequence[Grade], files: Mapping[str, _ExamFiles], labels: Mapping[str, Label | RowProblem], key: bytes
) -> dict[str, tuple[str, str]]:
    """Join exams with labels by the hash, or by the name in the graded manifest."""
    hashed: dict[str, set[str]] = defaultdict(set)
    for name in labels:
        hashed[name].add(name)
        hashed[keyed_hash(name, key, "exam")[:_KEY_DIGITS]].add(name)
    found: dict[str, tuple[str, str]] = {}
    for grade in grades:
        listed = files.get(grade.exam)
        names = hashed.get(grade.exam, set()) | ({listed.name} & labels.keys() if listed else set())
        if len(names) > 1:
            raise AmbiguousJoinError(f"Exam {grade.exam} has {len(names)} names in the labels file: keep one of them.")
        if names:
            found[grade.exam] = (next(iter(names)), "name")
    return found


def join_labels(table: Path, labels_file: Path, key: bytes, density_values: Mapping[str, str] | None = None) -> Joined:
    """Give the exams of a table of grades their labels.

    Args:
        table: ``grades.csv``; ``exams.csv`` beside it is used if it is there.
        labels_file: CSV or Parquet, as for ingest.
        key: Key of the hashes, as when the exams were graded.
        density_values: Meanings of the texts of ``density``, instead of the built-in ones.

    Returns:
        The exams with a label, and the counts of what did not join.

    Raises:
        GradesError: A table of predict cannot be used.
        ManifestError: The labels file cannot be used.
        AmbiguousJoinError: The join could be meant in several ways.
    """
    grades = read_grades(table)
    labels, warnings = read_labels(labels_file, density_values)
    files_table = table.parent / FILES_TABLE
    files = _read_files(files_table) if files_table.is_file() else {}
    of_exam = _by_name(grades, files, labels, key)
    rest = {grade.exam: files[grade.exam] for grade in grades if grade.exam in files and grade.exam not in of_exam}
    by_files, patients = _by_files(rest, labels)
    of_exam |= by_files
    exams_of = defaultdict(list)
    for exam, (name, _) in of_exam.items():
        exams_of[name].append(exam)
    for several in exams_of.values():
        if len(several) > 1:
            raise AmbiguousJoinError(
                f"Exams {' and '.join(sorted(several)[:3])} have one label in common: they may be one exam in two"
                " folders, or the labels file names patients instead of exams. Give the labels by exam."
            )
    joined: list[LabelledGrade] = []
    unlabelled: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    by: Counter[str] = Counter()
    for grade in grades:
        if grade.exam not in of_exam:
            unlabelled[grade.status] += 1
            continue
        name, kind = of_exam[grade.exam]
        label = labels[name]
        if isinstance(label, RowProblem):
            bad[label.reason.value] += 1
            continue
        by[kind] += 1
        joined.append(LabelledGrade(grade, label, label.patient_id or patients.get(grade.exam, "")))
    return Joined(tuple(joined), unlabelled, bad, len(labels) - len(exams_of), by, warnings)
