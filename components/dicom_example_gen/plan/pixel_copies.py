"""Copies of an image under other identifiers, found by their pixels once they are decoded.

An archive exported or pseudonymised twice holds the same images with new UIDs, often as another patient, who may fall
into another split: the network would then be judged on images that it was trained on. Rules:

    1. Equal images that are given different densities or views are all left out: nobody knows which is right.
    2. Patients who share an image are one person. Of them, the one with the first file by name leads. Images of those
       whose split differs from the leader's are left out: as a copy (``duplicate``) where the same pixels are kept,
       else as ``split_conflict``.
    3. Of what remains, one of equal images is kept: that of the leading patient, of those that of the exam with the
       first file by name, of those the first by name. So one whole exam is kept, not parts of two.
    4. The reserves of an image that is left out are left out with it: of an exam exported twice, they are copies too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from components.common.connected import leaders
from components.dicom.rejections import Rejection, RejectionReason
from components.dicom_example_gen.plan.ingest_plan import PlannedView
from components.sources.labels import RowProblem

_TAG: Final = "pixels"


def _first_files(views: Iterable[PlannedView], exam: bool) -> dict[str, str]:
    first: dict[str, str] = {}
    for view in sorted(views, key=lambda v: v.file):
        first.setdefault(view.exam_hash if exam else view.patient_hash, view.file)
    return first


def _contradiction(group: Sequence[PlannedView]) -> RowProblem | None:
    densities, views = sorted({view.density for view in group}), sorted({view.view for view in group})
    if len(densities) > 1:
        allowed = "equal images must have one density, correct the labels"
        return RowProblem(RejectionReason.INVALID_LABEL, f"density of equal {_TAG}", " and ".join(densities), allowed)
    if len(views) > 1:
        allowed = "equal images must be one view, name it in a manifest"
        return RowProblem(RejectionReason.UNKNOWN_VIEW, f"view of equal {_TAG}", " and ".join(views), allowed)
    return None


def _with(rejection: Rejection, reserve: PlannedView, view: PlannedView, kept: PlannedView | None) -> Rejection:
    """Says why a reserve is left out with its view."""
    if reserve.image == view.image or rejection.reason is RejectionReason.SPLIT_CONFLICT:
        return replace(rejection, file=reserve.file)
    if kept is not None:
        return kept.duplicate(reserve)
    return replace(rejection, file=reserve.file, value=f"{rejection.value}, of {view.file}, the best of this view")


def pixel_copies(views: Sequence[PlannedView], digests: Mapping[str, str]) -> list[Rejection]:
    """Finds the images that must be left out because their pixels came in another file.

    Args:
        views: Accepted views, with their reserves.
        digests: File -> hash of its decoded pixels, for those that were decoded.

    Returns:
        Rejections, sorted by file; the rules are in the module's text.
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
    persons = leaders(([view.patient_hash for view in group] for group in shared), lambda patient: patients[patient])
    conflicting = {patient for patient, leader in persons.items() if splits[patient] != splits[leader]}

    contradictory = {digests[group[0].file]: problem for group in shared if (problem := _contradiction(group))}
    kept: dict[str, PlannedView] = {}
    rejected: list[Rejection] = []
    in_order = sorted(views, key=lambda v: (patients[v.patient_hash], exams[v.exam_hash], v.file))
    # Those of conflicting patients last, so that all that is kept is known by then.
    for view in sorted(in_order, key=lambda v: v.patient_hash in conflicting):
        digest = digests.get(view.file, "")
        if digest in contradictory:
            rejected.append(contradictory[digest].rejection(view.file))
        elif digest in kept:
            value, remedy = f"those of {kept[digest].file}", "one of equal images is kept, remove the copy"
            rejected.append(Rejection(RejectionReason.DUPLICATE, view.file, _TAG, value, remedy))
        elif view.patient_hash in conflicting:
            value = f"shared with a patient of split {splits[persons[view.patient_hash]]} by another image"
            remedy = "patients who share images are one person, give them one patient identifier"
            rejected.append(Rejection(RejectionReason.SPLIT_CONFLICT, view.file, _TAG, value, remedy))
        elif digest:
            kept[digest] = view
            continue
        else:
            continue
        rejected += [_with(rejected[-1], reserve, view, kept.get(digest)) for reserve in view.reserves]
    return sorted(rejected, key=lambda rejection: rejection.file)
