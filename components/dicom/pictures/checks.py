"""Find special images in their pixels: the one function that reading a view calls."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.dicom.headers.header import ViewHeader
from components.dicom.pictures.borders import border_findings
from components.dicom.pictures.field import PictureFinding, read_field, without_padding
from components.dicom.pictures.implant import implant_finding
from components.dicom.pictures.paddle import paddle_finding
from components.dicom.rejections import SPECIAL_CASES, AcceptanceConfig, IngestError, RejectionReason
from components.dicom.remarks import Remark
from schema.features import is_mlo

# Pictures with a shorter longest side have no shapes to judge.
_LEAST_SIDE: Final = 96
_PARTIAL: Final = frozenset({RejectionReason.COLLIMATED, RejectionReason.CROPPED, RejectionReason.BREAST_CUT_OFF})
# Remarks for evidence that is not enough to reject an image.
_POSSIBLE: Final = {
    RejectionReason.SPOT_COMPRESSION: Remark.POSSIBLE_PADDLE,
    RejectionReason.MAGNIFICATION: Remark.POSSIBLE_PADDLE,
    RejectionReason.IMPLANT_PRESENT: Remark.POSSIBLE_IMPLANT,
    RejectionReason.BREAST_CUT_OFF: Remark.POSSIBLE_CUT_OFF,
    RejectionReason.CROPPED: Remark.POSSIBLE_CUT_OFF,
}
# If a header names one of these and the configuration accepts it, it explains everything that the picture shows.
_EXPLAINS: Final = frozenset(
    {
        RejectionReason.QUALITY_CONTROL,
        RejectionReason.SPECIMEN,
        RejectionReason.BIOPSY,
        RejectionReason.TOMOSYNTHESIS,
        RejectionReason.SPOT_COMPRESSION,
        RejectionReason.MAGNIFICATION,
        RejectionReason.IMPLANT_DISPLACED,
        RejectionReason.IMPLANT_PRESENT,
        RejectionReason.CLEAVAGE,
        RejectionReason.AXILLARY_TAIL,
        RejectionReason.TANGENTIAL,
        RejectionReason.ANTERIOR_COMPRESSION,
        RejectionReason.PARTIAL_VIEW,
    }
)


def find_in_picture(pixels: NDArray[np.uint16], view: str, unit: float = 1.0) -> list[PictureFinding]:
    """List the special cases that a picture shows, the surest first.

    Args:
        pixels: uint16 [H, W], bright = dense, as the view is stored.
        view: One of ``schema.features.VIEWS``.
        unit: Pixels of the file per pixel of ``pixels``.

    Returns:
        Special cases, their evidence in words and numbers, and whether it is sure; positions are in pixels of the file.
    """
    if max(pixels.shape) < _LEAST_SIDE or min(pixels.shape) < _LEAST_SIDE // 3:
        return []
    kept, *start = without_padding(pixels, is_mlo(view))
    if min(kept.shape) < _LEAST_SIDE // 3:
        return []
    field = read_field(kept, unit, (start[0], start[1]))
    if field.shapeless or not field.tissue.any():
        return []  # preprocessing reports that there is no breast
    found = border_findings(field)
    implant = implant_finding(field)
    if implant:
        found = [implant, *found]
    if not (implant and implant.sure) and all(item.case is not RejectionReason.SPECIMEN for item in found):
        partial = any(item.case in _PARTIAL for item in found)
        found = [*paddle_finding(field, partial), *found]
    return sorted(found, key=lambda item: not item.sure)


def _require_size(header: ViewHeader, file: str, acceptance: AcceptanceConfig) -> tuple[Remark, ...]:
    longest = max(header.rows, header.columns)
    if longest < acceptance.least_side and RejectionReason.LOW_RESOLUTION not in acceptance.accept:
        raise IngestError(
            RejectionReason.LOW_RESOLUTION,
            file,
            "pixels",
            f"{header.rows} x {header.columns}",
            f"the longest side must have at least {acceptance.least_side} pixels, export the whole matrix",
        )
    few = longest < acceptance.ample_side or header.pixel_spacing_mm > acceptance.ample_spacing_mm
    return (Remark.LOW_RESOLUTION,) if few else ()


def judge_picture(
    pixels: NDArray[np.uint16], header: ViewHeader, file: str, acceptance: AcceptanceConfig
) -> tuple[tuple[RejectionReason, ...], tuple[Remark, ...]]:
    """Reject an image if its pixels show a special case that is not accepted.

    Args:
        pixels: uint16 [H, W], the view as it is stored.
        header: Header of the file.
        file: File name for error messages.
        acceptance: Accepted special cases.

    Returns:
        The accepted special cases from header and picture, and remarks.

    Raises:
        IngestError: The reason is the surest special case that is not accepted, the value is its evidence.
    """
    remarks = _require_size(header, file, acceptance)
    found = find_in_picture(pixels, header.view, max(header.rows, header.columns) / max(pixels.shape))
    new = [item for item in found if item.case not in acceptance.accept and not _EXPLAINS.intersection(header.special)]
    refused = [item for item in new if item.sure]
    if refused:
        names = ", ".join(dict.fromkeys(item.case.value for item in refused))
        remedy = f"look at it; special images are rejected, add {names} to pipeline.ingest.accept to accept them"
        raise IngestError(refused[0].case, file, "pixels", refused[0].evidence, remedy)
    remarks = (*remarks, *(_POSSIBLE[item.case] for item in new))
    shown = {item.case for item in found if item.sure}
    if not shown:
        return header.special, remarks
    cases = {*header.special, *shown}
    return tuple(case for case in SPECIAL_CASES if case in cases), (*remarks, Remark.SPECIAL_PICTURE)
