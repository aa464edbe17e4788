"""From headers and labels to the plan of ingest: which files become examples, of whom, in which split.

A pure function: the same outcomes, labels, configuration and key give the same plan, whatever order they come
in. Each candidate ends in exactly one place, accepted or rejected. Rules, in the order in which they apply:

    1. Exam: a row of the source names it, or ``label_keys`` finds it.
    2. Duplicates: of rows that name one file, or files of equal SOP Instance UID and pixels, the first by name is kept;
       where they are given different densities or views, all are left out. Files of equal pixels: see ``pixel_copies``.
    3. An exam has one density and at most one patient named by the CSV; where rows differ all its files are left out.
       So they are where headers tell several women or several exams (``exams.contradictions``); but rows that name each
       image's exam are believed, and as to women, rows that name each image's patient. A study whose images the labels
       give different densities is left out too.
    4. Patient: see ``patients``.
    5. Split: as the CSV names it for any exam of the patient, else by the hash of the patient. A patient
       named in two splits is left out, for it would leak from one into the other.
    6. Several images of one view in an exam: the best by ``header.view_rank`` is kept, of equals the first by
       name.
    7. Where a distribution is configured, whole exams are left out, see ``distribution``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from components.common.location import Location
from components.dicom_example_gen.acceptance import STANDARD_ONLY, AcceptanceConfig
from components.dicom_example_gen.candidates import Candidate
from components.dicom_example_gen.census import take_census
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.distribution import left_out
from components.dicom_example_gen.exam_problems import exam_by, exam_problem, torn_studies
from components.dicom_example_gen.header import ViewHeader, view_rank
from components.dicom_example_gen.identity import keyed_hash
from components.dicom_example_gen.label_hints import keys_of
from components.dicom_example_gen.labels import Label, RowProblem
from components.dicom_example_gen.membership import PlannedExam, exams_of, memberships
from components.dicom_example_gen.patients import patients_of
from components.dicom_example_gen.reading import pixel_data_sha256, read_header
from components.dicom_example_gen.rejections import IngestError, Rejection, RejectionReason
from components.dicom_example_gen.remarks import Remark, joined
from components.dicom_example_gen.splits import split_of
from components.dicom_example_gen.uid_copies import Labelled, broken_uids, sharing, without_duplicates
from components.dicom_example_gen.whole_ids import with_whole_ids
from schema.acquisition import AcquisitionSystem
from schema.features import UNKNOWN_INT


@dataclass(frozen=True)
class Outcome:
    """What reading a candidate's header gave: a header, or a rejection.

    Attributes:
        candidate: The candidate.
        header: Its header, or None.
        rejection: Why it is left out, or None.
        pixels: Hash of its pixel data as they are stored, of files that share their SOP Instance UID; else empty.
    """

    candidate: Candidate
    header: ViewHeader | None = None
    rejection: Rejection | None = None
    pixels: str = ""


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
        exam_by: What makes it one of its exam's images: ``study``, or as ``label_by``.
        label_by: What gave it its label: ``row``, or the kind of key (see ``label_keys``).
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
    exam_by: str = ""
    label_by: str = ""


@dataclass(frozen=True)
class _Exam:
    """What an exam's views have in common."""

    exam_hash: str
    exam_by: str


@dataclass(frozen=True)
class IngestPlan:
    """What becomes of each candidate.

    Attributes:
        accepted: Files that become examples, sorted by file.
        rejected: Files that are left out, sorted by file.
        labels_without_files: Exams with a sound row in the labels that no file belongs to.
        bad_labels: Exams whose row in the labels is not.
        exams: All exams that files belong to.
        warnings: Sentences on the archive as a whole; they identify nobody.
    """

    accepted: tuple[PlannedView, ...]
    rejected: tuple[Rejection, ...]
    labels_without_files: int = 0
    bad_labels: int = 0
    exams: tuple[PlannedExam, ...] = ()
    warnings: tuple[str, ...] = ()


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


def inspect_pixels(
    outcome: Outcome, root: Location, max_pixels: int, acceptance: AcceptanceConfig = STANDARD_ONLY
) -> Outcome:
    """Hashes the pixel data of a file that shares its SOP Instance UID, as they are stored; decodes nothing.

    Args:
        outcome: What :func:`inspect` gave, with a header.
        root: Folder that its name is relative to.
        max_pixels: Largest matrix that will be decoded.
        acceptance: Special cases that are accepted.

    Returns:
        The outcome with the hash; a file that cannot be read any more is a copy of none.
    """
    candidate = outcome.candidate
    try:
        pixels = pixel_data_sha256(root / candidate.file, candidate.view, max_pixels, acceptance)
    except IngestError:
        pixels = f"unreadable {candidate.file}"
    return replace(outcome, pixels=pixels)


def sharing_uids(outcomes: Sequence[Outcome]) -> list[int]:
    """Returns the positions of the outcomes whose pixel data must be hashed: another file has the same UID."""
    return sharing([(o.candidate.file, o.header.sop_uid if o.header is not None else "") for o in outcomes])


def _grouped(views: Iterable[Labelled], key: Callable[[Labelled], str]) -> dict[str, list[Labelled]]:
    groups: dict[str, list[Labelled]] = defaultdict(list)
    for view in views:
        groups[key(view)].append(view)
    return groups


def _one_of_each_view(exam: Sequence[Labelled]) -> tuple[list[Labelled], list[Rejection]]:
    kept: list[Labelled] = []
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


def _planned(view: Labelled, exam: _Exam, patient_hash: str, split: str, broken: Collection[str]) -> PlannedView:
    header, label = view.header, view.label
    return PlannedView(
        file=view.file,
        view=header.view,
        exam_hash=exam.exam_hash,
        patient_hash=patient_hash,
        split=split,
        density=label.density,
        patient_age=label.age if label.age != UNKNOWN_INT else header.patient_age,
        acquisition_year=header.acquisition_year,
        system=header.system,
        acquisition_system=label.acquisition_system or header.system.key,
        remarks=joined(header.remarks, (Remark.BROKEN_UID,) if header.sop_uid in broken else ()),
        exam_by=exam.exam_by,
        label_by=view.label_by,
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
    labels = with_whole_ids(labels, lambda: {key for o in ordered for key in keys_of(o.candidate.file, o.header)})
    census = take_census(outcome.header for outcome in ordered if outcome.header is not None)
    broken = broken_uids((o.header.sop_uid, o.pixels) for o in ordered if o.header is not None)
    members = memberships([(outcome.candidate, outcome.header) for outcome in ordered], labels, census)
    rejected: list[Rejection] = []
    labelled: list[Labelled] = []
    for outcome, member in zip(ordered, members, strict=True):
        if outcome.rejection is not None:
            rejected.append(outcome.rejection)
        elif isinstance(member.label, RowProblem):
            rejected.append(member.label.rejection(member.file))
        elif member.header is not None:
            labelled.append(Labelled(member.file, member.header, member.label, member.label_by, outcome.pixels))

    unique, copies = without_duplicates(labelled)
    rejected += copies
    by_exam = _grouped(unique, lambda v: v.label.exam_id)
    torn = torn_studies(by_exam, census)
    exams: dict[str, list[Labelled]] = {}
    for name, views in by_exam.items():
        problem = torn.get(name) or exam_problem(views, config, census)
        if problem is not None:
            rejected += [problem.rejection(v.file) for v in views]
        else:
            exams[name] = views
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
            rejected += [conflict.rejection(v.file) for name in names for v in exams[name]]
            continue
        split = split_of(patient_hash, config.splits, config.split_seed, named[0] if named else "")
        for name in names:
            kept, others = _one_of_each_view(exams[name])
            rejected += others
            exam = _Exam(keyed_hash(name, key, "exam"), exam_by(exams[name], census))
            accepted += [_planned(v, exam, patient_hash, split, broken) for v in kept]
    accepted, dropped = _by_distribution(accepted, config)
    with_files = {member.exam for member in members}
    sound = {exam for exam, label in labels.items() if isinstance(label, Label)}
    return IngestPlan(
        accepted=tuple(sorted(accepted, key=lambda v: v.file)),
        rejected=tuple(sorted((*rejected, *dropped), key=lambda r: (r.file, r.reason.value))),
        labels_without_files=len(sound - with_files),
        bad_labels=len(labels) - len(sound),
        exams=exams_of(members, key),
        warnings=(patients.warning,) if patients.warning else (),
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
