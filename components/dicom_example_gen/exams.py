"""Which exam a file belongs to, and the exams of an archive as the data set's table counts them.

Files are counted one by one, exams are what people count: an exam is left out if none of its images is accepted. For
that, files that are rejected must be told their exam too, as far as anything tells it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from components.dicom_example_gen import tags
from components.dicom_example_gen.candidates import Candidate
from components.dicom_example_gen.header import ViewHeader
from components.dicom_example_gen.identity import keyed_hash
from components.dicom_example_gen.labels import Label, RowProblem
from components.dicom_example_gen.rejections import RejectionReason
from components.dicom_example_gen.views import parse_view
from schema.features import UNKNOWN, UNKNOWN_INT

_MATCHED_BY: Final = ", ".join(
    [
        *map(tags.tag_name, ("StudyInstanceUID", "AccessionNumber")),
        "folder",
        *map(tags.tag_name, ("StudyID", "PatientID")),
    ]
)


@dataclass(frozen=True)
class Membership:
    """The exam of one file. It identifies a person: it stays inside planning.

    Attributes:
        file: File.
        exam: Exam as the source names it, or for want of a label as header or folder do; empty = unknown.
        label: Its label, or why it has none.
        header: Header of the file, None where it is unreadable.
    """

    file: str
    exam: str
    label: Label | RowProblem
    header: ViewHeader | None


@dataclass(frozen=True)
class PlannedExam:
    """One exam of the archive, accepted or not.

    Attributes:
        exam_hash: Keyed hash of the exam.
        files: All its files, sorted.
        density: One of ``schema.features.DENSITY_CLASSES``, empty = unknown.
        patient_age: Years, -1 = unknown.
        acquisition_system: Slicing key, of the first file that tells it.
    """

    exam_hash: str
    files: tuple[str, ...]
    density: str
    patient_age: int
    acquisition_system: str


def _folders(file: str) -> Iterator[str]:
    yield from reversed(PurePosixPath(file).parts[:-1])


def _keys(file: str, header: ViewHeader) -> Iterator[str]:
    yield from (header.study_uid, header.accession_number)
    yield from _folders(file)
    yield from (header.study_id, header.patient_id)  # last: a Study ID is often just "1"


def membership(candidate: Candidate, header: ViewHeader | None, labels: Mapping[str, Label | RowProblem]) -> Membership:
    """Tells the exam of a file and its label.

    A row that names the file names its exam. For a folder it is the first of these that is an ``exam_id`` of the
    labels: Study Instance UID, Accession Number, the folders on the file's path from the innermost outwards, Study ID,
    Patient ID. A file in no labelled exam belongs to its study, or else to its folder.

    Args:
        candidate: The file.
        header: Its header, or None where it is unreadable; then folders alone can tell.
        labels: exam_id -> label or problem, of a folder's labels file; empty for other sources.

    Returns:
        The exam and its label.
    """
    file = candidate.file
    if candidate.label is not None:
        return Membership(file, candidate.label.exam_id, candidate.label, header)
    allowed = "one of these must be an exam_id of the labels"
    unknown = RowProblem(RejectionReason.NO_LABEL, _MATCHED_BY, "not in the labels", allowed)
    if candidate.exam_id:
        return Membership(file, candidate.exam_id, unknown, header)
    for key in _folders(file) if header is None else _keys(file, header):
        if key and key in labels:
            return Membership(file, key, labels[key], header)
    if header is None:
        return Membership(file, "", unknown, None)
    study = header.study_uid or header.accession_number or next(_folders(file), "")
    return Membership(file, study, unknown, header)


def _person(header: ViewHeader) -> str:
    """Patient ID without the image's own view at its end: CBIS-DDSM writes ``Mass-Test_P_00173_LEFT_CC``."""
    parts = re.split(r"[\s_^-]+", header.patient_id.casefold())
    own_view = next((n for n in (2, 1) if parse_view("".join(parts[-n:])) == header.view), 0)
    return " ".join(parts[: len(parts) - own_view])


def persons(headers: Sequence[ViewHeader]) -> int:
    """Counts the patients that images name; those without a Patient ID say nothing."""
    return len({_person(header) for header in headers} - {""})


def mixed_patients(headers: Sequence[ViewHeader]) -> str:
    """Tells whether images that are said to be one exam are of several patients, as their headers have it.

    A study belongs to one patient (PS3.3 A.1.2), so different Patient IDs within one study of one acquisition system
    are corrections of a name, not two women. Images without a Patient ID say nothing.

    Args:
        headers: Headers of the exam's images.

    Returns:
        What differs, such as ``2 patients in 2 studies``, or an empty string; it identifies nobody.
    """
    patients = persons(headers)
    studies = {header.study_uid for header in headers}
    systems = {header.system.key for header in headers} - {UNKNOWN}
    if patients < 2 or (len(studies) == 1 and "" not in studies and len(systems) < 2):
        return ""
    places = [(len(studies - {""}), "studies"), (len(systems), "acquisition systems")]
    several = " and ".join(f"{count} {kind}" for count, kind in places if count > 1)
    return f"{patients} patients in {several or 'unnamed studies'}"


def exams_of(members: Iterable[Membership], key: bytes) -> tuple[PlannedExam, ...]:
    """Lists the exams that files belong to.

    Args:
        members: Files with their exams, sorted by file.
        key: Key of the keyed hashes.

    Returns:
        The exams, sorted by their first file; files of no known exam are in none.
    """
    groups: dict[str, list[Membership]] = {}
    for member in members:
        if member.exam:
            groups.setdefault(member.exam, []).append(member)
    return tuple(_exam(exam, group, key) for exam, group in groups.items())


def _exam(exam: str, group: list[Membership], key: bytes) -> PlannedExam:
    labels = [member.label for member in group if isinstance(member.label, Label)]
    headers = [member.header for member in group if member.header is not None]
    ages = [label.age for label in labels] + [header.patient_age for header in headers]
    systems = [label.acquisition_system for label in labels] + [header.system.key for header in headers]
    return PlannedExam(
        exam_hash=keyed_hash(exam, key, "exam"),
        files=tuple(member.file for member in group),
        density=labels[0].density if labels else "",
        patient_age=next((age for age in ages if age != UNKNOWN_INT), UNKNOWN_INT),
        acquisition_system=next((system for system in systems if system and system != UNKNOWN), UNKNOWN),
    )
