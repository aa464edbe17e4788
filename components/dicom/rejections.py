"""Why a file is rejected: the closed list of reasons, the error with a reason, and the special images to accept.

One network is trained on one kind of image: the whole breast in a standard projection, processed for reading. Every
other kind of image is a special case and has its own rejection reason. A configuration can accept a special case
(``ingest.accept``). The model's preprocessing recipe passes the same choice to the client.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_MAX_VALUE_CHARACTERS: Final = 64
# Default for the largest matrix to decode, rows x columns: it protects against hostile headers.
DEFAULT_MAX_PIXELS: Final = 64_000_000


class RejectionReason(str, Enum):
    """Every reason to reject a file.

    The reasons from ``FOR_PROCESSING`` on are special cases (``SPECIAL_CASES``): a configuration can accept them. The
    evidence for each is in ``headers.special_cases``. Three need care when they are accepted:

    * ``for_processing``: ``grey.greyscale`` describes how raw detector values become grey.
    * ``burned_in_annotation``: the text stays in the pixels that ingest writes. Preprocessing blackens all pixels that
      are not breast. So most text beside the breast does not reach the network, but text on the breast does.
    * ``mixed_patients``: a kind of exam, not of image. Its headers name several patients
      (``components.exams.evidence``). An accepted exam of this kind counts as one patient of its own. Other exams of
      its patients can be in other splits.

    Anonymised files have incomplete headers. So ``pictures`` also looks at the pixels, whatever the header says: it
    finds paddles, implants, specimens, ``collimated`` fields, ``cropped`` pictures and cut-off breasts.
    """

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


_REASONS: Final = tuple(RejectionReason)
# The reasons that a configuration can accept, in the order in which they are checked and reported.
SPECIAL_CASES: Final = _REASONS[_REASONS.index(RejectionReason.FOR_PROCESSING) :]
_SPECIAL_NAMES: Final = [case.value for case in SPECIAL_CASES]


def _require_special_case(value: Any) -> Any:
    if value in SPECIAL_CASES:
        return value
    *names, last = map(repr, _SPECIAL_NAMES)
    raise PydanticCustomError("enum", "Input should be {expected}", {"expected": f"{', '.join(names)} or {last}"})


class AcceptanceConfig(BaseModel):
    """Which special images are accepted.

    Attributes:
        accept: Special cases that are accepted like any other image.
        max_lossy_ratio: Highest Lossy Image Compression Ratio (0028,2112) of an ordinary image. Readers found 40:1
            wavelet compression as good as lossless (Destounis et al., J Digit Imaging 24, 2011).
        least_side: Smallest longest side of the stored matrix, pixels. A smaller image is ``low_resolution``. At 32
            pixels over a field of 24 cm a pixel has 7 mm, and preprocessing cannot find structures in fewer pixels.
        ample_side: An image with a shorter longest side, pixels, gets the remark ``low_resolution``: the network's
            picture has 450 rows, and these must then be interpolated.
        ample_spacing_mm: An image with a larger pixel spacing of the stored matrix, mm, also gets the remark
            ``low_resolution``: 450 rows over 30 cm have 0.67 mm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accept: tuple[
        Annotated[
            RejectionReason,
            BeforeValidator(_require_special_case),
            WithJsonSchema({"enum": _SPECIAL_NAMES, "type": "string"}),
        ],
        ...,
    ] = ()
    max_lossy_ratio: float = Field(default=40.0, ge=1)
    least_side: int = Field(default=32, ge=1)
    ample_side: int = Field(default=450, ge=1)
    ample_spacing_mm: float = Field(default=0.7, gt=0)


STANDARD_ONLY: Final = AcceptanceConfig()
ANY_IMAGE: Final = AcceptanceConfig(accept=SPECIAL_CASES)


def printable(value: Any) -> str:
    """Return a received value as text for a message.

    Never call it on a value that identifies a person (name, ID, birth date, accession number, UID).

    Args:
        value: Value from a file.

    Returns:
        Printable characters, at most 64; ``absent`` for an empty value.
    """
    text = "" if value is None else "".join(c if c.isprintable() else "?" for c in str(value)).strip()
    if len(text) > _MAX_VALUE_CHARACTERS:
        text = text[: _MAX_VALUE_CHARACTERS - 1] + "…"
    return text or "absent"


@dataclass(frozen=True)
class Rejection:
    """One rejected file.

    Attributes:
        reason: Reason of the rejection.
        file: File name as in the source (relative to the archive in the ingest report).
        tag: DICOM tag, CSV column or property at fault, such as ``Modality (0008,0060)``.
        value: Received value; it never identifies a person.
        remedy: What to do or what is supported, as a clause.
    """

    reason: RejectionReason
    file: str
    tag: str
    value: str
    remedy: str

    @property
    def message(self) -> str:
        """One sentence with file, tag, value and what to do."""
        return f"{self.file}: {self.reason.value}, {self.tag} is {self.value}; {self.remedy}."


class ManifestError(Exception):
    """A labels file or manifest cannot be used; the message names the file, the fault and the requirement."""


class IngestError(Exception):
    """A file cannot be read as a view; reading a file raises only this exception.

    Attributes:
        reason: Reason of the rejection.
        file: File name.
        tag: DICOM tag, CSV column or property at fault.
        value: Received value; it never identifies a person.
        remedy: What to do or what is supported.
    """

    def __init__(self, reason: RejectionReason, file: str, tag: str, value: str, remedy: str) -> None:
        # Exception gets all arguments, so that the error can be pickled between Beam workers.
        super().__init__(reason, file, tag, value, remedy)
        self.reason = reason
        self.file = file
        self.tag = tag
        self.value = value
        self.remedy = remedy

    def rejection(self, file: str | None = None) -> Rejection:
        """Return the error as a record, with another file name if one is given."""
        return Rejection(self.reason, file or self.file, self.tag, self.value, self.remedy)

    def __str__(self) -> str:
        return self.rejection().message
