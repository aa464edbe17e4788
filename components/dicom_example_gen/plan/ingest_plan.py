"""The plan of ingest before and after decoding: which files become examples, and which are rejected.

One image per view of an exam becomes an example. The others are its reserves, the best first: if its pixels are not
usable, the next reserve replaces it. The rejections of reserves (``duplicate_view``) are derived, not stored, so that
they always name the file that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from components.dicom.headers import tags
from components.dicom.rejections import Rejection, RejectionReason
from components.dicom.remarks import Remark, joined
from components.dicom_example_gen.plan.membership import PlannedExam
from components.sources.candidates import Readings
from schema.acquisition import AcquisitionSystem

_UID: Final = tags.tag_name("SOPInstanceUID")


@dataclass(frozen=True)
class PlannedView:
    """One file that becomes an example. Only its file name may identify a person.

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
        remarks: Remarks on how the file was read.
        exam_by: What assigns it to its exam: ``study``, or as ``label_by``.
        label_by: Origin of its label: ``row``, or the kind of key (see ``label_keys``).
        image: Name of the image: the first of the files with its SOP Instance UID and pixel data.
        readings: Density of the exam by reader, if it has several readers.
        reserves: Other images of this view of the exam, and copies, in the order in which they would replace it.
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
    readings: Readings = ()
    reserves: tuple[PlannedView, ...] = ()

    @property
    def images(self) -> tuple[PlannedView, ...]:
        """The view and its reserves."""
        return (self, *self.reserves)

    def duplicate(self, reserve: PlannedView) -> Rejection:
        """Return the rejection of a reserve, because this image is kept."""
        if reserve.image != self.image:
            value = f"{self.view}, as that of {self.file}"
            remedy = "one image of a view is kept: the least special, the largest, the latest, the first by name"
            return Rejection(RejectionReason.DUPLICATE_VIEW, reserve.file, "view", value, remedy)
        tag = "file" if reserve.file == self.file else _UID
        remedy = "one file of an image is kept, remove the copy"
        return Rejection(RejectionReason.DUPLICATE, reserve.file, tag, f"that of {self.file}", remedy)


@dataclass(frozen=True)
class IngestPlan:
    """Result for each candidate.

    Attributes:
        accepted: Files that become examples, sorted by file.
        left_out: Rejections that do not depend on another image, sorted by file; without those of reserves.
        labels_without_files: Exams with a valid label and without files.
        bad_labels: Exams whose label is not valid.
        exams: All exams of the files.
        warnings: Warnings about the archive as a whole; they do not identify anyone.
    """

    accepted: tuple[PlannedView, ...]
    left_out: tuple[Rejection, ...]
    labels_without_files: int = 0
    bad_labels: int = 0
    exams: tuple[PlannedExam, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def rejected(self) -> tuple[Rejection, ...]:
        """All rejections, also those of reserves, sorted by file."""
        reserves = (view.duplicate(reserve) for view in self.accepted for reserve in view.reserves)
        return in_order((*self.left_out, *reserves))


def in_order(rejections: Iterable[Rejection]) -> tuple[Rejection, ...]:
    """Return rejections sorted by file."""
    return tuple(sorted(rejections, key=lambda r: (r.file, r.reason.value)))


def replace_unusable(
    planned: IngestPlan, late: Iterable[Rejection], remarks: Mapping[str, Iterable[Remark]] | None = None
) -> IngestPlan:
    """Replace each image with unusable pixels by its next reserve.

    Args:
        planned: The plan.
        late: Rejections while decoding, of accepted files and of reserves that were tried instead.
        remarks: File -> remarks of decoding; files without remarks may be absent.

    Returns:
        The plan after decoding; the number of files stays the same.
    """
    failed = {rejection.file: rejection for rejection in late}
    accepted: list[PlannedView] = []
    left_out = list(planned.left_out)
    for view in planned.accepted:
        left_out += [failed[image.file] for image in view.images if image.file in failed]
        sound = [image for image in view.images if image.file not in failed]
        if sound:
            all_remarks = joined(sound[0].remarks, (remarks or {}).get(sound[0].file, ()))
            accepted.append(replace(sound[0], remarks=all_remarks, reserves=tuple(sound[1:])))
    accepted.sort(key=lambda view: view.file)
    return replace(planned, accepted=tuple(accepted), left_out=in_order(left_out))


def reject_views(planned: IngestPlan, rejections: Iterable[Rejection]) -> IngestPlan:
    """Reject accepted views with all their images.

    Args:
        planned: The plan.
        rejections: One rejection per image of these views.

    Returns:
        The plan without these views; the number of files stays the same.
    """
    rejections = list(rejections)
    files = {rejection.file for rejection in rejections}
    accepted = tuple(view for view in planned.accepted if view.file not in files)
    return replace(planned, accepted=accepted, left_out=in_order((*planned.left_out, *rejections)))
