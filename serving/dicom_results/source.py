"""Data that results copy from their source images: references, patient and study."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Final

from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.headers.header import parse_date
from components.dicom.headers.views import view_of
from components.dicom.rejections import IngestError, printable

_NAMESPACE: Final = uuid.UUID("6f3c1f0e-8f7e-5a51-9d52-2c8a3b0d7e11")
_REFERENCE: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")
_NAMES: Final = ("PatientName", "ReferringPhysicianName")
_TEXTS: Final = {"AccessionNumber": 16, "StudyID": 16}
_OPTIONAL_TEXTS: Final = {"StudyDescription": 64, "IssuerOfPatientID": 64}


class ResultsError(ValueError):
    """The source images cannot carry results. The message is one sentence with the tag and what to do."""


def derived_uid(*parts: str) -> str:
    """Derive a UID from texts (DICOM PS3.5 B.2): the same texts yield the same UID."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


def reference_of(source: Dataset) -> Dataset:
    """Copy the elements of an image that a reference needs.

    Raises:
        ResultsError: A UID is absent or invalid.
    """
    found = Dataset()
    for keyword in _REFERENCE:
        uid = tags.text(source, keyword)
        if len(uid) > 64 or not _UID.fullmatch(uid):
            raise ResultsError(
                f"{tags.tag_name(keyword)} is {'absent' if not uid else 'not a UID'}: results can only be added to "
                "images with UIDs, export the study again."
            )
        setattr(found, keyword, uid)
    found.Rows, found.Columns = (max(1, tags.integer(source, keyword) or 1) for keyword in ("Rows", "Columns"))
    if "PatientOrientation" in source:
        found["PatientOrientation"] = source["PatientOrientation"]
    return found


def by_view(headers: Iterable[Dataset]) -> dict[str, Dataset]:
    """Name the images of an exam that is refused.

    Args:
        headers: Headers of the files of an exam.

    Returns:
        Headers by standard view. An image that shows no standard view, or one that another image has, is named
        ``image 1``, ``image 2``, ... Images without UIDs are left out, because no object can refer to them.
    """
    found: dict[str, Dataset] = {}
    for number, header in enumerate(headers, 1):
        try:
            reference_of(header)
            view = view_of(header, "")
        except ResultsError:
            continue
        except IngestError:
            view = ""
        found[view if view and view not in found else f"image {number}"] = header
    return found


def _printable(text: str) -> str:
    # A surrogate stands for a byte that the character set of the source does not contain.
    return "".join(c if c.isprintable() and not 0xD800 <= ord(c) < 0xE000 else " " for c in text).strip()


def _bytes_64(text: str) -> str:
    return text.encode()[:64].decode(errors="ignore")  # validators count bytes, the standard characters


def patient_and_study(source: Dataset) -> Dataset:
    """Copy patient and study. Values that violate their VR (DICOM PS3.5 6.2) are emptied or shortened.

    Raises:
        ResultsError: The Patient ID cannot be written; a changed one could name another patient.
    """
    found = Dataset()
    patient_id = tags.text(source, "PatientID")
    if len(patient_id) > 64 or "\\" in patient_id or _printable(patient_id) != patient_id:
        raise ResultsError(
            f"{tags.tag_name('PatientID')} is not an LO of up to 64 characters ({len(patient_id)} received): correct "
            "it in the archive, because a shortened one could name another patient."
        )
    found.PatientID = patient_id
    for keyword in _NAMES:
        groups = _printable(tags.text(source, keyword).replace("\\", " ")).split("=")[:3]
        setattr(found, keyword, "=".join("^".join(_bytes_64(group).split("^")[:5]) for group in groups))
    for keyword, length in (_TEXTS | _OPTIONAL_TEXTS).items():
        text = _printable(tags.text(source, keyword))
        if len(text) > length or "\\" in text:
            text = ""
        if text or keyword in _TEXTS:
            setattr(found, keyword, text)
    for keyword in ("PatientBirthDate", "StudyDate"):
        day = parse_date(tags.text(source, keyword))
        setattr(found, keyword, day.strftime("%Y%m%d") if day else "")
    time = tags.text(source, "StudyTime")
    found.StudyTime = time if _TIME.fullmatch(time) else ""
    sex = tags.code(source, "PatientSex")
    found.PatientSex = sex if sex in ("M", "F", "O") else ""
    return found


def identify(result: Dataset, whole: Dataset) -> None:
    """Copy patient and study into a result; its character set is UTF-8 unless all text is ASCII."""
    for element in whole:
        result[element.tag] = element
    if any(not str(element.value).isascii() for element in whole):
        result.SpecificCharacterSet = "ISO_IR 192"
    elif "SpecificCharacterSet" in result:
        del result.SpecificCharacterSet


def of_one_study(images: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Return the images in the study of the first image."""
    study = next(iter(images.values())).StudyInstanceUID
    return {name: image for name, image in images.items() if image.StudyInstanceUID == study}


def long_string(text: str) -> str:
    """Shorten a text to a DICOM LO."""
    return printable(text).replace("…", ".").replace("\\", "/")[:64]
