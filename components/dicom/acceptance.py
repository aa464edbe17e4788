"""Special images: the closed list of kinds that ingest leaves out by default, and which of them to take.

One network is trained on one kind of image: the whole breast, undisturbed, in a standard projection, ready to be
looked at. Whatever departs from that is a special case with a rejection reason of its own. A configuration can accept a
case (``ingest.accept``); the model's preprocessing recipe carries the same choice to the client.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from components.dicom.rejections import RejectionReason

# Largest matrix that is decoded, rows x columns, by default: a guard against hostile headers.
DEFAULT_MAX_PIXELS: Final = 64_000_000


class SpecialCase(str, Enum):
    """Every kind of image that is left out unless a configuration accepts it; see ``special_cases`` for the evidence.

    Three need care when accepted. ``for_processing``: see ``raw_values`` for what becomes of them.
    ``burned_in_annotation``: the text stays in the pixels that ingest writes; preprocessing blackens all that is not
    breast, so text beside the breast mostly does not reach the network, and text on the breast does.
    ``mixed_patients``: not a kind of image but of exam, whose headers name several patients
    (``exams.mixed_patients``); once accepted, such an exam counts as a patient of its own, and nothing keeps its
    women's other exams in one split with it.

    Headers of anonymised files are stripped, so the picture is judged too (``pictures``): paddles, implants, specimens,
    ``collimated`` fields, ``cropped`` pictures and cut-off breasts are found in the pixels under any header.
    """

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

    @property
    def reason(self) -> RejectionReason:
        """The reason for which an image of this kind is left out."""
        return RejectionReason(self.value)


class AcceptanceConfig(BaseModel):
    """Which special images are taken.

    Attributes:
        accept: Special cases that are taken like any other image.
        max_lossy_ratio: Highest Lossy Image Compression Ratio (0028,2112) that counts as an ordinary image. Readers
            found 40:1 wavelet compression as sufficient as lossless (Destounis et al., J Digit Imaging 24, 2011).
        least_side: Shortest longest side of the stored matrix, pixels, that is taken; smaller is ``low_resolution``. 32
            pixels over a field of 24 cm are 7 mm a pixel, and preprocessing tells nothing apart in fewer.
        ample_side: Below this longest side, pixels, an image is taken with the remark ``low_resolution``: the network's
            picture has 450 rows, which must then be made up.
        ample_spacing_mm: The same above this pixel spacing of the stored matrix; 450 rows over 30 cm have 0.67 mm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accept: tuple[SpecialCase, ...] = ()
    max_lossy_ratio: float = Field(default=40.0, ge=1)
    least_side: int = Field(default=32, ge=1)
    ample_side: int = Field(default=450, ge=1)
    ample_spacing_mm: float = Field(default=0.7, gt=0)


STANDARD_ONLY: Final = AcceptanceConfig()
ANY_IMAGE: Final = AcceptanceConfig(accept=tuple(SpecialCase))
