"""Decide whether a file is a mammogram: the rule for all files, and the rule for files that a person vouches for.

Plain evidence is Modality ``MG``, or a modality of projection radiographs (or none) with a mammography SOP class or
Body Part ``BREAST``. The SOP class is that of the data set. If the data set has none, that of the file meta information
is used, because stripped files keep it. It can also contradict: a standard class for other images overrides the Body
Part.

A person who names the view (``preprocess --view``, a manifest, a table of an archive) vouches for a file without
evidence of mammography. Three conditions must hold: its modality is one of projection radiographs, ``SC`` or none; its
SOP class can contain radiographs or is absent; its body part is absent or a breast. Anything else contradicts the
person: a CT stays a CT.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    BreastProjectionXRayImageStorageForPresentation,
    BreastProjectionXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from components.dicom.headers import tags
from components.dicom.headers.special_cases import sop_class
from components.dicom.rejections import IngestError, RejectionReason, printable
from components.dicom.remarks import Remark
from schema.acquisition import DIGITAL_DETECTOR, DIGITISED_FILM, SECONDARY_CAPTURE
from schema.features import UNKNOWN

_MAMMOGRAPHY_CLASSES: Final = frozenset(
    {
        DigitalMammographyXRayImageStorageForPresentation,
        DigitalMammographyXRayImageStorageForProcessing,
        BreastTomosynthesisImageStorage,
        BreastProjectionXRayImageStorageForPresentation,
        BreastProjectionXRayImageStorageForProcessing,
    }
)
# SOP classes that can contain a radiograph of the breast without naming it.
_VOUCHABLE_CLASSES: Final = _MAMMOGRAPHY_CLASSES | {
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayRadiofluoroscopicImageStorage,
    "",
}
_DETECTOR_CLASSES: Final = _MAMMOGRAPHY_CLASSES | {
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
}
_CAPTURE_CLASSES: Final = frozenset(
    {
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        SecondaryCaptureImageStorage,
    }
)
_OF_THE_STANDARD: Final = "1.2.840.10008."
# Modalities other than MG with projection radiographs of the breast: CR plates, DX, scanned film.
_RADIOGRAPHY: Final = frozenset({"CR", "DX", "RG", "RF", "OT", ""})
_VOUCHABLE_MODALITIES: Final = _RADIOGRAPHY | {"SC"}


def _fail(file: str, keyword: str, value: str, remedy: str) -> IngestError:
    return IngestError(RejectionReason.NOT_MAMMOGRAPHY, file, tags.tag_name(keyword), printable(value), remedy)


def _is_of_other_images(sop_class_uid: str) -> bool:
    """Return True for a standard class of other images, such as CT; a manufacturer's own class is no evidence."""
    return sop_class_uid.startswith(_OF_THE_STANDARD) and sop_class_uid not in _VOUCHABLE_CLASSES


def require_mammography(dataset: Dataset, file: str, view: str | None) -> tuple[Remark, ...]:
    """Reject a file that is not a mammogram; the module docstring has the rule.

    Args:
        dataset: DICOM header.
        file: File name for error messages.
        view: View that a person named, or None.

    Returns:
        Remarks on the evidence.

    Raises:
        IngestError: ``not_mammography``.
    """
    modality, found_class = tags.code(dataset, "Modality"), sop_class(dataset)
    body_part = tags.code(dataset, "BodyPartExamined")
    if modality == "MG":
        return ()
    # A CT with a mammography SOP class is a changed copy of another object, so nothing in it can be trusted.
    is_breast = body_part == "BREAST" and not _is_of_other_images(found_class)
    if modality in _RADIOGRAPHY and (is_breast or found_class in _MAMMOGRAPHY_CLASSES):
        from_meta = body_part != "BREAST" and not tags.text(dataset, "SOPClassUID")
        return (Remark.CLASS_OF_FILE_META,) if from_meta else ()
    if modality not in _VOUCHABLE_MODALITIES:
        remedy = "Modality MG, or a radiograph with a mammography SOP class or of Body Part BREAST, is supported"
        raise _fail(file, "Modality", modality, remedy)
    if view is None:
        remedy = (
            "Modality MG, or a radiograph with a mammography SOP class or of Body Part BREAST, is supported; name its"
            " view in a manifest, or with --view, to vouch for it"
        )
        raise _fail(file, "SOPClassUID", UID(found_class).name, remedy)  # the UID of a SOP class, not of a person
    if found_class not in _VOUCHABLE_CLASSES:
        remedy = "naming its view does not make it a radiograph"
        raise _fail(file, "SOPClassUID", UID(found_class).name, remedy)
    if body_part and "BREAST" not in body_part:
        raise _fail(file, "BodyPartExamined", body_part, "naming its view does not make it a breast")
    return (Remark.VOUCHED_FOR,)


def image_kind(dataset: Dataset) -> str:
    """Return the kind of image, one of ``schema.acquisition.IMAGE_KINDS``.

    Film is Conversion Type (0008,0064) ``DF`` or Detector Type (0018,7004) ``FILM``. Most digitised films do not state
    either: they are secondary captures, as are screenshots of digital images.

    Args:
        dataset: DICOM header.
    """
    if tags.code(dataset, "ConversionType") == "DF" or tags.code(dataset, "DetectorType") == "FILM":
        return DIGITISED_FILM
    found_class = sop_class(dataset)
    if found_class in _DETECTOR_CLASSES:
        return DIGITAL_DETECTOR
    return SECONDARY_CAPTURE if found_class in _CAPTURE_CLASSES else UNKNOWN
