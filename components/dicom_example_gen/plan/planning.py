"""From headers and labels to the plan of ingest: which files become examples, of whom, in which split.

A pure function: the same outcomes, labels, configuration and key give the same plan, whatever order they come
in. Each candidate ends in exactly one place, accepted or rejected. Rules, in the order in which they apply:

    1. Exam: a row of the source names it, or ``label_keys`` finds it.
    2. Copies: rows that name one file, and files of equal SOP Instance UID and pixels, are one image; where they are
       given different densities or views, all are left out. An image is of the first sound exam that holds it, in the
       order of exams' first files. Files of equal pixels: see ``pixel_copies``.
    3. An exam has one density and at most one patient named by the CSV; where rows differ all its files are left out.
       So they are where headers tell several women or several exams (``exams.contradictions``); but rows that name each
       image's exam are believed, and as to women, rows that name each image's patient. A study whose images the labels
       give different densities is left out too.
    4. Patient: see ``patients``.
    5. Split: as the CSV names it for any exam of the patient, else by the hash of the patient. A patient
       named in two splits is left out, for it would leak from one into the other.
    6. Several images of one view in an exam: the best by ``header.view_rank`` is kept, of equals the first by
       name. The others are its reserves, see ``ingest_plan``; a copy comes next after its image.
    7. Where a distribution is configured, whole exams are left out, see ``distribution``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from components.common.location import Location
from components.dicom.acceptance import STANDARD_ONLY, AcceptanceConfig
from components.dicom.headers.header import ViewHeader, view_rank
from components.dicom.reading import pixel_data_sha256, read_header
from components.dicom.rejections import IngestError, Rejection, RejectionReason
from components.dicom.remarks import Remark, joined
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.exam_problems import exam_by, exam_problem, studies_are_series, torn_studies
from components.dicom_example_gen.plan.identity import keyed_hash
from components.dicom_example_gen.plan.ingest_plan import IngestPlan, PlannedView, in_order
from components.dicom_example_gen.plan.label_hints import keys_of
from components.dicom_example_gen.plan.membership import exams_of, memberships
from components.dicom_example_gen.plan.patients import patients_of
from components.dicom_example_gen.plan.splits import split_of
from components.dicom_example_gen.plan.uid_copies import Labelled, broken_uids, sharing, with_images
from components.dicom_example_gen.plan.whole_ids import with_whole_ids
from components.exams.census import take_census
from components.exams.distribution import left_out
from components.exams.evidence import Census, corrected_id
from components.sources.candidates import Candidate
from components.sources.labels import Label, RowProblem
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
class _Exam:
    """What an exam's views have in common."""

    exam_hash: str
    exam_by: str
    patient_hash: str
    split: str
    broken_uids: Collection[str]
    remarks: tuple[Remark, ...]


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


def _chains(exam: Sequence[Labelled]) -> list[list[Labelled]]:
    """Ranks the images of each view, the best first."""
    views = _grouped(exam, lambda v: v.header.view).values()
    # Sorting keeps the order of equals, and images are sorted by name.
    return [sorted(images, key=lambda v: view_rank(v.header), reverse=True) for images in views]


def _planned(view: Labelled, exam: _Exam, files: Mapping[str, Sequence[Labelled]]) -> list[PlannedView]:
    """Plans the files of an image, under the label of the first."""
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
            acquisition_system=label.acquisition_system or header.system.key,
            remarks=joined(
                header.remarks, exam.remarks, (Remark.BROKEN_UID,) if header.sop_uid in exam.broken_uids else ()
            ),
            exam_by=exam.exam_by,
            label_by=view.label_by,
            image=view.image,
        )
        for copy in files[view.image]
        for header in (copy.header,)
    ]


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
        for view in views
        if view.exam_hash in dropped
        for v in view.images
    ]


@dataclass(frozen=True)
class _Sound:
    """Exams that nothing is wrong with.

    Attributes:
        exams: exam_id -> the first file of each image, by name.
        files: Image -> its files: those in its exam first, each group by name.
        rejected: Files of other exams.
    """

    exams: Mapping[str, list[Labelled]]
    files: Mapping[str, list[Labelled]]
    rejected: list[Rejection]


def _sound_exams(labelled: Sequence[Labelled], config: IngestConfig, census: Census) -> _Sound:
    by_exam = _grouped(labelled, lambda v: v.label.exam_id)
    if studies_are_series(by_exam, census):
        census = replace(census, per_image=True)
    torn = torn_studies(by_exam, census)
    exams: dict[str, list[Labelled]] = {}
    files: dict[str, list[Labelled]] = {}
    rejected: list[Rejection] = []
    for name, views in by_exam.items():
        own = [view for view in views if view.image not in files]  # not of an exam before
        first: dict[str, Labelled] = {}
        for view in own:
            first.setdefault(view.image, view)
        images = list(first.values())
        problem = (torn.get(name) or exam_problem(images, config, census)) if own else None
        if problem is not None:
            rejected += [problem.rejection(view.file) for view in own]
        elif own:
            exams[name] = images
            files |= {image: [] for image in first}
        for view in views:
            if view.image in files:
                files[view.image].append(view)
    return _Sound(exams, files, rejected)


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

    labelled, contradictory = with_images(labelled)
    sound = _sound_exams(labelled, config, census)
    rejected += contradictory + sound.rejected
    exams, files = sound.exams, sound.files
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
            told = (Remark.CORRECTED_PATIENT_ID,) if corrected else ()
            exam = _Exam(keyed_hash(name, key, "exam"), by, patient_hash, split, broken, told)
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


def without_label(outcomes: Iterable[Outcome], planned: IngestPlan) -> list[tuple[str, ViewHeader | None]]:
    """Lists the files that are left out for want of a label, with their headers as far as they were read."""
    files = {rejection.file for rejection in planned.rejected if rejection.reason is RejectionReason.NO_LABEL}
    return [(outcome.candidate.file, outcome.header) for outcome in outcomes if outcome.candidate.file in files]
