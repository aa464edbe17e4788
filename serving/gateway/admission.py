"""Decide from the header which images the gateway accepts.

An image that is not a mammogram, or cannot be read as one, is refused. A mammogram of a kind that is not graded (FOR
PROCESSING, a spot view, ...) is accepted: its study gets a grade without it, or a refusal that says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.uid import (
    UID,
    BreastProjectionXRayImageStorageForPresentation,
    BreastProjectionXRayImageStorageForProcessing,
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from components.dicom.bounded_stream import TooMuchError, parse_header
from components.dicom.headers import tags
from components.dicom.reading import pixel_data_sha256, read_header, read_pixels
from components.dicom.rejections import ANY_IMAGE, IngestError, RejectionReason, printable
from schema.features import VIEWS

# Mammograms, also from film scanners and CR plates. Tomosynthesis is excluded: frames of volumes are not graded, and
# one volume is as large as a hundred images.
SOP_CLASSES: Final = (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    BreastProjectionXRayImageStorageForPresentation,
    BreastProjectionXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ComputedRadiographyImageStorage,
    SecondaryCaptureImageStorage,
)

# Status codes that C-STORE (PS3.4 table B.2-1) and STOW-RS (PS3.18 10.5, Failure Reason (0008,1197)) share.
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
DUPLICATE_SOP_INSTANCE: Final = 0x0111  # PS3.7 annex C.5.7, which PS3.4 B.2.3 allows for C-STORE
CANNOT_UNDERSTAND: Final = 0xC000
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122

_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_MAX_COMMENT: Final = 64  # characters of Error Comment (0000,0902), VR LO
_UNREADABLE: Final = frozenset(
    {
        RejectionReason.NOT_DICOM,
        RejectionReason.TRUNCATED,
        RejectionReason.MALFORMED_HEADER,
        RejectionReason.MISSING_FILE,
        RejectionReason.UNREADABLE,
        RejectionReason.NO_PIXEL_DATA,
        RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX,
    }
)
_VOLUMES: Final = frozenset({RejectionReason.TOMOSYNTHESIS, RejectionReason.MULTI_FRAME})


@dataclass(frozen=True)
class Instance:
    """One acceptable image. Its UIDs identify a study, so they are neither logged nor stored.

    Attributes:
        study_uid: Study Instance UID.
        sop_uid: SOP Instance UID.
        sop_class: SOP Class UID.
        view: Standard view that it shows; empty if it shows none, or is of a kind that is usually not graded.
    """

    study_uid: str
    sop_uid: str
    sop_class: str
    view: str


class RefusedInstanceError(Exception):
    """An image is not accepted.

    Attributes:
        reason: Short name.
        status: DICOM status.
        message: One sentence without patient identity.
        sop_class: SOP Class UID; empty if unknown.
        sop_uid: SOP Instance UID, only for the sender; empty if unknown.
    """

    def __init__(self, reason: str, status: int, message: str, sop_class: str = "", sop_uid: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.message = message
        self.sop_class = sop_class
        self.sop_uid = sop_uid

    @property
    def comment(self) -> str:
        """Message as an Error Comment (0000,0902): at most 64 ASCII characters."""
        text = self.message.split(": ", 1)[-1].encode("ascii", "replace").decode().replace("\\", "/")
        return text if len(text) <= _MAX_COMMENT else text[: _MAX_COMMENT - 3] + "..."


def same_pixels(one: Path, other: Path, max_pixels: int) -> bool:
    """Return True if two files hold the same image: equal pixel data, or equal pixels after decompression.

    Args:
        one: A DICOM file.
        other: Another DICOM file.
        max_pixels: Largest matrix, rows x columns.

    Returns:
        True if they are equal; False if they differ or a file cannot be read.
    """
    try:
        stored = [pixel_data_sha256(path, VIEWS[0], max_pixels, ANY_IMAGE) for path in (one, other)]
        if stored[0] == stored[1]:
            return True
        return np.array_equal(read_pixels(one, max_pixels), read_pixels(other, max_pixels))
    except IngestError:
        return False


def is_uid(value: str) -> bool:
    """Return True if a text is a UID, PS3.5 section 9.1."""
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def read_instance(path: Path, name: str, max_pixels: int) -> Instance:
    """Read UIDs and view of an image, without decoding pixels.

    Args:
        path: DICOM file.
        name: Name of the file in messages, such as ``file 2``.
        max_pixels: Largest matrix, rows x columns.

    Returns:
        The image.

    Raises:
        RefusedInstanceError: The image is not accepted.
    """
    problem, view = None, ""
    try:
        view = read_header(path, None, max_pixels).view
    except IngestError as error:
        problem = error.rejection(name)
    if problem is not None and problem.reason in _UNREADABLE:
        raise RefusedInstanceError(problem.reason.value, CANNOT_UNDERSTAND, problem.message)
    sop_class, sop_uid, study_uid = _uids(path, name, max_pixels)
    if problem is not None and problem.reason == RejectionReason.NOT_MAMMOGRAPHY:
        raise RefusedInstanceError(problem.reason.value, DOES_NOT_MATCH, problem.message, sop_class, sop_uid)
    if problem is not None and problem.reason in _VOLUMES and sop_class not in SOP_CLASSES:
        raise RefusedInstanceError(problem.reason.value, SOP_CLASS_NOT_SUPPORTED, problem.message, sop_class, sop_uid)
    if sop_class not in SOP_CLASSES:
        raise RefusedInstanceError(
            RejectionReason.NOT_MAMMOGRAPHY.value,
            SOP_CLASS_NOT_SUPPORTED,
            f"{name}: {tags.tag_name('SOPClassUID')} is {printable(UID(sop_class).name)}; send mammograms.",
            sop_class,
            sop_uid,
        )
    return Instance(study_uid, sop_uid, sop_class, view)


def _uids(path: Path, name: str, max_pixels: int) -> tuple[str, str, str]:
    """Read SOP Class, SOP Instance and Study Instance UID."""
    keywords = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
    try:
        with path.open("rb") as stream:
            dataset, _ = parse_header(stream, 3 * max_pixels)
        sop_class, sop_uid, study_uid = (tags.text(dataset, keyword) for keyword in keywords)
    except TooMuchError:
        message = f"{name}: the header takes too much work to read; export it again."
        raise RefusedInstanceError(RejectionReason.TOO_LARGE.value, CANNOT_UNDERSTAND, message) from None
    except Exception as error:  # pydicom raises any error on invalid bytes, and its text may quote values
        message = f"{name}: the header cannot be read ({type(error).__name__}); export it again."
        raise RefusedInstanceError(RejectionReason.MALFORMED_HEADER.value, CANNOT_UNDERSTAND, message) from None
    for keyword, value in zip(keywords, (sop_class, sop_uid, study_uid), strict=True):
        if not is_uid(value):
            message = f"{name}: {tags.tag_name(keyword)} is {'not a UID' if value else 'absent'}; export it again."
            raise RefusedInstanceError(RejectionReason.MALFORMED_HEADER.value, CANNOT_UNDERSTAND, message)
    return sop_class, sop_uid, study_uid
