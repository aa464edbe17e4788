"""Map stored values to display grey, with one table per image.

Every step of the DICOM grey-scale pipeline (PS3.4 N.2.1) is a function of the stored value only. So it is computed once
for each possible value of a pixel's cell (at most 65,536), and each pixel is looked up in the table. This is exact and
needs no float image of 14 million pixels.

Steps:
    1. The value in the cell, see ``stored_values``.
    2. Modality LUT, otherwise rescale slope and intercept (PS3.3 C.11.1). A slope or intercept that cannot be read, or
       a slope of 0, is rejected: a guess would change the picture.
    3. VOI LUT, otherwise window (PS3.3 C.11.2), otherwise the full range of the stored bits. If there are several LUTs,
       or several windows and no LUT, ``voi_index`` selects one; if that is absent or not valid, the first valid one is
       used. ``transforms`` says which are valid. FOR PROCESSING images have another rule for this step and the next,
       see below.
    4. MONOCHROME1 is inverted, once, over the full range.
    5. The result is scaled to 0..65535. The minimum and maximum of the image are never used.
    6. Padding becomes black, because it is not tissue.

``grey_scale_of`` reads all header attributes for these steps before any pixel is decoded. An image that cannot be
displayed is rejected there, so listing an archive and reading it have the same result.

FOR PROCESSING images, which a configuration can accept, have detector values that are not made for display. They have
no window and use the whole range of the detector. Two attributes replace the window (PS3.3 C.8.11.3.1.2). Pixel
Intensity Relationship (0028,1040) is LIN if values are proportional to the X-ray intensity, so that their logarithm
falls with the thickness of the tissue. Its sign (0028,1041) says whether more X-rays give higher values, so only the
sign decides which end is bright. Without a sign MONOCHROME1 decides, as for other images. A network that is trained on
FOR PRESENTATION images finds other contrasts in these images, because they lack the manufacturer's processing.

Presentation LUT Shape (2050,0020) is not read. It must be INVERSE with MONOCHROME1 and IDENTITY with MONOCHROME2 (PS3.3
C.8.11.3), so it can only repeat Photometric Interpretation (0028,0004) or contradict it. In the systems that are known
to contradict themselves (Fuji DX, for which dcm4che has the option ``--noshape``), the shape is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from components.dicom.grey.stored_values import Cells, stored_range
from components.dicom.grey.transforms import Lut, Window, luts_of, window_fraction, windows_of
from components.dicom.headers import tags
from components.dicom.headers.special_cases import is_for_processing
from components.dicom.rejections import IngestError, RejectionReason, printable
from components.dicom.remarks import Remark, joined

_WHITE: Final = 65535
# Rows per look-up: the table and the strip stay in the processor's cache.
_STRIP: Final = 64
_Voi = TypeVar("_Voi", Window, Lut)


@dataclass(frozen=True)
class Rescale:
    """Rescale Slope (0028,1053), not 0, and Rescale Intercept (0028,1052)."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class RawScale:
    """How detector values become grey.

    Attributes:
        linear: Values are proportional to the X-ray intensity, so their logarithm is used.
        inverted: The lowest value is the densest.
    """

    linear: bool
    inverted: bool


def raw_scale_of(dataset: Dataset) -> RawScale | None:
    """Read how detector values become grey; None if the image is not FOR PROCESSING."""
    if not is_for_processing(dataset):
        return None
    sign = tags.integer(dataset, "PixelIntensityRelationshipSign")
    inverted = sign == 1 if sign in (1, -1) else tags.code(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    return RawScale(tags.code(dataset, "PixelIntensityRelationship") == "LIN", inverted)


def raw_fraction(values: NDArray[Any], first: float, last: float, scale: RawScale) -> NDArray[Any]:
    """Turn detector values into grey.

    Args:
        values: Values after the Modality LUT, float64 [N].
        first: Lowest possible value.
        last: Highest possible value.
        scale: How detector values become grey.

    Returns:
        Grey, float64 [N] in 0..1, 1 = densest.
    """
    if scale.linear:
        fraction = np.log1p(np.clip(values - first, 0, None)) / np.log1p(last - first)
    else:
        fraction = (values - first) / (last - first)
    result: NDArray[Any] = 1 - fraction if scale.inverted else fraction
    return result


@dataclass(frozen=True, eq=False)
class GreyScale:
    """The checked grey scale of a header.

    Attributes:
        modality: First valid Modality LUT, otherwise the rescale.
        first: Lowest value after it.
        last: Highest value after it.
        luts: VOI LUTs in order, None for one that is not valid.
        windows: Windows in order, None for one that is not valid.
        raw: Replaces VOI LUT and window if the image is FOR PROCESSING.
        inverted: Photometric Interpretation (0028,0004) is MONOCHROME1.
        remarks: Remarks on the grey scale.
    """

    modality: Rescale | Lut
    first: float
    last: float
    luts: tuple[Lut | None, ...] = ()
    windows: tuple[Window | None, ...] = ()
    raw: RawScale | None = None
    inverted: bool = False
    remarks: tuple[Remark, ...] = ()

    def grey(self, stored: NDArray[Any], voi_index: int = 0) -> NDArray[np.uint16]:
        """Compute the grey of stored values.

        Args:
            stored: Stored values, integer [N], within ``stored_range``.
            voi_index: Index of the VOI LUT or window if there are several, from 0.

        Returns:
            uint16 [N]: grey, 65535 = brightest = densest.
        """
        values = stored.astype(np.float64)
        if isinstance(self.modality, Lut):
            values = self.modality.apply(values)
        else:
            values = values * self.modality.slope + self.modality.intercept
        if self.raw is not None:
            fraction = raw_fraction(values, self.first, self.last, self.raw)
            return _sixteen_bits(fraction)
        if (lut := _chosen(self.luts, voi_index)) is not None:
            fraction = lut.apply(values) / lut.top
        elif (window := _chosen(self.windows, voi_index)) is not None:
            fraction = window_fraction(values, window)
        else:
            fraction = (values - self.first) / (self.last - self.first)
        if self.inverted:
            fraction = 1 - fraction
        return _sixteen_bits(fraction)


def _chosen(options: Sequence[_Voi | None], index: int) -> _Voi | None:
    """Return the option with this index, otherwise the first valid one, otherwise None."""
    asked = options[index] if index < len(options) else None
    return asked if asked is not None else next((option for option in options if option is not None), None)


def _sixteen_bits(fraction: NDArray[Any]) -> NDArray[np.uint16]:
    grey: NDArray[np.uint16] = np.rint(np.clip(fraction, 0, 1) * _WHITE).astype(np.uint16)
    return grey


def _refused(keyword: str, file: str, value: str, remedy: str) -> IngestError:
    return IngestError(RejectionReason.MALFORMED_HEADER, file, tags.tag_name(keyword), printable(value), remedy)


def _rescale_number(dataset: Dataset, keyword: str, file: str, default: float) -> tuple[float, tuple[Remark, ...]]:
    """Read a slope or an intercept; return the default if it is absent or empty."""
    texts = [text for text in tags.decimal_texts(dataset, keyword) if text]
    if not texts:
        return default, ()
    found = [tags.parse_decimal(text) for text in texts]
    number = found[0]
    if number is None or any(other is None or other.value != number.value for other in found):
        remedy = "a number is required, because a wrong one changes the picture; export the image again"
        raise _refused(keyword, file, "\\".join(texts), remedy)
    return number.value, (Remark.DECIMAL_COMMA,) if number.comma else ()


def _modality_of(
    dataset: Dataset, file: str, low: int, high: int
) -> tuple[Rescale | Lut, float, float, tuple[Remark, ...]]:
    """Read the first step after the stored value, and the range of its output."""
    luts = luts_of(dataset, "ModalityLUTSequence", file, low, high)
    if (lut := _chosen(luts, 0)) is not None:
        # Windows and VOI LUTs refer to output values of the modality LUT.
        return lut, 0.0, lut.top, (Remark.UNUSABLE_LUT,) if None in luts else ()
    slope, slope_remarks = _rescale_number(dataset, "RescaleSlope", file, 1.0)
    intercept, intercept_remarks = _rescale_number(dataset, "RescaleIntercept", file, 0.0)
    first, last = sorted((low * slope + intercept, high * slope + intercept))
    if not 0 < last - first < np.inf:
        raise _refused("RescaleSlope", file, f"{slope:g}, intercept {intercept:g}", "it leaves no range of values")
    return Rescale(slope, intercept), first, last, joined(slope_remarks, intercept_remarks)


def grey_scale_of(dataset: Dataset, file: str) -> GreyScale:
    """Read the grey scale of a header.

    Args:
        dataset: DICOM header with valid Bits Stored (0028,0101), 8 to 16, and Pixel Representation (0028,0103).
        file: File name for error messages.

    Returns:
        The grey scale.

    Raises:
        IngestError: ``malformed_header``, a rescale or LUT cannot be used; the error names the tag and the value.
    """
    low, high = stored_range(dataset.BitsStored, dataset.PixelRepresentation == 1)
    modality, first, last, remarks = _modality_of(dataset, file, low, high)
    raw = raw_scale_of(dataset)
    inverted = tags.code(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    if raw is not None:
        return GreyScale(modality, first, last, raw=raw, remarks=remarks)
    luts = luts_of(dataset, "VOILUTSequence", file, first, last)
    if luts:
        remarks = joined(remarks, (Remark.UNUSABLE_LUT,) if None in luts else ())
        return GreyScale(modality, first, last, luts=luts, inverted=inverted, remarks=remarks)
    windows = windows_of(dataset, first, last)
    remarks = joined(remarks, windows.remarks)
    return GreyScale(modality, first, last, windows=windows.pairs, inverted=inverted, remarks=remarks)


def to_grey(pixels: NDArray[Any], cells: Cells, scale: GreyScale, voi_index: int = 0) -> NDArray[Any]:
    """Map decoded pixels to grey.

    Args:
        pixels: Decoded pixels, (u)int8 or (u)int16 [H, W] of either byte order.
        cells: Meaning of their cells.
        scale: Their grey scale.
        voi_index: Index of the VOI LUT or window if there are several, from 0.

    Returns:
        uint16 [H, W], bright = dense.
    """
    table = scale.grey(cells.values, voi_index)
    table[cells.padding] = 0
    if pixels.itemsize == 1:
        return cv2.LUT(pixels.view(np.uint8), table)
    if not pixels.dtype.isnative:
        # Swapping the bytes of the table's indices is cheaper than swapping the bytes of the image.
        table = table[np.arange(table.size, dtype=np.uint16).byteswap()]
    words = pixels.view(np.uint16)
    grey = np.empty(pixels.shape, np.uint16)
    for row in range(0, len(words), _STRIP):
        np.take(table, words[row : row + _STRIP], out=grey[row : row + _STRIP], mode="clip")
    return grey
