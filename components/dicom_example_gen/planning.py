"""From headers and labels to the plan of ingest: which files become examples, of whom, in which split.

A pure function: the same outcomes, labels, configuration and key give the same plan, whatever order they come
in. Each candidate ends in exactly one place, accepted or rejected. Rules, in the order in which they apply:

    1. Exam: a row of the source names it, or ``exams.membership`` finds it.
    2. Duplicates: of rows that name one file, or files of equal SOP Instance UID, the first by name is kept; where
       they are given different densities or views, all are left out. Files of equal pixels: see ``pixel_copies``.
    3. An exam has one density and at most one patient named by the CSV; where rows differ all its files are
       left out. So they are where headers name several patients (``exams.mixed_patients``), unless a row of the
       source names the patient of every image, as a manifest or an archive's table does.
    4. Patient: as the CSV names it; else Patient ID where all images of the exam have the same one (CBIS-DDSM
       gives each image its own); else the exam stands for the patient.
    5. Split: as the CSV names it for any exam of the patient, else by the hash of the patient. A patient
       named in two splits is left out, for it would leak from one into the other.
    6. Several images of one view in an exam: the best by ``header.view_rank`` is kept, of equals the first by
       name.
    7. Where a distribution is configured, whole exams are left out, see ``distribution``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from components.common.location import Location
from components.dicom_example_gen import tags
from components.dicom_example_gen.acceptance import STANDARD_ONLY, AcceptanceConfig, SpecialCase
from components.dicom_example_gen.candidates import Candidate
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.distribution import left_out
from components.dicom_example_gen.exams import PlannedExam, exams_of, membership, mixed_patients
from components.dicom_example_gen.header import ViewHeader, view_rank
from components.dicom_example_gen.identity import keyed_hash
from components.dicom_example_gen.labels import Label, RowProblem
from components.dicom_example_gen.reading import read_header
from components.dicom_example_gen.rejections import IngestError, Rejection, RejectionReason
from components.dicom_example_gen.remarks import Remark, joined
from components.dicom_example_gen.splits import split_of
from schema.acquisition import AcquisitionSystem
from schema.features import UNKNOWN_INT


@dataclass(frozen=True)
class Outcome:
    """What reading a candidate's header gave: a header, or a rejection.

    Attributes:
        candidate: The candidate.
        header: Its header, or None.
        rejection: Why it is left out, or None.
    """

    candidate: Candidate
    header: ViewHeader | None = None
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
        acquisition_system: Slicing key: the label's, else the header's.
        remarks: What must be told of how the file was read.
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
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class IngestPlan:
    """What becomes of each candidate.

    Attributes:
        accepted: Files that become examples, sorted by file.
        rejected: Files that are left out, sorted by file.
        labels_without_files: Exams with a sound row in the labels that no file belongs to.
        bad_labels: Exams whose row in the labels is not.
        exams: All exams that files belong to.
    """

    accepted: tuple[PlannedView, ...]
    rejected: tuple[Rejection, ...]
    labels_without_files: int = 0
    bad_labels: int = 0
    exams: tuple[PlannedExam, ...] = ()


@dataclass(frozen=True)
class _Labelled:
    file: str
    header: ViewHeader
    label: Label
    by_row: bool  # a row of the source names the file, not its exam alone


def inspect(
    candidate: Candidate, root: Location, max_pixels: int, acceptance: AcceptanceConfig = STANDARD_ONLY
) -> Outcome:
    """Reads a candidate's header; never raises for what the file holds.

    Args:
        candidate: The candidate.
        root: Folder that its name is relative to.
        max_pixels: Largest matrix that will be decoded.
        acceptance: Special cases that are accepted.

    Returns:
        The outcome, which names the file as the candidate does.
    """
    # A row can call an image special, as a header does, and the configuration can accept it all the same.
    accepted = {case.reason for case in acceptance.accept}
    if candidate.rejection is not None and candidate.rejection.reason not in accepted:
        return Outcome(candidate, rejection=candidate.rejection)
    try:
        header = read_header(root / candidate.file, candidate.view, max_pixels, acceptance)
    except IngestError as error:
        return Outcome(candidate, rejection=error.rejection(candidate.file))
    return Outcome(candidate, header)


def _copies(views: Iterable[_Labelled]) -> list[list[_Labelled]]:
    """Groups files that are one image: one file named twice, or equal SOP Instance UID."""
    groups: list[list[_Labelled]] = []
    by_mark: dict[tuple[str, str], list[_Labelled]] = {}
    for view in views:
        marks = [(name, value) for name, value in (("file", view.file), ("uid", view.header.sop_uid)) if value]
        group = next((by_mark[mark] for mark in marks if mark in by_mark), None)
        if group is None:
            groups.append(group := [])
        group.append(view)
        for mark in marks:
            by_mark.setdefault(mark, group)
    return groups


def _contradiction(copies: Sequence[_Labelled]) -> RowProblem | None:
    """Finds what the rows of one image contradict each other in."""
    densities, views = ({v.label.density for v in copies}, {v.header.view for v in copies})
    if len(densities) > 1:
        allowed = "rows of one image must name one density"
        return RowProblem(RejectionReason.INVALID_LABEL, "column density", " and ".join(sorted(densities)), allowed)
    if len(views) > 1:
        allowed = "rows of one image must name one view"
        return RowProblem(RejectionReason.INVALID_ROW, "column view", " and ".join(sorted(views)), allowed)
    return None


def _without_duplicates(views: Sequence[_Labelled]) -> tuple[list[_Labelled], list[Rejection]]:
    kept: list[_Labelled] = []
    rejected: list[Rejection] = []
    for first, *others in _copies(views):
        problem = _contradiction([first, *others])
        if problem is not None:
            rejected += [problem.rejection(view.file) for view in (first, *others)]
            continue
        kept.append(first)
        for view in others:
            tag = "file" if view.file == first.file else tags.tag_name("SOPInstanceUID")
            remedy = "the first by name is kept, remove the copy"
            rejected.append(Rejection(RejectionReason.DUPLICATE, view.file, tag, f"that of {first.file}", remedy))
    return kept, rejected


def _grouped(views: Iterable[_Labelled], key: Callable[[_Labelled], str]) -> dict[str, list[_Labelled]]:
    groups: dict[str, list[_Labelled]] = defaultdict(list)
    for view in views:
        groups[key(view)].append(view)
    return groups


def _exam_problem(views: Sequence[_Labelled], config: IngestConfig) -> RowProblem | None:
    """Finds what the rows or the headers of one exam contradict each other in."""
    densities = sorted({v.label.density for v in views})
    if len(densities) > 1:
        allowed = "the rows of one exam must name one density"
        return RowProblem(RejectionReason.INVALID_LABEL, "column density", " and ".join(densities), allowed)
    patients = {v.label.patient_id for v in views if v.label.patient_id}
    if len(patients) > 1:
        allowed = "the rows of one exam must name one patient"
        return RowProblem(RejectionReason.INVALID_ROW, "column patient_id", f"{len(patients)} patients", allowed)
    if SpecialCase.MIXED_PATIENTS in config.accept or all(v.by_row and v.label.patient_id for v in views):
        return None
    if mixed := mixed_patients([v.header for v in views]):
        allowed = (
            "an exam is of one patient, move the images that are another's, or name each image's exam and patient in a "
            "manifest, or add mixed_patients to pipeline.ingest.accept"
        )
        return RowProblem(RejectionReason.MIXED_PATIENTS, tags.tag_name("PatientID"), mixed, allowed)
    return None


def _patient_of(views: Sequence[_Labelled]) -> str:
    named = next((v.label.patient_id for v in views if v.label.patient_id), "")
    in_headers = {v.header.patient_id for v in views} - {""}
    if named:
        return named
    return in_headers.pop() if len(in_headers) == 1 else views[0].label.exam_id


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
                "one image of a view is kept: the least special, the largest, the latest, the first by name",
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
        remarks=header.remarks,
    )


def _by_distribution(views: list[PlannedView], config: IngestConfig) -> tuple[list[PlannedView], list[Rejection]]:
    if config.distribution is None:
        return views, []
    exams = {view.exam_hash: (view.split, view.density) for view in views}
    dropped = left_out(exams, config.distribution, config.split_seed)
    remedy = "pipeline.ingest.distribution keeps fewer exams of this class in this split, change it to keep more"
    return [view for view in views if view.exam_hash not in dropped], [
        Rejection(
            RejectionReason.LEFT_OUT_BY_DISTRIBUTION, v.file, "density and split", f"{v.density} in {v.split}", remedy
        )
        for v in views
        if v.exam_hash in dropped
    ]


def plan(
    outcomes: Iterable[Outcome], labels: Mapping[str, Label | RowProblem], config: IngestConfig, key: bytes
) -> IngestPlan:
    """Decides what becomes of each candidate; see the module for the rules.

    Args:
        outcomes: What reading each candidate's header gave, in any order.
        labels: exam_id -> label or problem, of a folder's labels file; empty for other sources.
        config: Configuration of ingest.
        key: Key of the keyed hashes.

    Returns:
        The plan: as many accepted and rejected files as outcomes.
    """
    ordered = sorted(outcomes, key=lambda o: (o.candidate.file, o.candidate.line))
    members = [membership(outcome.candidate, outcome.header, labels) for outcome in ordered]
    rejected: list[Rejection] = []
    labelled: list[_Labelled] = []
    for outcome, member in zip(ordered, members, strict=True):
        if outcome.rejection is not None:
            rejected.append(outcome.rejection)
        elif isinstance(member.label, RowProblem):
            rejected.append(member.label.rejection(member.file))
        elif member.header is not None:
            by_row = outcome.candidate.label is not None
            labelled.append(_Labelled(member.file, member.header, member.label, by_row))

    unique, copies = _without_duplicates(labelled)
    rejected += copies
    patients: dict[str, list[list[_Labelled]]] = defaultdict(list)
    for exam in _grouped(unique, lambda v: v.label.exam_id).values():
        problem = _exam_problem(exam, config)
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
        split = split_of(patient_hash, config.splits, config.split_seed, named[0] if named else "")
        for exam in exams:
            kept, others = _one_of_each_view(exam)
            rejected += others
            exam_hash = keyed_hash(exam[0].label.exam_id, key, "exam")
            accepted += [_planned(v, exam_hash, patient_hash, split) for v in kept]
    accepted, dropped = _by_distribution(accepted, config)
    with_files = {member.exam for member in members}
    sound = {exam for exam, label in labels.items() if isinstance(label, Label)}
    return IngestPlan(
        accepted=tuple(sorted(accepted, key=lambda v: v.file)),
        rejected=tuple(sorted((*rejected, *dropped), key=lambda r: (r.file, r.reason.value))),
        labels_without_files=len(sound - with_files),
        bad_labels=len(labels) - len(sound),
        exams=exams_of(members, key),
    )


def settle(
    settled: IngestPlan, late: Iterable[Rejection], remarks: Mapping[str, Iterable[Remark]] | None = None
) -> IngestPlan:
    """Moves files whose pixels turned out to be unreadable from accepted to rejected, and adds decoding's remarks.

    Args:
        settled: The plan.
        late: Rejections of accepted files.
        remarks: File -> what decoding has to tell of it; files without any may be absent.

    Returns:
        The plan as it was carried out; the count of files stays the same.
    """
    by_file = {rejection.file: rejection for rejection in late}
    moved = [by_file[view.file] for view in settled.accepted if view.file in by_file]
    return replace(
        settled,
        accepted=tuple(
            replace(view, remarks=joined(view.remarks, (remarks or {}).get(view.file, ())))
            for view in settled.accepted
            if view.file not in by_file
        ),
        rejected=tuple(sorted((*settled.rejected, *moved), key=lambda r: (r.file, r.reason.value))),
    )


def without_label(outcomes: Iterable[Outcome], planned: IngestPlan) -> list[tuple[str, ViewHeader | None]]:
    """Lists the files that are left out for want of a label, with their headers as far as they were read."""
    files = {rejection.file for rejection in planned.rejected if rejection.reason is RejectionReason.NO_LABEL}
    return [(outcome.candidate.file, outcome.header) for outcome in outcomes if outcome.candidate.file in files]
