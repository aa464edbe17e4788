"""The de-identification profile: every DICOM attribute that ingest reads, and what happens to it.

Ingest reads nothing else of a file, and a tf.Example has a fixed list of features. So every attribute that is not in
this list is removed (action X of DICOM PS3.15 Annex E), with private attributes and file meta information. As an
application of PS3.15 it is the Basic Application Level Confidentiality Profile, with the options Retain Patient
Characteristics (only the age, in years, 90 for all above 89) and Retain Longitudinal Temporal Information with Modified
Dates (only the year). The options Clean Pixel Data and Clean Recognizable Visual Features are not applied: an image
whose header says that it has burned-in annotation is rejected.

``python -m components.dicom.headers.deidentification`` writes the table of ``docs/deidentification.md``. A test
compares the table with this module, and this module with the attributes that the code reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from components.dicom.headers import tags
from schema import features as f

_OLDEST_AGE: Final = 90


class Action(str, Enum):
    """What happens to an attribute.

    Members:
        KEPT: Its value, or a coded meaning of it, is written.
        GENERALISED: A coarser value is written.
        HASHED: Only its keyed hash is written.
        USED: It is used for a decision or for the pixels, and is not written.
    """

    KEPT = "kept"
    GENERALISED = "generalised"
    HASHED = "hashed"
    USED = "used, removed"


@dataclass(frozen=True)
class Attribute:
    """One attribute of the profile.

    Attributes:
        keyword: DICOM keyword.
        action: What happens to it.
        becomes: Feature that contains the result, or the purpose of the attribute.
        basic_profile: Action code of PS3.15 table E.1-1 for the Basic Profile; empty = not in that table, so the
            standard regards it as not identifying.
    """

    keyword: str
    action: Action
    becomes: str
    basic_profile: str = ""


def _used(purpose: str, *keywords: str, basic_profile: str = "") -> tuple[Attribute, ...]:
    return tuple(Attribute(keyword, Action.USED, purpose, basic_profile) for keyword in keywords)


_PATIENT_HASH: Final = f"`{f.PATIENT_ID}`; matches labels"
_EXAM_HASH: Final = f"`{f.EXAM_ID}`, if the labels name exams by it; matches labels"
_TEXTS: Final = "finds synthetic 2D images and tomosynthesis by name"
_KIND: Final = f"`{f.ACQUISITION_SYSTEM}`: kind of image, if no system is named"
_DATES: Final = f"`{f.ACQUISITION_YEAR}`; age; which of several images is the latest"

PROFILE: Final = (
    Attribute("PatientID", Action.HASHED, _PATIENT_HASH, "Z/D"),
    Attribute("StudyInstanceUID", Action.HASHED, _EXAM_HASH, "U"),
    Attribute("AccessionNumber", Action.HASHED, _EXAM_HASH, "Z"),
    Attribute("StudyID", Action.HASHED, _EXAM_HASH, "Z"),
    *_used("finds duplicates", "SOPInstanceUID", basic_profile="U"),
    *_used("age, if Patient's Age is absent; distinguishes patients", "PatientBirthDate", basic_profile="Z"),
    *_used("distinguishes patients", "PatientName", basic_profile="Z"),
    *_used("distinguishes patients", "PatientSex", basic_profile="Z"),
    *_used("distinguishes exams", "DeviceSerialNumber", basic_profile="X/Z/D"),
    *_used("distinguishes exams", "StationName", basic_profile="X/Z/D"),
    *_used("distinguishes exams", "InstitutionName", basic_profile="X/Z/D"),
    Attribute("PatientAge", Action.GENERALISED, f"`{f.PATIENT_AGE}`: whole years, 90 for all above 89", "X"),
    Attribute("AcquisitionDate", Action.GENERALISED, _DATES, "X/Z"),
    Attribute("StudyDate", Action.GENERALISED, _DATES, "Z"),
    Attribute("SeriesDate", Action.GENERALISED, _DATES, "X/D"),
    Attribute("ContentDate", Action.GENERALISED, _DATES, "Z/D"),
    *_used("which of several images is the latest", "AcquisitionTime", basic_profile="X/Z"),
    *_used("which of several images is the latest", "ContentTime", basic_profile="Z/D"),
    *_used(_TEXTS, "SeriesDescription", "DerivationDescription", "ImageComments", basic_profile="X"),
    *_used(_TEXTS, "ProtocolName", "AcquisitionDeviceProcessingDescription", basic_profile="X/D"),
    *_used(_TEXTS, "AcquisitionDeviceProcessingCode"),
    Attribute("Manufacturer", Action.GENERALISED, f"`{f.MANUFACTURER}`: canonical name, 64 characters at most"),
    Attribute("ManufacturerModelName", Action.GENERALISED, f"`{f.MODEL_NAME}`: canonical name, 64 characters at most"),
    Attribute(
        "SoftwareVersions", Action.GENERALISED, f"`{f.SOFTWARE_VERSION}`: canonical version, 64 characters at most"
    ),
    *(Attribute(keyword, Action.GENERALISED, _KIND) for keyword in ("ConversionType", "DetectorType")),
    Attribute("SOPClassUID", Action.GENERALISED, f"{_KIND}; whether it is a mammogram"),
    *(
        Attribute(keyword, Action.KEPT, f"`{f.VIEW}`, `{f.LATERALITY}`")
        for keyword in (
            "ViewPosition",
            "ViewCodeSequence",
            "ViewModifierCodeSequence",
            "CodeValue",
            "ImageLaterality",
            "Laterality",
            "FrameLaterality",
            "PatientOrientation",
            "SharedFunctionalGroupsSequence",
            "PerFrameFunctionalGroupsSequence",
            "FrameAnatomySequence",
        )
    ),
    *(
        Attribute(keyword, Action.KEPT, f"`{f.PIXEL_SPACING_MM}`")
        for keyword in ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")
    ),
    Attribute(
        "PixelData", Action.KEPT, f"`{f.IMAGE}`: grey values of 16 bits, reduced; overlays and curves are not read"
    ),
    *_used("pixels to grey, or whether that is possible", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *_used(
        "pixels to grey, or whether that is possible", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"
    ),
    *_used("whether the offsets of compressed pixels are those of one frame", "ExtendedOffsetTable"),
    *_used("pixels to grey", "TransferSyntaxUID", "PhotometricInterpretation"),
    *_used("pixels to grey", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *_used("pixels to grey", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence"),
    *_used("pixels to grey", "LUTDescriptor", "LUTData", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *_used("pixels to grey", "PixelIntensityRelationship", "PixelIntensityRelationshipSign"),
    *_used("whether it is a mammogram", "Modality", "MediaStorageSOPClassUID", "BodyPartExamined"),
    *_used("pixels to grey, in enhanced objects", "FrameVOILUTSequence", "PixelValueTransformationSequence"),
    *_used("pixels to grey, in enhanced objects", "FramePixelDataPropertiesSequence"),
    *_used("orientation, in enhanced objects", "PatientOrientationInFrameSequence"),
    *_used("pixel spacing, in enhanced objects", "PixelMeasuresSequence"),
    *_used("special cases, in enhanced objects", "FrameType", "XRay3DFrameTypeSequence", "XRayGeometrySequence"),
    *_used("special cases", "ImageType", "PresentationIntentType", "QualityControlImage", "BiopsyTargetSequence"),
    *_used("special cases", "BreastImplantPresent", "PartialView", "EstimatedRadiographicMagnificationFactor"),
    *_used("special cases", "PaddleDescription"),
    *_used("special cases", "LossyImageCompression", "LossyImageCompressionRatio", "BurnedInAnnotation"),
)


def generalised_age(years: int) -> int:
    """Return an age as it may be written: 90 for all above 89 (as HIPAA's safe harbour requires), others unchanged."""
    return min(years, _OLDEST_AGE)


def as_markdown() -> str:
    """Return the profile as a Markdown table."""
    rows = (
        f"| {tags.tag_name(a.keyword)} | {a.action.value} | {a.becomes} | {a.basic_profile or '–'} |"
        for a in sorted(PROFILE, key=lambda a: list(Action).index(a.action))
    )
    head = "| attribute | action | becomes, or is used for | PS3.15 E.1-1 |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
