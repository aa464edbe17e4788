"""Make the plan of ingest from headers and labels: which files become examples, of which patient, in which split.

The plan is a pure function: the same headers, labels, configuration and key give the same plan in any order. Each
candidate is either accepted or rejected. The rules, in the order in which they apply:

    1. Exam: a row of the source names it, or ``label_keys`` finds it.
    2. Copies: rows that name one file, and files of equal SOP Instance UID and pixel data, are one image. If they have
       different densities or views, all are rejected. An image belongs to the first valid exam that contains it, in
       the order of the exams' first files. Files of equal pixels are compared after decoding, see ``copies``.
    3. Exam errors: an exam has one density and at most one patient in the table; if its rows differ, all its files are
       rejected. They are also rejected if the headers show several women or several exams
       (``evidence.contradictions``), unless rows name each image's exam or, for women, each image's patient. A study
       whose images have labels with different densities is rejected too.
    4. Patient: see ``patients``.
    5. Split: the table names it for any exam of the patient, else the hash of the patient decides. A patient with two
       splits is rejected, because images would leak from one split into the other.
    6. Several images of one view in an exam: the best by ``header.view_rank`` is kept, or the first by name among
       equals. The others are its reserves, see ``ingest_plan``; the copies of an image follow it directly.
    7. If a distribution is configured, it drops whole exams, see ``distribution``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from components.common.location import Location
from components.dicom.headers.header import ViewHeader, view_rank
from components.dicom.reading import pixel_data_sha256, read_header
from components.dicom.rejections import STANDARD_ONLY, AcceptanceConfig, IngestError, Rejection, RejectionReason
from components.dicom.remarks import Remark, joined
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.copies import LabelledFile, assign_images, broken_uids, shared_uids
from components.dicom_example_gen.plan.exam_ids import identifiers_of, with_whole_ids
from components.dicom_example_gen.plan.exam_problems import divided_studies, exam_by, exam_problem, studies_are_series
from components.dicom_example_gen.plan.identity import keyed_hash
from components.dicom_example_gen.plan.ingest_plan import IngestPlan, PlannedView, in_order
from components.dicom_example_gen.plan.membership import exams_of, memberships
from components.dicom_example_gen.plan.patients import patients_of, split_of
from components.exams.census import take_census
from components.exams.distribution import exams_to_drop
from components.exams.evidence import Census, corrected_id
from components.sources.candidates import Candidate, Label
from components.sources.tables import RowProblem
from schema.features import UNKNOWN_INT


@dataclass(frozen=True)
class InspectedFile:
    """A candidate after reading its header: it has a header or a rejection.

    Attributes:
        candidate: The candidate.
        header: Its header, or None.
        rejection: Its rejection, or None.
        pixels: Hash of its pixel data as stored, if another file has its SOP Instance UID; else empty.
    """

    candidate: Candidate
    header: ViewHeader | None = None
    rejection: Rejection | None = None
    pixels: str = ""


@dataclass(frozen=True)
class _Exam:
    """Values that all views of an exam have in common."""

    exam_hash: str
    exam_by: str
    patient_hash: str
    split: str
    broken_uids: Collection[str]
    remarks: tuple[Remark, ...]


def inspect(
    candidate: Candidate, root: Location, max_pixels: int, acceptance: AcceptanceConfig = STANDARD_ONLY
) -> InspectedFile:
    """Read a candidate's header; errors in the file give a rejection, not an exception.

    Args:
        candidate: The candidate.
        root: Folder that its name is relative to.
        max_pixels: Largest accepted matrix, rows x columns.
        acceptance: Special cases that are accepted.

    Returns:
        The header or the rejection, under the candidate's file name.
    """
    # A row, like a header, can mark an image as special; the configuration may still accept it.
    if candidate.rejection is not None and candidate.rejection.reason not in acceptance.accept:
        return InspectedFile(candidate, rejection=candidate.rejection)
    try:
        header = read_header(root / candidate.file, candidate.view, max_pixels, acceptance)
    except IngestError as error:
        return InspectedFile(candidate, rejection=error.rejection(candidate.file))
    return InspectedFile(candidate, header)


def inspect_pixels(
    inspected: InspectedFile, root: Location, max_pixels: int, acceptance: AcceptanceConfig = STANDARD_ONLY
) -> InspectedFile:
    """Hash the pixel data of a file as stored, without decoding.

    Args:
        inspected: Result of :func:`inspect`, with a header.
        root: Folder that its name is relative to.
        max_pixels: Largest accepted matrix, rows x columns.
        acceptance: Special cases that are accepted.

    Returns:
        The file with the hash; a file that has become unreadable gets a unique value.
    """
    candidate = inspected.candidate
    try:
        pixels = pixel_data_sha256(root / candidate.file, candidate.view, max_pixels, acceptance)
    except IngestError:
        pixels = f"unreadable {candidate.file}"
    return replace(inspected, pixels=pixels)


def files_to_hash(inspected: Sequence[InspectedFile]) -> list[int]:
    """Return the positions of the files whose pixel data must be hashed, because another file has their UID."""
    return shared_uids([(i.candidate.file, i.header.sop_uid if i.header is not None else "") for i in inspected])


def _grouped(views: Iterable[LabelledFile], key: Callable[[LabelledFile], str]) -> dict[str, list[LabelledFile]]:
    groups: dict[str, list[LabelledFile]] = defaultdict(list)
    for view in views:
        groups[key(view)].append(view)
    return groups


def _chains(exam: Sequence[LabelledFile]) -> list[list[LabelledFile]]:
    """Return the images of each view, the best first."""
    views = _grouped(exam, lambda v: v.header.view).values()
    # Sorting is stable, and the images are sorted by name.
    return [sorted(images, key=lambda v: view_rank(v.header), reverse=True) for images in views]


def _planned(view: LabelledFile, exam: _Exam, files: Mapping[str, Sequence[LabelledFile]]) -> list[PlannedView]:
    """Return the plan of an image's files, with the label of the first."""
    label = view.label
    return [
        PlannedView(
            file=copy.file,
            view=header.view,
            exam_hash=exam.exam_hash,
            patient_hash=exam.patient_hash,
            split=exam.split,
            density=label.density,
            patient_age=label.age if label.age != UNKNOWN_INT else header.patient_age,
            acquisition_year=header.acquisition_year,
            system=header.system,
            acquisition_system=label.acquisition_system or header.image_system.key,
            remarks=joined(
                header.remarks, exam.remarks, (Remark.BROKEN_UID,) if header.sop_uid in exam.broken_uids else ()
            ),
            exam_by=exam.exam_by,
            label_by=view.label_by,
            image=view.image,
            readings=label.readings,
        )
        for copy in files[view.image]
        for header in (copy.header,)
    ]


def _by_distribution(views: list[PlannedView], config: IngestConfig) -> tuple[list[PlannedView], list[Rejection]]:
    if config.distribution is None:
        return views, []
    exams = {view.exam_hash: (view.split, view.density) for view in views}
    dropped = exams_to_drop(exams, config.distribution, config.split_seed)
    remedy = "pipeline.ingest.distribution keeps fewer exams of this class in this split, change it to keep more"
    return [view for view in views if view.exam_hash not in dropped], [
        Rejection(
            RejectionReason.LEFT_OUT_BY_DISTRIBUTION, v.file, "density and split", f"{v.density} in {v.split}", remedy
        )
        for view in views
        if view.exam_hash in dropped
        for v in view.images
    ]


@dataclass(frozen=True)
class _ValidExams:
    """Exams without errors.

    Attributes:
        exams: exam_id -> the first file of each image, by name.
        files: Image -> its files: those in its exam first, each group by name.
        rejected: Files of other exams.
    """

    exams: Mapping[str, list[LabelledFile]]
    files: Mapping[str, list[LabelledFile]]
    rejected: list[Rejection]


def _valid_exams(labelled: Sequence[LabelledFile], config: IngestConfig, census: Census) -> _ValidExams:
    by_exam = _grouped(labelled, lambda v: v.label.exam_id)
    if studies_are_series(by_exam, census):
        census = replace(census, study_per_image=True)
    divided = divided_studies(by_exam, census)
    exams: dict[str, list[LabelledFile]] = {}
    files: dict[str, list[LabelledFile]] = {}
    rejected: list[Rejection] = []
    for name, views in by_exam.items():
        own = [view for view in views if view.image not in files]  # without images of earlier exams
        first: dict[str, LabelledFile] = {}
        for view in own:
            first.setdefault(view.image, view)
        images = list(first.values())
        problem = (divided.get(name) or exam_problem(images, config, census)) if own else None
        if problem is not None:
            rejected += [problem.rejection(view.file) for view in own]
        elif own:
            exams[name] = images
            files |= {image: [] for image in first}
        for view in views:
            if view.image in files:
                files[view.image].append(view)
    return _ValidExams(exams, files, rejected)


def plan(
    inspected: Iterable[InspectedFile], labels: Mapping[str, Label | RowProblem], config: IngestConfig, key: bytes
) -> IngestPlan:
    """Make the plan; see the module for the rules.

    Args:
        inspected: All candidates with their headers, in any order.
        labels: exam_id -> label or error, from a folder's labels file; empty for other sources.
        config: Configuration of ingest.
        key: Key of the keyed hashes.

    Returns:
        The plan; each candidate is accepted or rejected.
    """
    ordered = sorted(inspected, key=lambda i: (i.candidate.file, i.candidate.line))
    labels = with_whole_ids(labels, lambda: {x for i in ordered for x in identifiers_of(i.candidate.file, i.header)})
    census = take_census(one.header for one in ordered if one.header is not None)
    broken = broken_uids((one.header.sop_uid, one.pixels) for one in ordered if one.header is not None)
    members = memberships([(one.candidate, one.header) for one in ordered], labels, census)
    rejected: list[Rejection] = []
    labelled: list[LabelledFile] = []
    for one, member in zip(ordered, members, strict=True):
        if one.rejection is not None:
            rejected.append(one.rejection)
        elif isinstance(member.label, RowProblem):
            rejected.append(member.label.rejection(member.file))
        elif member.header is not None:
            labelled.append(LabelledFile(member.file, member.header, member.label, member.label_by, one.pixels))

    labelled, contradictory = assign_images(labelled)
    valid = _valid_exams(labelled, config, census)
    rejected += contradictory + valid.rejected
    exams, files = valid.exams, valid.files
    patients = patients_of(exams, census)
    of_patient: dict[str, list[str]] = defaultdict(list)
    for name in exams:
        of_patient[patients.of[name]].append(name)

    accepted: list[PlannedView] = []
    for patient, names in of_patient.items():
        patient_hash = keyed_hash(patient, key, "patient")
        named = sorted({v.label.split for name in names for v in exams[name] if v.label.split})
        if len(named) > 1:
            allowed = "a patient belongs to one split, correct the rows"
            conflict = RowProblem(RejectionReason.SPLIT_CONFLICT, "column split", " and ".join(named), allowed)
            rejected += [conflict.rejection(v.file) for name in names for i in exams[name] for v in files[i.image]]
            continue
        split = split_of(patient_hash, config.splits, config.split_seed, named[0] if named else "")
        for name in names:
            by = exam_by(exams[name], census)
            corrected = corrected_id([v.header for v in exams[name]], census)
            remarks = (Remark.CORRECTED_PATIENT_ID,) if corrected else ()
            exam = _Exam(keyed_hash(name, key, "exam"), by, patient_hash, split, broken, remarks)
            for chain in _chains(exams[name]):
                first, *reserves = (planned for view in chain for planned in _planned(view, exam, files))
                accepted.append(replace(first, reserves=tuple(reserves)))
    accepted, dropped = _by_distribution(accepted, config)
    with_files = {member.exam for member in members}
    usable = {exam for exam, label in labels.items() if isinstance(label, Label)}
    return IngestPlan(
        accepted=tuple(sorted(accepted, key=lambda v: v.file)),
        left_out=in_order((*rejected, *dropped)),
        labels_without_files=len(usable - with_files),
        bad_labels=len(labels) - len(usable),
        exams=exams_of(members, key),
        warnings=(patients.warning,) if patients.warning else (),
    )


def unlabelled_files(inspected: Iterable[InspectedFile], planned: IngestPlan) -> list[tuple[str, ViewHeader | None]]:
    """Return the files that are rejected because they have no label, with their headers if they are readable."""
    files = {rejection.file for rejection in planned.rejected if rejection.reason is RejectionReason.NO_LABEL}
    return [(one.candidate.file, one.header) for one in inspected if one.candidate.file in files]
