"""Candidates and labels of a source, before any file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from components.common.location import Location
from components.dicom.rejections import Rejection
from components.sources.tables import RowProblem
from schema.features import UNKNOWN_INT

# An official training set without a validation set: the hash of the patient divides it into train and eval.
DEVELOPMENT: Final = "train+eval"
Readings = tuple[tuple[str, str], ...]  # reader and density, sorted by reader; empty, or of two readers or more


@dataclass(frozen=True)
class Label:
    """Label of an exam.

    Attributes:
        exam_id: Exam in the row; it may identify a person.
        density: One of ``schema.features.DENSITY_CLASSES``.
        patient_id: Patient in the row, empty = not given.
        age: Years, -1 = not given.
        split: ``train``, ``eval``, ``test`` or ``train+eval`` (to divide into these two), empty = not given.
        acquisition_system: Slicing key that replaces the header's, empty = not given.
        readings: Density by reader, if the exam has several readers (see ``readers``).
    """

    exam_id: str
    density: str
    patient_id: str = ""
    age: int = UNKNOWN_INT
    split: str = ""
    acquisition_system: str = ""
    readings: Readings = ()


@dataclass(frozen=True)
class Candidate:
    """One file to ingest.

    Attributes:
        file: Path relative to the source's root, POSIX style.
        line: Row of the manifest or label table (the header is row 1, blank rows do not count), 0 for a folder.
        view: View that the row names, or None (then the file's header must name it).
        label: Label from the row, or None (then planning matches one).
        rejection: Error in the row, or None.
        exam_id: Exam that the row names, also if the row has an error; empty = none. It may identify a person.
    """

    file: str
    line: int = 0
    view: str | None = None
    label: Label | None = None
    rejection: Rejection | None = None
    exam_id: str = ""


@dataclass(frozen=True)
class Candidates:
    """All candidates of a source.

    Attributes:
        root: Folder that candidates' names are relative to.
        found: Candidates sorted by file, then line.
        labels: exam_id -> label or problem, of a folder's labels file; empty for other sources.
        ignored: Suffix (or another kind, such as ``DICOMDIR``) -> number of files that are not candidates.
        tables: Label files that were read.
        warnings: Warnings about the tables or files as a whole; they do not identify anyone.
    """

    root: Location
    found: tuple[Candidate, ...]
    labels: Mapping[str, Label | RowProblem] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    tables: tuple[Location, ...] = ()
    warnings: tuple[str, ...] = ()
