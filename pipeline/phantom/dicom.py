"""Write a phantom view as Digital Mammography X-Ray Image Storage - For Presentation (DICOM PS3.3 A.27)."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
)

from pipeline.phantom.appearance import Appearance
from pipeline.phantom.plan import ExamPlan
from schema.acquisition import REFERENCE_SYSTEMS, ReferenceSystem
from schema.features import VIEWS

# PS3.16 CID 4014, SNOMED CT as PS3.3 requires since 2019.
_VIEW_CODES: Final = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
# Direction of rows and columns (PS3.3 C.7.6.1.1.1): right breasts have the chest wall at the right edge.
_ORIENTATION: Final = {
    "CC_R": ["P", "L"],
    "CC_L": ["A", "R"],
    "MLO_R": ["P", "FL"],
    "MLO_L": ["A", "FR"],
}
_UID_NAMESPACE: Final = uuid.UUID("6a3c0b3e-5f0d-5c39-9a0b-2d8b1f5e7c41")


def stable_uid(*parts: object) -> str:
    """Return a UID under 2.25 (PS3.5 B.2) that depends only on the parts."""
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, '/'.join(map(str, parts))).int}"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _patient_and_study(dataset: Dataset, plan: ExamPlan, scope: tuple[object, ...]) -> None:
    dataset.PatientName = f"PHANTOM^{plan.patient_id}"
    dataset.PatientID = plan.patient_id
    dataset.PatientBirthDate = plan.birth_date.strftime("%Y%m%d")
    dataset.PatientSex = "F"
    dataset.PatientAge = f"{plan.age:03d}Y"
    dataset.StudyInstanceUID = stable_uid(*scope, plan.exam_id)
    dataset.StudyID = plan.exam_id
    dataset.AccessionNumber = plan.exam_id
    dataset.StudyDescription = "Mammography screening (phantom)"
    dataset.ReferringPhysicianName = ""
    dataset.SeriesInstanceUID = stable_uid(*scope, plan.exam_id, "series")
    dataset.SeriesNumber = 1
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.RequestAttributesSequence = Sequence([])


def _times(dataset: Dataset, plan: ExamPlan, view: str) -> None:
    day = plan.study_date.strftime("%Y%m%d")
    started = timedelta(hours=8, minutes=7 * (plan.index % 80))
    taken = started + timedelta(seconds=50 * (1 + VIEWS.index(view)))
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, name, day)
    for name, moment in (
        ("StudyTime", started),
        ("SeriesTime", started),
        ("AcquisitionTime", taken),
        ("ContentTime", taken),
    ):
        hours, rest = divmod(int(moment.total_seconds()), 3600)
        setattr(dataset, name, f"{hours:02d}{rest // 60:02d}{rest % 60:02d}")


def _equipment(dataset: Dataset, system: ReferenceSystem, appearance: Appearance) -> None:
    dataset.Manufacturer = system.dicom_manufacturer
    dataset.ManufacturerModelName = appearance.model_name
    dataset.SoftwareVersions = appearance.software_versions
    dataset.InstitutionName = "Phantom Hospital"
    dataset.DeviceSerialNumber = "PHANTOM"


def _acquisition(dataset: Dataset, view: str, spacing_mm: float) -> None:
    projection, side = view.split("_")
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.BodyPartExamined = "BREAST"
    dataset.AnatomicRegionSequence = Sequence([_code("76752008", "SCT", "Breast")])
    dataset.ViewPosition = projection
    value, meaning = _VIEW_CODES[projection]
    view_code = _code(value, "SCT", meaning)
    view_code.ViewModifierCodeSequence = Sequence([])
    dataset.ViewCodeSequence = Sequence([view_code])
    dataset.ImageLaterality = side
    dataset.PatientOrientation = _ORIENTATION[view]
    dataset.OrganExposed = "BREAST"
    dataset.PositionerType = "MAMMOGRAPHIC"
    dataset.PositionerPrimaryAngle = {"CC_R": 0.0, "CC_L": 0.0, "MLO_R": -45.0, "MLO_L": 45.0}[view]
    dataset.BreastImplantPresent = "NO"
    dataset.PartialView = "NO"
    dataset.AcquisitionContextSequence = Sequence([])
    dataset.InstanceNumber = VIEWS.index(view) + 1
    dataset.KVP = 29
    dataset.DetectorType = "DIRECT"
    dataset.ImagerPixelSpacing = [f"{spacing_mm:.4g}"] * 2
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"


def _pixels(dataset: Dataset, stored: NDArray[np.uint16], appearance: Appearance) -> None:
    full_scale = (1 << appearance.bits_stored) - 1
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if appearance.inverted else "MONOCHROME2"
    # PS3.3 C.8.11.3: INVERSE goes with MONOCHROME1, IDENTITY with MONOCHROME2.
    dataset.PresentationLUTShape = "INVERSE" if appearance.inverted else "IDENTITY"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if appearance.inverted else -1
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = appearance.bits_stored
    dataset.HighBit = appearance.bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = 0
    dataset.RescaleSlope = 1
    dataset.RescaleType = "US"
    low, high = appearance.window
    centre = (low + high) / 2
    dataset.WindowCenter = round((1.0 - centre if appearance.inverted else centre) * full_scale)
    dataset.WindowWidth = round((high - low) * full_scale)
    dataset.WindowCenterWidthExplanation = "NORMAL"
    dataset.VOILUTFunction = "SIGMOID" if appearance.sigmoid_window else "LINEAR"
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def write_view(
    path: Path,
    stored: NDArray[np.uint16],
    plan: ExamPlan,
    view: str,
    appearance: Appearance,
    spacing_mm: float,
    scope: tuple[object, ...],
) -> None:
    """Write one view.

    Args:
        path: File to write.
        stored: uint16 [rows, columns], within Bits Stored.
        plan: The exam, with its reference system.
        view: One of ``schema.features.VIEWS``.
        appearance: The system's file traits.
        spacing_mm: Imager pixel spacing, mm.
        scope: Values that make the UIDs of this set its own.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = UID(stable_uid(*scope, plan.exam_id, view))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _patient_and_study(dataset, plan, scope)
    _times(dataset, plan, view)
    _equipment(dataset, REFERENCE_SYSTEMS[plan.system], appearance)
    _acquisition(dataset, view, spacing_mm)
    _pixels(dataset, stored, appearance)
    if appearance.jpeg_ls:
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
