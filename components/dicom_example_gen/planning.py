"""From headers and labels to the plan of ingest: which files become examples, of whom, in which split.

A pure function: the same outcomes, labels, configuration and key give the same plan, whatever order they come
in. Each candidate ends in exactly one place, accepted or rejected. Rules, in the order in which they apply:

    1. Exam: a manifest row names it. For a folder, the first of these that is an ``exam_id`` of the labels:
       Study Instance UID, Accession Number, the folders on the file's path from the innermost outwards,
       Study ID, Patient ID.
    2. Duplicates: of files with equal bytes, or equal SOP Instance UID, the first by name is kept.
    3. An exam has one density and at most one patient named by the CSV; where rows differ all its files are
       left out.
    4. Patient: as the CSV names it; else Patient ID where all images of the exam have the same one (CBIS-DDSM
       gives each image its own); else the exam stands for the patient.
    5. Split: as the CSV names it for any exam of the patient, else by the hash of the patient. A patient
       named in two splits is left out, for it would leak from one into the other.
    6. Several images of one view in an exam: the one with the most pixels is kept, of those the latest, of
       those the first by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from components.dicom_example_gen import tags
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.header import ViewHeader
from components.dicom_example_gen.identity import keyed_hash
from components.dicom_example_gen.labels import Label, RowProblem
from components.dicom_example_gen.manifest import Candidate
from components.dicom_example_gen.reading import inspect_file
from components.dicom_example_gen.rejections import IngestError, Rejection, RejectionReason
from components.dicom_example_gen.splits import split_of
from schema.acquisition import AcquisitionSystem
from schema.features import UNKNOWN_INT

_MATCHED_BY: Final = ", ".join(
    [
        *map(tags.tag_name, ("StudyInstanceUID", "AccessionNumber")),
        "folder",
        *map(tags.tag_name, ("StudyID", "PatientID")),
    ]
)


@dataclass(frozen=True)
class Outcome:
    """What reading a candidate's header gave: a header and a digest, or a rejection.

    Attributes:
        candidate: The candidate.
        header: Its header, or None.
        digest: SHA-256 of the file's bytes, empty without header.
        rejection: Why it is left out, or None.
    """

    candidate: Candidate
    header: ViewHeader | None = None
    digest: str = ""
    rejection: Rejection | None = None


@dataclass(frozen=True)
class PlannedView:
    """One file that becomes an example. It identifies nobody but by its file name.

    Attributes:
        file: Path relative to the source's root.
        view: One of ``schema.features.VIEWS``.
        exam_hash: Keyed hash of the exam.
        patient_hash: Keyed hash of the patient.
        split: ``train``, ``eval`` or ``test``.
        density: One of ``schema.features.DENSITY_CLASSES``.
        patient_age: Years, -1 = unknown.
        acquisition_year: Year, -1 = unknown.
        system: Acquisition system of the header.
        acquisition_system: Slicing key: the CSV's, else the header's.
    """

    file: str
    view: str
    exam_hash: str
    patient_hash: str
    split: str
    density: str
    patient_age: int
    acquisition_year: int
    system: AcquisitionSystem
    acquisition_system: str


@dataclass(frozen=True)
class IngestPlan:
    """What becomes of each candidate.

    Attributes:
        accepted: Files that become examples, sorted by file.
        rejected: Files that are left out, sorted by file.
        labels_without_files: Exams of a labels CSV that no file belongs to.
    """

    accepted: tuple[PlannedView, ...]
    rejected: tuple[Rejection, ...]
    labels_without_files: int = 0


@dataclass(frozen=True)
class _Labelled:
    file: str
    header: ViewHeader
    digest: str
    label: Label


def inspect(candidate: Candidate, root: Path, max_pixels: int) -> Outcome:
    """Reads a candidate's header and digest; never raises for what the file holds.

    Args:
        candidate: The candidate.
        root: Folder that its name is relative to.
        max_pixels: Largest matrix that will be decoded.

    Returns:
        The outcome, which names the file as the candidate does.
    """
    if candidate.rejection is not None:
        return Outcome(candidate, rejection=candidate.rejection)
    try:
        header, digest = inspect_file(root / candidate.file, candidate.view, max_pixels)
    except IngestError as error:
        return Outcome(candidate, rejection=error.rejection(candidate.file))
    return Outcome(candidate, header, digest)


def _exam_keys(file: str, header: ViewHeader) -> Iterator[str]:
    yield from (header.study_uid, header.accession_number)
    yield from reversed(PurePosixPath(file).parts[:-1])
    yield from (header.study_id, header.patient_id)  # last: a Study ID is often just "1"


def _match(file: str, header: ViewHeader, labels: Mapping[str, Label | RowProblem]) -> Label | RowProblem:
    for key in _exam_keys(file, header):
        if key and key in labels:
            return labels[key]
    allowed = "one of these must be an exam_id of the labels CSV"
    return RowProblem(RejectionReason.NO_LABEL, _MATCHED_BY, "not in the labels", allowed)


def _without_duplicates(views: Sequence[_Labelled]) -> tuple[list[_Labelled], list[Rejection]]:
    kept: list[_Labelled] = []
    rejected: list[Rejection] = []
    by_digest: dict[str, str] = {}
    by_uid: dict[str, str] = {}
    for view in views:
        uid = view.header.sop_uid
        if view.digest in by_digest:
            tag, first = "content", by_digest[view.digest]
        elif uid and uid in by_uid:
            tag, first = tags.tag_name("SOPInstanceUID"), by_uid[uid]
        else:
            kept.append(view)
            by_digest[view.digest] = view.file
            if uid:
                by_uid[uid] = view.file
            continue
        remedy = "the first by name is kept, remove the copy"
        rejected.append(Rejection(RejectionReason.DUPLICATE, view.file, tag, f"that of {first}", remedy))
    return kept, rejected


def _grouped(views: Iterable[_Labelled], key: Callable[[_Labelled], str]) -> dict[str, list[_Labelled]]:
    groups: dict[str, list[_Labelled]] = defaultdict(list)
    for view in views:
        groups[key(view)].append(view)
    return groups


def _exam_problem(views: Sequence[_Labelled]) -> RowProblem | None:
    """Finds what the rows of one exam contradict each other in."""
    densities = sorted({v.label.density for v in views})
    if len(densities) > 1:
        allowed = "the rows of one exam must name one density"
        return RowProblem(RejectionReason.INVALID_LABEL, "column density", " and ".join(densities), allowed)
    patients = {v.label.patient_id for v in views if v.label.patient_id}
    if len(patients) > 1:
        allowed = "the rows of one exam must name one patient"
        return RowProblem(RejectionReason.INVALID_ROW, "column patient_id", f"{len(patients)} patients", allowed)
    return None


def _patient_of(views: Sequence[_Labelled]) -> str:
    named = next((v.label.patient_id for v in views if v.label.patient_id), "")
    in_headers = {v.header.patient_id for v in views} - {""}
    if named:
        return named
    return in_headers.pop() if len(in_headers) == 1 else views[0].label.exam_id


def view_rank(header: ViewHeader) -> tuple[int, str]:
    """Ranks images of one view in an exam: the one with the most pixels, then the latest, is kept."""
    return header.rows * header.columns, header.acquired_at


def _one_of_each_view(exam: Sequence[_Labelled]) -> tuple[list[_Labelled], list[Rejection]]:
    kept: list[_Labelled] = []
    rejected: list[Rejection] = []
    for view, images in _grouped(exam, lambda v: v.header.view).items():
        best = max(images, key=lambda v: view_rank(v.header))  # the first of equals, and images are sorted by name
        kept.append(best)
        rejected += [
            Rejection(
                RejectionReason.DUPLICATE_VIEW,
                image.file,
                "view",
                f"{view}, as that of {best.file}",
                "one image of a view is kept: the largest, then the latest, then the first by name",
            )
            for image in images
            if image is not best
        ]
    return kept, rejected


def _planned(view: _Labelled, exam_hash: str, patient_hash: str, split: str) -> PlannedView:
    header, label = view.header, view.label
    return PlannedView(
        file=view.file,
        view=header.view,
        exam_hash=exam_hash,
        patient_hash=patient_hash,
        split=split,
        density=label.density,
        patient_age=label.age if label.age != UNKNOWN_INT else header.patient_age,
        acquisition_year=header.acquisition_year,
        system=header.system,
        acquisition_system=label.acquisition_system or header.system.key,
    )


def plan(
    outcomes: Iterable[Outcome], labels: Mapping[str, Label | RowProblem], config: IngestConfig, key: bytes
) -> IngestPlan:
    """Decides what becomes of each candidate; see the module for the rules.

    Args:
        outcomes: What reading each candidate's header gave, in any order.
        labels: exam_id -> label or problem, of a folder's labels CSV; empty for a manifest.
        config: Configuration of ingest.
        key: Key of the keyed hashes.

    Returns:
        The plan: as many accepted and rejected files as outcomes.
    """
    rejected: list[Rejection] = []
    labelled: list[_Labelled] = []
    matched: set[str] = set()
    for outcome in sorted(outcomes, key=lambda o: (o.candidate.file, o.candidate.line)):
        file, header = outcome.candidate.file, outcome.header
        if outcome.rejection is not None:
            rejected.append(outcome.rejection)
        elif header is not None:
            label = outcome.candidate.label or _match(file, header, labels)
            if isinstance(label, RowProblem):
                rejected.append(label.rejection(file))
            else:
                matched.add(label.exam_id)
                labelled.append(_Labelled(file, header, outcome.digest, label))

    unique, copies = _without_duplicates(labelled)
    rejected += copies
    patients: dict[str, list[list[_Labelled]]] = defaultdict(list)
    for exam in _grouped(unique, lambda v: v.label.exam_id).values():
        problem = _exam_problem(exam)
        if problem is not None:
            rejected += [problem.rejection(v.file) for v in exam]
        else:
            patients[_patient_of(exam)].append(exam)

    accepted: list[PlannedView] = []
    for patient, exams in patients.items():
        patient_hash = keyed_hash(patient, key, "patient")
        named = sorted({v.label.split for exam in exams for v in exam if v.label.split})
        if len(named) > 1:
            allowed = "a patient belongs to one split, correct the rows"
            conflict = RowProblem(RejectionReason.SPLIT_CONFLICT, "column split", " and ".join(named), allowed)
            rejected += [conflict.rejection(v.file) for exam in exams for v in exam]
            continue
        split = named[0] if named else split_of(patient_hash, config.splits, config.split_seed)
        for exam in exams:
            kept, others = _one_of_each_view(exam)
            rejected += others
            exam_hash = keyed_hash(exam[0].label.exam_id, key, "exam")
            accepted += [_planned(v, exam_hash, patient_hash, split) for v in kept]
    return IngestPlan(
        tuple(sorted(accepted, key=lambda v: v.file)),
        tuple(sorted(rejected, key=lambda r: (r.file, r.reason.value))),
        len([exam for exam in labels if exam not in matched]),
    )


def settle(settled: IngestPlan, late: Iterable[Rejection]) -> IngestPlan:
    """Moves files whose pixels turned out to be unreadable from accepted to rejected.

    Args:
        settled: The plan.
        late: Rejections of accepted files.

    Returns:
        The plan as it was carried out; the count of files stays the same.
    """
    by_file = {rejection.file: rejection for rejection in late}
    moved = [by_file[view.file] for view in settled.accepted if view.file in by_file]
    return IngestPlan(
        tuple(view for view in settled.accepted if view.file not in by_file),
        tuple(sorted((*settled.rejected, *moved), key=lambda r: (r.file, r.reason.value))),
        settled.labels_without_files,
    )
