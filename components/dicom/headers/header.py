"""Interpret the header of one image without decoding its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.headers.deidentification import generalised_age
from components.dicom.headers.functional_groups import require_one_frame_group
from components.dicom.headers.mammography import image_kind, require_mammography
from components.dicom.headers.orientation import Turn, turn_of
from components.dicom.headers.special_cases import require_accepted
from components.dicom.headers.views import resolve_view
from components.dicom.rejections import STANDARD_ONLY, AcceptanceConfig, IngestError, RejectionReason, printable
from components.dicom.remarks import Remark, joined
from schema.acquisition import NO_SYSTEM, AcquisitionSystem, ImageSystem, canonical_system
from schema.features import UNKNOWN, UNKNOWN_INT, laterality_of

_DATES: Final = ("AcquisitionDate", "StudyDate", "SeriesDate", "ContentDate")
_SPACINGS: Final = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")
_MAX_AGE: Final = 120


@dataclass(frozen=True)
class ViewHeader:
    """Header of one image. It identifies a person: it stays inside ``DicomExampleGen`` and the client.

    Attributes:
        view: One of ``schema.features.VIEWS``.
        rows: Matrix rows of the file, pixels.
        columns: Matrix columns of the file, pixels.
        pixel_spacing_mm: Pixel spacing of the file's matrix at the detector, mm; 0 = unknown.
        system: Acquisition system.
        kind: Kind of image, one of ``schema.acquisition.IMAGE_KINDS``.
        patient_age: Age at the acquisition, years, 90 for all above 89; -1 = unknown.
        acquisition_year: Year; -1 = unknown.
        acquired_at: Date and time of acquisition as sortable digits; empty = unknown.
        special: Accepted special cases of the image.
        derived: Image Type (0008,0008) is DERIVED.
        turn: Transform of the picture into the standard hanging; None if the header has no usable orientation.
        remarks: Remarks on the header.
        study_uid: Study Instance UID; empty = unknown (the same holds for all that follow).
        sop_uid: SOP Instance UID.
        accession_number: Accession Number.
        study_id: Study ID.
        patient_id: Patient ID.
        patient_name: Patient's Name.
        birth_date: Patient's Birth Date as ``YYYYMMDD``.
        sex: ``F`` or ``M``.
        device: Device Serial Number.
        station: Station Name.
        institution: Institution Name.
    """

    view: str
    rows: int
    columns: int
    pixel_spacing_mm: float = 0.0
    system: AcquisitionSystem = NO_SYSTEM
    kind: str = UNKNOWN
    patient_age: int = UNKNOWN_INT
    acquisition_year: int = UNKNOWN_INT
    acquired_at: str = ""
    special: tuple[RejectionReason, ...] = ()
    derived: bool = False
    turn: Turn | None = None
    remarks: tuple[Remark, ...] = ()
    study_uid: str = ""
    sop_uid: str = ""
    accession_number: str = ""
    study_id: str = ""
    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    device: str = ""
    station: str = ""
    institution: str = ""

    @property
    def image_system(self) -> ImageSystem:
        """Acquisition system, or the kind of image if the header names none."""
        return ImageSystem(self.system, self.kind)

    @property
    def laterality(self) -> str:
        """Side of the breast: ``R`` or ``L``."""
        return laterality_of(self.view)


def parse_date(value: str) -> date | None:
    """Read a DICOM date (DA, ``YYYYMMDD`` or the retired ``YYYY.MM.DD``); None if it is not a date after 1900."""
    digits = value.replace(".", "").replace("-", "")
    if not re.fullmatch(r"[0-9]{8}", digits):
        return None
    try:
        day = datetime.strptime(digits, "%Y%m%d").date()
    except ValueError:
        return None
    return day if day.year > 1900 else None


def parse_age(value: str) -> int:
    """Read an age, as in DICOM (AS: ``045Y``, ``018M``) or in plain years (``45``, ``45.0``).

    Returns:
        Whole years from 0 to 90, where 90 means all above 89; -1 if the text is not an age up to 120.
    """
    match = re.fullmatch(r"([0-9]{1,3})(?:\.0+)?([YMWD]?)", value.strip().upper())
    if not match:
        return UNKNOWN_INT
    per_year = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[match.group(2)]
    years = int(match.group(1)) // per_year
    return generalised_age(years) if years <= _MAX_AGE else UNKNOWN_INT


def _first_date(dataset: Dataset) -> date | None:
    return next((day for key in _DATES if (day := parse_date(tags.text(dataset, key)))), None)


def _age(dataset: Dataset, acquired: date | None) -> int:
    age = parse_age(tags.text(dataset, "PatientAge"))
    born = parse_date(tags.text(dataset, "PatientBirthDate"))
    if age != UNKNOWN_INT or born is None or acquired is None:
        return age
    years = acquired.year - born.year - ((acquired.month, acquired.day) < (born.month, born.day))
    return generalised_age(years) if 0 <= years <= _MAX_AGE else UNKNOWN_INT


def _spacing(dataset: Dataset) -> float:
    for keyword in _SPACINGS:
        for found in map(tags.parse_decimal, tags.decimal_texts(dataset, keyword)):  # of rows, then of columns
            if found is not None and 0.005 <= found.value <= 2:
                return found.value
    return 0.0


def _acquired_at(dataset: Dataset, acquired: date | None) -> str:
    if acquired is None:
        return ""
    time = tags.text(dataset, "AcquisitionTime") or tags.text(dataset, "ContentTime")
    return acquired.strftime("%Y%m%d") + (time if re.fullmatch(r"[0-9]{2,6}(\.[0-9]{1,6})?", time) else "")


def _require_single_frame(dataset: Dataset, file: str) -> None:
    frames = tags.integer(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise IngestError(
            RejectionReason.MULTI_FRAME,
            file,
            tags.tag_name("NumberOfFrames"),
            printable(frames),
            "images with one frame are supported, because no frame of a volume represents the view",
        )
    require_one_frame_group(dataset, file)


def header_of(
    dataset: Dataset, file: str, view: str | None, acceptance: AcceptanceConfig = STANDARD_ONLY
) -> ViewHeader:
    """Interpret a DICOM header.

    Args:
        dataset: DICOM header.
        file: File name for error messages.
        view: View from a manifest (``views`` says what it overrides); None to use the header.
        acceptance: Accepted special cases.

    Returns:
        The header.

    Raises:
        IngestError: ``not_mammography``, ``multi_frame``, ``unknown_view``, ``unsupported_view``, ``malformed_header``
            for an impossible orientation, or a special case that is not accepted.
    """
    remarks = require_mammography(dataset, file, view)
    special = require_accepted(dataset, file, acceptance)
    _require_single_frame(dataset, file)
    found_view, conflict = resolve_view(dataset, view, file, acceptance)
    turn, turn_remarks = turn_of(dataset, found_view, view is not None, file)
    acquired = _first_date(dataset)
    born = parse_date(tags.text(dataset, "PatientBirthDate"))
    return ViewHeader(
        view=found_view,
        rows=tags.integer(dataset, "Rows") or 0,
        columns=tags.integer(dataset, "Columns") or 0,
        pixel_spacing_mm=_spacing(dataset),
        system=canonical_system(
            tags.text(dataset, "Manufacturer"),
            tags.text(dataset, "ManufacturerModelName"),
            tags.text(dataset, "SoftwareVersions").replace("\\", "/"),
        ),
        kind=image_kind(dataset),
        patient_age=_age(dataset, acquired),
        acquisition_year=acquired.year if acquired else UNKNOWN_INT,
        acquired_at=_acquired_at(dataset, acquired),
        special=(*special, RejectionReason.VIEW_CONFLICT) if conflict else special,
        turn=turn,
        derived=tags.code(dataset, "ImageType").startswith("DERIVED"),
        remarks=joined(remarks, turn_remarks),
        study_uid=tags.text(dataset, "StudyInstanceUID"),
        sop_uid=tags.text(dataset, "SOPInstanceUID"),
        accession_number=tags.text(dataset, "AccessionNumber"),
        study_id=tags.text(dataset, "StudyID"),
        patient_id=tags.text(dataset, "PatientID"),
        patient_name=tags.text(dataset, "PatientName"),
        birth_date=born.strftime("%Y%m%d") if born else "",
        sex=sex if (sex := tags.code(dataset, "PatientSex")) in ("F", "M") else "",
        device=tags.text(dataset, "DeviceSerialNumber"),
        station=tags.text(dataset, "StationName"),
        institution=tags.text(dataset, "InstitutionName"),
    )


def view_rank(header: ViewHeader) -> tuple[int, bool, bool, bool, int, str]:
    """Rank images of one view in an exam; the highest is kept, and of equal ones the first by name.

    Ingest and the client use this function, so the rule is in one place. The order of the criteria is:
        1. the fewest special cases (implant displaced, magnification, ...) other than the next two;
        2. FOR PRESENTATION before FOR PROCESSING;
        3. the whole breast before a partial view;
        4. original before derived, Image Type (0008,0008);
        5. the most pixels;
        6. the latest acquisition.
    """
    special = set(header.special)
    return (
        -len(special - {RejectionReason.FOR_PROCESSING, RejectionReason.PARTIAL_VIEW}),
        RejectionReason.FOR_PROCESSING not in special,
        RejectionReason.PARTIAL_VIEW not in special,
        not header.derived,
        header.rows * header.columns,
        header.acquired_at,
    )
