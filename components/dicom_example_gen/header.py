"""What a file says about its image, read without decoding pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    BreastProjectionXRayImageStorageForPresentation,
    BreastProjectionXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
)

from components.dicom_example_gen import tags
from components.dicom_example_gen.rejections import IngestError, RejectionReason, shown
from components.dicom_example_gen.views import view_of
from schema.acquisition import AcquisitionSystem, canonical_system
from schema.features import UNKNOWN, UNKNOWN_INT, laterality_of

_MAMMOGRAPHY_CLASSES: Final = frozenset(
    {
        DigitalMammographyXRayImageStorageForPresentation,
        DigitalMammographyXRayImageStorageForProcessing,
        BreastTomosynthesisImageStorage,
        BreastProjectionXRayImageStorageForPresentation,
        BreastProjectionXRayImageStorageForProcessing,
    }
)
# Modalities under which projection radiographs of the breast are found besides MG: CR plates, DX, scanned
# film.
_RADIOGRAPHY: Final = frozenset({"CR", "DX", "RG", "RF", "OT", ""})
_DATES: Final = ("AcquisitionDate", "StudyDate", "SeriesDate", "ContentDate")
_SPACINGS: Final = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")
_MAX_AGE: Final = 120
_UNKNOWN_SYSTEM: Final = AcquisitionSystem(UNKNOWN, UNKNOWN, UNKNOWN)


@dataclass(frozen=True)
class ViewHeader:
    """One image's header. It identifies a person: it stays inside ``DicomExampleGen`` and the client.

    Attributes:
        view: One of ``schema.features.VIEWS``.
        rows: Matrix rows of the file, pixels.
        columns: Matrix columns of the file, pixels.
        pixel_spacing_mm: Pixel spacing of the file's matrix at the detector, mm; 0 = unknown.
        system: Acquisition system.
        patient_age: Years at the acquisition; -1 = unknown.
        acquisition_year: Year; -1 = unknown.
        acquired_at: Date and time of acquisition as sortable digits, empty = unknown.
        study_uid: Study Instance UID, empty = unknown (so are the following).
        sop_uid: SOP Instance UID.
        accession_number: Accession Number.
        study_id: Study ID.
        patient_id: Patient ID.
    """

    view: str
    rows: int
    columns: int
    pixel_spacing_mm: float = 0.0
    system: AcquisitionSystem = _UNKNOWN_SYSTEM
    patient_age: int = UNKNOWN_INT
    acquisition_year: int = UNKNOWN_INT
    acquired_at: str = ""
    study_uid: str = ""
    sop_uid: str = ""
    accession_number: str = ""
    study_id: str = ""
    patient_id: str = ""

    @property
    def laterality(self) -> str:
        """Side of the breast: ``R`` or ``L``."""
        return laterality_of(self.view)


def parse_date(value: str) -> date | None:
    """Reads a DICOM date (DA, ``YYYYMMDD``, or the retired ``YYYY.MM.DD``); None if it is none after 1900."""
    digits = value.replace(".", "").replace("-", "")
    if not re.fullmatch(r"[0-9]{8}", digits):
        return None
    try:
        day = datetime.strptime(digits, "%Y%m%d").date()
    except ValueError:
        return None
    return day if day.year > 1900 else None


def parse_age(value: str) -> int:
    """Reads an age, as DICOM writes it (AS: ``045Y``, ``018M``) or in plain years (``45``, ``45.0``).

    Returns:
        Whole years from 0 to 120, or -1 if the text is none of these.
    """
    match = re.fullmatch(r"([0-9]{1,3})(?:\.0+)?([YMWD]?)", value.strip().upper())
    if not match:
        return UNKNOWN_INT
    per_year = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[match.group(2)]
    years = int(match.group(1)) // per_year
    return years if years <= _MAX_AGE else UNKNOWN_INT


def _first_date(dataset: Dataset) -> date | None:
    return next((day for key in _DATES if (day := parse_date(tags.text(dataset, key)))), None)


def _age(dataset: Dataset, acquired: date | None) -> int:
    age = parse_age(tags.text(dataset, "PatientAge"))
    born = parse_date(tags.text(dataset, "PatientBirthDate"))
    if age != UNKNOWN_INT or born is None or acquired is None:
        return age
    years = acquired.year - born.year - ((acquired.month, acquired.day) < (born.month, born.day))
    return years if 0 <= years <= _MAX_AGE else UNKNOWN_INT


def _spacing(dataset: Dataset) -> float:
    for keyword in _SPACINGS:
        found = tags.numbers(dataset, keyword)
        if found and 0.005 <= found[0] <= 2:
            return found[0]
    return 0.0


def _acquired_at(dataset: Dataset, acquired: date | None) -> str:
    if acquired is None:
        return ""
    time = tags.text(dataset, "AcquisitionTime") or tags.text(dataset, "ContentTime")
    return acquired.strftime("%Y%m%d") + (time if re.fullmatch(r"[0-9]{2,6}(\.[0-9]{1,6})?", time) else "")


def _require_mammography(dataset: Dataset, file: str) -> None:
    sop_class, modality = tags.text(dataset, "SOPClassUID"), tags.code(dataset, "Modality")
    of_breast = tags.code(dataset, "BodyPartExamined") == "BREAST"
    if modality != "MG" and sop_class not in _MAMMOGRAPHY_CLASSES and not (of_breast and modality in _RADIOGRAPHY):
        if modality and modality not in _RADIOGRAPHY:
            tag, value = tags.tag_name("Modality"), modality
        else:
            # A SOP Class UID names a kind of object, no person.
            tag, value = tags.tag_name("SOPClassUID"), UID(sop_class).name
        raise IngestError(
            RejectionReason.NOT_MAMMOGRAPHY,
            file,
            tag,
            shown(value),
            "Modality MG, a mammography SOP class, or a radiograph of Body Part BREAST is supported",
        )
    if (
        sop_class in (DigitalMammographyXRayImageStorageForProcessing, BreastProjectionXRayImageStorageForProcessing)
        or tags.code(dataset, "PresentationIntentType") == "FOR PROCESSING"
    ):
        raise IngestError(
            RejectionReason.FOR_PROCESSING,
            file,
            tags.tag_name("PresentationIntentType"),
            "FOR PROCESSING",
            "raw detector values are left out, export the FOR PRESENTATION image",
        )
    frames = tags.integer(dataset, "NumberOfFrames")
    if sop_class == BreastTomosynthesisImageStorage or (frames is not None and frames > 1):
        raise IngestError(
            RejectionReason.MULTI_FRAME,
            file,
            tags.tag_name("NumberOfFrames"),
            shown(frames),
            "single-frame mammograms are supported, no tomosynthesis",
        )


def header_of(dataset: Dataset, file: str, view: str | None) -> ViewHeader:
    """Interprets a DICOM header whose image description was found to be sound.

    Args:
        dataset: DICOM header.
        file: File name for error messages.
        view: View named by a manifest, which overrides the header's; None to ask the header.

    Returns:
        The header.

    Raises:
        IngestError: ``not_mammography``, ``for_processing``, ``multi_frame``, ``unknown_view`` or
            ``unsupported_view``.
    """
    _require_mammography(dataset, file)
    acquired = _first_date(dataset)
    return ViewHeader(
        view=view or view_of(dataset, file),
        rows=tags.integer(dataset, "Rows") or 0,
        columns=tags.integer(dataset, "Columns") or 0,
        pixel_spacing_mm=_spacing(dataset),
        system=canonical_system(
            tags.text(dataset, "Manufacturer"),
            tags.text(dataset, "ManufacturerModelName"),
            tags.text(dataset, "SoftwareVersions").replace("\\", "/"),
        ),
        patient_age=_age(dataset, acquired),
        acquisition_year=acquired.year if acquired else UNKNOWN_INT,
        acquired_at=_acquired_at(dataset, acquired),
        study_uid=tags.text(dataset, "StudyInstanceUID"),
        sop_uid=tags.text(dataset, "SOPInstanceUID"),
        accession_number=tags.text(dataset, "AccessionNumber"),
        study_id=tags.text(dataset, "StudyID"),
        patient_id=tags.text(dataset, "PatientID"),
    )
