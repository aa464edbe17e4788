"""Copies of images: files with the same SOP Instance UID (0008,0018) and pixel data, and files with the same pixels.

**By UID, before decoding.** A copy of a file has its UID and its pixel data. The same UID with other pixel data is a
broken UID, because some anonymisers write one UID for all images: it joins nothing, and the files get a remark. Only
the pixel data show the difference. They are hashed as stored, and only for files that share a UID. The same image in
two compressions counts as two images here; the comparison of decoded pixels finds it.

**By pixels, after decoding.** An archive that was exported or pseudonymised twice contains the same images with new
UIDs, often as another patient, who may be in another split. Then the test images would include training images. Rules:

    1. Equal images with different densities or views are all rejected, because nobody knows which is right.
    2. Patients who share an image are one person, represented by the patient with the first file by name. Images of
       patients in another split than their representative are rejected: as a copy (``duplicate``) if the same pixels
       are kept, else as ``split_conflict``.
    3. Of the remaining equal images, one is kept: that of the representative patient, then of the exam with the first
       file by name, then the first by name. So one whole exam is kept, not parts of two.
    4. The reserves of a rejected image are rejected too: in an exam that was exported twice, they are copies as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from components.common.union_find import representatives
from components.dicom.headers import tags
from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import Rejection, RejectionReason
from components.dicom_example_gen.plan.ingest_plan import PlannedView
from components.sources.candidates import Label
from components.sources.tables import RowProblem

_UID: Final = tags.tag_name("SOPInstanceUID")
_PIXELS: Final = "pixels"


@dataclass(frozen=True)
class LabelledFile:
    """A file with header and label. It identifies a person, so it stays inside planning.

    Attributes:
        file: File.
        header: Its header.
        label: Its label.
        label_by: Origin of the label, such as ``folder level 1``; ``row`` if a row names the file.
        pixels: Hash of its pixel data as stored, empty if no other file has its UID.
        image: Name of its image, see :func:`assign_images`.
    """

    file: str
    header: ViewHeader
    label: Label
    label_by: str
    pixels: str = ""
    image: str = ""


def shared_uids(files: Sequence[tuple[str, str]]) -> list[int]:
    """Find the files whose SOP Instance UID another file has too.

    Args:
        files: File names, each with its SOP Instance UID, empty = unknown.

    Returns:
        Their positions.
    """
    first: dict[str, str] = {}
    shared: set[str] = set()
    for name, uid in files:
        if first.setdefault(uid, name) != name:
            shared.add(uid)
    return [position for position, (_, uid) in enumerate(files) if uid and uid in shared]


def broken_uids(images: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the UIDs of several images; each image is given as UID and hash of its pixel data."""
    hashes: dict[str, set[str]] = defaultdict(set)
    for uid, pixels in images:
        hashes[uid].add(pixels)
    return frozenset(uid for uid, found in hashes.items() if uid and len(found) > 1)


def _copies_by_uid(files: Iterable[LabelledFile]) -> list[list[LabelledFile]]:
    """Group the files of each image: one file that is named twice, or files of equal UID and pixel data."""
    groups: list[list[LabelledFile]] = []
    by_mark: dict[tuple[str, ...], list[LabelledFile]] = {}
    for file in files:
        marks: list[tuple[str, ...]] = [("file", file.file)]
        if file.header.sop_uid:
            marks.append(("uid", file.header.sop_uid, file.pixels))
        group = next((by_mark[mark] for mark in marks if mark in by_mark), None)
        if group is None:
            groups.append(group := [])
        group.append(file)
        for mark in marks:
            by_mark.setdefault(mark, group)
    return groups


def _uid_contradiction(copies: Sequence[LabelledFile]) -> RowProblem | None:
    """Return the contradiction between the rows of one image, or None."""
    densities, views = ({v.label.density for v in copies}, {v.header.view for v in copies})
    one_file = len({v.file for v in copies}) == 1
    where, what = ("column", "rows of one image") if one_file else (f"equal {_UID} and pixels,", "copies of one image")
    if len(densities) > 1:
        allowed = f"{what} must have one density"
        return RowProblem(RejectionReason.INVALID_LABEL, f"{where} density", " and ".join(sorted(densities)), allowed)
    if len(views) > 1:
        allowed = f"{what} must have one view"
        return RowProblem(RejectionReason.INVALID_ROW, f"{where} view", " and ".join(sorted(views)), allowed)
    return None


def assign_images(files: Sequence[LabelledFile]) -> tuple[list[LabelledFile], list[Rejection]]:
    """Assign each file to its image, which has the name of its first file.

    Args:
        files: Files, sorted by name.

    Returns:
        The files, sorted, and the rejections of those that contradict a copy.
    """
    assigned: list[LabelledFile] = []
    rejected: list[Rejection] = []
    for copies in _copies_by_uid(files):
        problem = _uid_contradiction(copies)
        if problem is not None:
            rejected += [problem.rejection(file.file) for file in copies]
        else:
            assigned += [replace(file, image=copies[0].file) for file in copies]
    return sorted(assigned, key=lambda file: file.file), rejected


def _first_files(views: Iterable[PlannedView], exam: bool) -> dict[str, str]:
    first: dict[str, str] = {}
    for view in sorted(views, key=lambda v: v.file):
        first.setdefault(view.exam_hash if exam else view.patient_hash, view.file)
    return first


def _pixel_contradiction(group: Sequence[PlannedView]) -> RowProblem | None:
    densities, views = sorted({view.density for view in group}), sorted({view.view for view in group})
    if len(densities) > 1:
        where, allowed = f"density of equal {_PIXELS}", "equal images must have one density, correct the labels"
        return RowProblem(RejectionReason.INVALID_LABEL, where, " and ".join(densities), allowed)
    if len(views) > 1:
        where, allowed = f"view of equal {_PIXELS}", "equal images must be one view, name it in a manifest"
        return RowProblem(RejectionReason.UNKNOWN_VIEW, where, " and ".join(views), allowed)
    return None


def _reserve_rejection(
    rejection: Rejection, reserve: PlannedView, view: PlannedView, kept: PlannedView | None
) -> Rejection:
    """Return the rejection of a reserve whose view is rejected."""
    if reserve.image == view.image or rejection.reason is RejectionReason.SPLIT_CONFLICT:
        return replace(rejection, file=reserve.file)
    if kept is not None:
        return kept.duplicate(reserve)
    return replace(rejection, file=reserve.file, value=f"{rejection.value}, of {view.file}, the best of this view")


def pixel_copies(views: Sequence[PlannedView], digests: Mapping[str, str]) -> list[Rejection]:
    """Reject the images whose pixels another file has too; see the module for the rules.

    Args:
        views: Accepted views, with their reserves.
        digests: File -> hash of its decoded pixels, for the decoded files.

    Returns:
        Rejections, sorted by file.
    """
    by_digest: dict[str, list[PlannedView]] = defaultdict(list)
    for view in views:
        if view.file in digests:
            by_digest[digests[view.file]].append(view)
    shared = [group for group in by_digest.values() if len(group) > 1]
    if not shared:
        return []
    patients, exams = _first_files(views, exam=False), _first_files(views, exam=True)
    splits = {view.patient_hash: view.split for view in views}
    sharing = ([view.patient_hash for view in group] for group in shared)
    persons = representatives(sharing, lambda patient: patients[patient])
    conflicting = {patient for patient, person in persons.items() if splits[patient] != splits[person]}

    contradictory = {digests[group[0].file]: problem for group in shared if (problem := _pixel_contradiction(group))}
    kept: dict[str, PlannedView] = {}
    rejected: list[Rejection] = []
    in_order = sorted(views, key=lambda v: (patients[v.patient_hash], exams[v.exam_hash], v.file))
    # Views of conflicting patients come last, when all kept views are known.
    for view in sorted(in_order, key=lambda v: v.patient_hash in conflicting):
        digest = digests.get(view.file, "")
        if digest in contradictory:
            rejected.append(contradictory[digest].rejection(view.file))
        elif digest in kept:
            value, remedy = f"those of {kept[digest].file}", "one of equal images is kept, remove the copy"
            rejected.append(Rejection(RejectionReason.DUPLICATE, view.file, _PIXELS, value, remedy))
        elif view.patient_hash in conflicting:
            value = f"shared with a patient of split {splits[persons[view.patient_hash]]} by another image"
            remedy = "patients who share images are one person, give them one patient identifier"
            rejected.append(Rejection(RejectionReason.SPLIT_CONFLICT, view.file, _PIXELS, value, remedy))
        elif digest:
            kept[digest] = view
            continue
        else:
            continue
        rejected += [_reserve_rejection(rejected[-1], reserve, view, kept.get(digest)) for reserve in view.reserves]
    return sorted(rejected, key=lambda rejection: rejection.file)
