"""Why a file is left out: the closed list of reasons, and the error that carries one; the error of a whole table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

_MAX_VALUE_CHARACTERS: Final = 64


class RejectionReason(str, Enum):
    """Every reason for which ingest leaves a file out."""

    MISSING_FILE = "missing_file"
    UNREADABLE = "unreadable"
    UNSAFE_PATH = "unsafe_path"
    INVALID_ROW = "invalid_row"
    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    MALFORMED_HEADER = "malformed_header"
    NOT_MAMMOGRAPHY = "not_mammography"
    MULTI_FRAME = "multi_frame"
    NO_PIXEL_DATA = "no_pixel_data"
    UNSUPPORTED_IMAGE = "unsupported_image"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    TOO_LARGE = "too_large"
    UNKNOWN_VIEW = "unknown_view"
    UNSUPPORTED_VIEW = "unsupported_view"
    UNDECODABLE_PIXELS = "undecodable_pixels"
    IMPLAUSIBLE_PIXELS = "implausible_pixels"
    NO_LABEL = "no_label"
    INVALID_LABEL = "invalid_label"
    AMBIGUOUS_LABEL = "ambiguous_label"
    SEVERAL_EXAMS = "several_exams"
    SPLIT_CONFLICT = "split_conflict"
    DUPLICATE = "duplicate"
    DUPLICATE_VIEW = "duplicate_view"
    LEFT_OUT_BY_DISTRIBUTION = "left_out_by_distribution"
    # What acceptance.SpecialCase lists, in its order: a configuration can accept these.
    FOR_PROCESSING = "for_processing"
    QUALITY_CONTROL = "quality_control"
    SPECIMEN = "specimen"
    BIOPSY = "biopsy"
    TOMOSYNTHESIS = "tomosynthesis"
    SYNTHETIC_2D = "synthetic_2d"
    CONTRAST_ENHANCED = "contrast_enhanced"
    SPOT_COMPRESSION = "spot_compression"
    MAGNIFICATION = "magnification"
    IMPLANT_DISPLACED = "implant_displaced"
    IMPLANT_PRESENT = "implant_present"
    CLEAVAGE = "cleavage"
    AXILLARY_TAIL = "axillary_tail"
    ROLLED = "rolled"
    TANGENTIAL = "tangential"
    ANTERIOR_COMPRESSION = "anterior_compression"
    PARTIAL_VIEW = "partial_view"
    LOSSY_COMPRESSION = "lossy_compression"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    COLLIMATED = "collimated"
    CROPPED = "cropped"
    BREAST_CUT_OFF = "breast_cut_off"
    LOW_RESOLUTION = "low_resolution"
    VIEW_CONFLICT = "view_conflict"
    MIXED_PATIENTS = "mixed_patients"


def shown(value: Any) -> str:
    """Renders a received value for a message: printable, at most 64 characters, ``absent`` for nothing.

    Never call it on a value that identifies a person (name, ID, birth date, accession number, UID).
    """
    text = "" if value is None else "".join(c if c.isprintable() else "?" for c in str(value)).strip()
    if len(text) > _MAX_VALUE_CHARACTERS:
        text = text[: _MAX_VALUE_CHARACTERS - 1] + "…"
    return text or "absent"


@dataclass(frozen=True)
class Rejection:
    """One file that is left out.

    Attributes:
        reason: Why.
        file: File as the source names it (relative to the archive in the ingest report).
        tag: DICOM tag, CSV column or property at fault, such as ``Modality (0008,0060)``.
        value: Value received, never one that identifies a person.
        remedy: What to do, or what is supported, as a clause.
    """

    reason: RejectionReason
    file: str
    tag: str
    value: str
    remedy: str

    @property
    def message(self) -> str:
        """One sentence naming file, tag, value and what to do."""
        return f"{self.file}: {self.reason.value}, {self.tag} is {self.value}; {self.remedy}."


class ManifestError(Exception):
    """A labels file or manifest cannot be used at all; the message names the file, the fault and what is needed."""


class IngestError(Exception):
    """One file cannot be read as a view; the only exception that reading a file raises.

    Attributes:
        reason: Why.
        file: File concerned.
        tag: DICOM tag, CSV column or property at fault.
        value: Value received, never one that identifies a person.
        remedy: What to do, or what is supported.
    """

    def __init__(self, reason: RejectionReason, file: str, tag: str, value: str, remedy: str) -> None:
        # All arguments go to Exception: that is what makes the error survive pickling between Beam workers.
        super().__init__(reason, file, tag, value, remedy)
        self.reason = reason
        self.file = file
        self.tag = tag
        self.value = value
        self.remedy = remedy

    def rejection(self, file: str | None = None) -> Rejection:
        """Returns the error as a record, under another name of the file where one is given."""
        return Rejection(self.reason, file or self.file, self.tag, self.value, self.remedy)

    def __str__(self) -> str:
        return self.rejection().message
