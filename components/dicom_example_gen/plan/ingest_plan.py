"""The plan of ingest as it is made, and as it is carried out: which files become examples, and which are left out.

Of each view of an exam one image becomes an example. The others stay behind it as reserves, the best first: where its
pixels turn out to be unusable, the next takes its place. That a reserve is left out as ``duplicate_view`` is not
written down but read off, so that it always names the file that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from components.dicom.headers import tags
from components.dicom.rejections import Rejection, RejectionReason
from components.dicom.remarks import Remark, joined
from components.dicom_example_gen.plan.membership import PlannedExam
from schema.acquisition import AcquisitionSystem

_UID: Final = tags.tag_name("SOPInstanceUID")


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
        image: The image's name: the first of the files that are one image by SOP Instance UID and pixel data.
        reserves: Other images of this view of the exam, and copies, in the order in which they would take its place.
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
    image: str = ""
    reserves: tuple[PlannedView, ...] = ()

    @property
    def images(self) -> tuple[PlannedView, ...]:
        """The view and its reserves."""
        return (self, *self.reserves)

    def duplicate(self, reserve: PlannedView) -> Rejection:
        """Says that a reserve of this view is left out, because this one is kept."""
        if reserve.image != self.image:
            value = f"{self.view}, as that of {self.file}"
            remedy = "one image of a view is kept: the least special, the largest, the latest, the first by name"
            return Rejection(RejectionReason.DUPLICATE_VIEW, reserve.file, "view", value, remedy)
        tag = "file" if reserve.file == self.file else _UID
        remedy = "one file of an image is kept, remove the copy"
        return Rejection(RejectionReason.DUPLICATE, reserve.file, tag, f"that of {self.file}", remedy)


@dataclass(frozen=True)
class IngestPlan:
    """What becomes of each candidate.

    Attributes:
        accepted: Files that become examples, sorted by file.
        left_out: Files that are left out for a reason of their own, sorted by file.
        labels_without_files: Exams with a sound row in the labels that no file belongs to.
        bad_labels: Exams whose row in the labels is not.
        exams: All exams that files belong to.
        warnings: Sentences on the archive as a whole; they identify nobody.
    """

    accepted: tuple[PlannedView, ...]
    left_out: tuple[Rejection, ...]
    labels_without_files: int = 0
    bad_labels: int = 0
    exams: tuple[PlannedExam, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def rejected(self) -> tuple[Rejection, ...]:
        """All files that are left out, sorted by file: reserves too."""
        reserves = (view.duplicate(reserve) for view in self.accepted for reserve in view.reserves)
        return in_order((*self.left_out, *reserves))


def in_order(rejections: Iterable[Rejection]) -> tuple[Rejection, ...]:
    """Sorts rejections by file."""
    return tuple(sorted(rejections, key=lambda r: (r.file, r.reason.value)))


def settle(
    planned: IngestPlan, late: Iterable[Rejection], remarks: Mapping[str, Iterable[Remark]] | None = None
) -> IngestPlan:
    """Puts the next reserve in the place of each image whose pixels turned out to be unusable.

    Args:
        planned: The plan.
        late: Rejections of accepted files and of reserves that were tried in their place.
        remarks: File -> what decoding has to tell of it; files without any may be absent.

    Returns:
        The plan as it was carried out; the count of files stays the same.
    """
    failed = {rejection.file: rejection for rejection in late}
    accepted: list[PlannedView] = []
    left_out = list(planned.left_out)
    for view in planned.accepted:
        left_out += [failed[image.file] for image in view.images if image.file in failed]
        sound = [image for image in view.images if image.file not in failed]
        if sound:
            told = joined(sound[0].remarks, (remarks or {}).get(sound[0].file, ()))
            accepted.append(replace(sound[0], remarks=told, reserves=tuple(sound[1:])))
    accepted.sort(key=lambda view: view.file)
    return replace(planned, accepted=tuple(accepted), left_out=in_order(left_out))


def leave_out(planned: IngestPlan, rejections: Iterable[Rejection]) -> IngestPlan:
    """Leaves views out with all their images.

    Args:
        planned: The plan.
        rejections: Of each image of these views, one.

    Returns:
        The plan without them; the count of files stays the same.
    """
    rejections = list(rejections)
    files = {rejection.file for rejection in rejections}
    accepted = tuple(view for view in planned.accepted if view.file not in files)
    return replace(planned, accepted=accepted, left_out=in_order((*planned.left_out, *rejections)))
