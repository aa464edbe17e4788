"""Assign each file of an archive to its exam, and list the exams for the data set's table.

Users count exams, not files: an exam is left out if none of its images is accepted. So rejected files are also assigned
to an exam, as far as possible.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from components.dicom.headers import tags
from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import RejectionReason
from components.dicom_example_gen.plan.identity import keyed_hash
from components.dicom_example_gen.plan.label_keys import ROW, Images, Keys, find_keys
from components.exams.evidence import Census
from components.sources.candidates import Candidate, Label
from components.sources.tables import RowProblem
from schema.features import UNKNOWN, UNKNOWN_INT

_MATCHED_BY: Final = ", ".join(
    [
        *map(tags.tag_name, ("StudyInstanceUID", "AccessionNumber")),
        "folder",
        *map(tags.tag_name, ("StudyID", "PatientID")),
    ]
)
_UNLABELLED: Final = "unlabelled\0"  # must not be equal to an exam_id


@dataclass(frozen=True)
class Membership:
    """The exam of one file. It identifies a person, so it stays inside planning.

    Attributes:
        file: File.
        exam: Exam in the source or, without a label, in the header or the folder; empty = unknown.
        label: Its label, or the error.
        header: Header of the file, None if it is unreadable.
        label_by: Origin of its label, such as ``folder level 1``; empty = no label.
    """

    file: str
    exam: str
    label: Label | RowProblem
    header: ViewHeader | None
    label_by: str = ""


@dataclass(frozen=True)
class PlannedExam:
    """One exam of the archive, accepted or not.

    Attributes:
        exam_hash: Keyed hash of the exam.
        files: All its files, sorted.
        density: One of ``schema.features.DENSITY_CLASSES``, empty = unknown.
        patient_age: Years, -1 = unknown.
        acquisition_system: Slicing key, of the first file that has one.
    """

    exam_hash: str
    files: tuple[str, ...]
    density: str
    patient_age: int
    acquisition_system: str


def _no_label(keys: Keys) -> RowProblem:
    where = " and ".join(keys.kinds) or _MATCHED_BY
    allowed = (
        "one of these must be an exam_id of the labels"
        if not keys.kinds
        else "the labels name exams by this, add this one"
    )
    return RowProblem(RejectionReason.NO_LABEL, where, "not in the labels", allowed)


def _ambiguous(keys: Keys) -> RowProblem:
    allowed = (
        "name the exams in the labels by Study Instance UID or by the folder's path, such as 12/3, or name each "
        "image's exam in a manifest"
    )
    where = " and ".join(keys.kinds)
    return RowProblem(RejectionReason.AMBIGUOUS_LABEL, where, "different exams of the labels", allowed)


def memberships(
    read: Sequence[tuple[Candidate, ViewHeader | None]], labels: Mapping[str, Label | RowProblem], census: Census
) -> list[Membership]:
    """Find the exam and label of each file.

    A row that names the file also names its exam. For a folder, ``label_keys`` finds the exam in the labels. A file
    without a labelled exam belongs to its study, or else to its folder. A file with an unreadable header belongs to the
    exam of the other files in its folder, or to the exam that its folders name.

    Args:
        read: Files, sorted, each with its header, or None if it is unreadable.
        labels: exam_id -> label or error, from a folder's labels file; empty for other sources.
        census: Unreliable identifiers of the archive.

    Returns:
        The exam and label of each file, in the order of the files.
    """
    of_folder = [(candidate, header) for candidate, header in read if candidate.label is None and not candidate.exam_id]
    images = Images(tuple(c.file for c, _ in of_folder), tuple(h for _, h in of_folder), census)
    keys = find_keys(images, labels.keys())
    neighbours: dict[str, set[str]] = defaultdict(set)
    for position, key in keys.key.items():
        neighbours[images.files[position].rpartition("/")[0]].add(key)
    unknown, ambiguous = _no_label(keys), _ambiguous(keys)
    members, position = [], -1
    for candidate, header in read:
        file = candidate.file
        if candidate.label is not None:
            members.append(Membership(file, candidate.label.exam_id, candidate.label, header, ROW))
            continue
        if candidate.exam_id:
            members.append(Membership(file, candidate.exam_id, unknown, header))
            continue
        position += 1
        key = keys.key.get(position, "")
        if not key and header is None:
            key = _exam_of_unreadable(file, neighbours[file.rpartition("/")[0]], labels)
        if key:
            members.append(Membership(file, key, labels[key], header, keys.kind.get(position, "")))
        else:
            problem = ambiguous if position in keys.disputed else unknown
            members.append(Membership(file, _unlabelled_exam(file, header, census), problem, header))
    return members


def _exam_of_unreadable(file: str, neighbours: set[str], labels: Mapping[str, object]) -> str:
    if len(neighbours) == 1:
        return next(iter(neighbours))
    folders = reversed(PurePosixPath(file).parts[:-1])
    return "" if neighbours else next((name for name in folders if name in labels), "")


def _unlabelled_exam(file: str, header: ViewHeader | None, census: Census) -> str:
    if header is None:
        return ""
    uid = "" if header.study_uid in census.unreliable_studies else header.study_uid
    return f"{_UNLABELLED}{uid or census.order(header) or file.rpartition('/')[0]}"


def exams_of(members: Iterable[Membership], key: bytes) -> tuple[PlannedExam, ...]:
    """Return the exams of the files.

    Args:
        members: Files with their exams, sorted by file.
        key: Key of the keyed hashes.

    Returns:
        The exams, sorted by their first file; files without a known exam are in none.
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
    systems = [label.acquisition_system for label in labels] + [header.image_system.key for header in headers]
    return PlannedExam(
        exam_hash=keyed_hash(exam, key, "exam"),
        files=tuple(member.file for member in group),
        density=labels[0].density if labels else "",
        patient_age=next((age for age in ages if age != UNKNOWN_INT), UNKNOWN_INT),
        acquisition_system=next((system for system in systems if system and system != UNKNOWN), UNKNOWN),
    )
