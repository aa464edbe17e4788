r"""Stored values to display grey, as one table per image.

Every step of the DICOM grey-scale pipeline (PS3.4 N.2.1) is a function of the stored value alone. So it is
computed once for each value that a pixel's cell can hold (at most 65,536) and the image is looked up in the
table: exact, and no float image of 14 million pixels is made.

Steps:
    1. the value that is stored in the cell, see ``stored_values``;
    2. Modality LUT, else rescale slope and intercept (PS3.3 C.11.1). A slope or intercept that is there and cannot be
       read, or a slope of 0, is refused: every value it could stand for gives another picture;
    3. VOI LUT, else window (PS3.3 C.11.2), else the full range of the stored bits. Of several LUTs, or of several
       windows where there is no LUT, the one that ``voi_index`` names; where that is absent or not sound, the first
       sound one. See ``luts`` and ``windows`` for what is sound. FOR PROCESSING images have their own rule for this
       step and the next, see ``raw_values``;
    4. MONOCHROME1 inverted, once, over the full range;
    5. scaled to 0..65535. The image's own minimum and maximum never enter;
    6. padding becomes black: it is no tissue.

All of a header that these steps need is read by ``grey_scale_of``, before any pixel is decoded: what cannot be shown is
refused there, so that listing an archive and reading it come to the same verdict.

Presentation LUT Shape (2050,0020) is left unread. It must say INVERSE with MONOCHROME1 and IDENTITY with MONOCHROME2
(PS3.3 C.8.11.3), so it can only repeat Photometric Interpretation (0028,0004) or contradict it, and where systems are
known to contradict themselves (Fuji DX, for which dcm4che has its option ``--noshape``), the shape is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import cv2
import numpy as np
from pydicom.dataset import Dataset

from components.dicom.grey.luts import Lut, luts_of
from components.dicom.grey.raw_values import RawScale, raw_fraction, raw_scale_of
from components.dicom.grey.stored_values import Cells, stored_range
from components.dicom.grey.windows import Window, window_fraction, windows_of
from components.dicom.headers import tags
from components.dicom.headers.decimals import parse_decimal
from components.dicom.rejections import IngestError, RejectionReason, shown
from components.dicom.remarks import Remark, joined

_WHITE: Final = 65535
# Rows looked up at once: the table and the strip stay in the processor's cache.
_STRIP: Final = 64
_Voi = TypeVar("_Voi", Window, Lut)


@dataclass(frozen=True)
class Rescale:
    """Rescale Slope (0028,1053), not 0, and Rescale Intercept (0028,1052)."""

    slope: float
    intercept: float


@dataclass(frozen=True, eq=False)
class GreyScale:
    """The grey scale of a header, found to be sound.

    Attributes:
        modality: First Modality LUT that is sound, else the rescale.
        first: Lowest value after it.
        last: Highest value after it.
        luts: VOI LUTs in order, None for one that is not sound.
        windows: Windows in order, likewise.
        raw: What takes the place of VOI LUT and window where the image is FOR PROCESSING.
        inverted: Photometric Interpretation (0028,0004) is MONOCHROME1.
        remarks: What must be told of how it was read.
    """

    modality: Rescale | Lut
    first: float
    last: float
    luts: tuple[Lut | None, ...] = ()
    windows: tuple[Window | None, ...] = ()
    raw: RawScale | None = None
    inverted: bool = False
    remarks: tuple[Remark, ...] = ()

    def grey(self, stored: np.ndarray, voi_index: int = 0) -> np.ndarray:
        """Computes the grey of stored values.

        Args:
            stored: Stored values, integer [N], within ``stored_range``.
            voi_index: VOI LUT or window of several, from 0.

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
            return np.rint(np.clip(fraction, 0, 1) * _WHITE).astype(np.uint16)
        if (lut := _chosen(self.luts, voi_index)) is not None:
            fraction = lut.apply(values) / lut.top
        elif (window := _chosen(self.windows, voi_index)) is not None:
            fraction = window_fraction(values, window)
        else:
            fraction = (values - self.first) / (self.last - self.first)
        if self.inverted:
            fraction = 1 - fraction
        return np.rint(np.clip(fraction, 0, 1) * _WHITE).astype(np.uint16)


def _chosen(options: Sequence[_Voi | None], index: int) -> _Voi | None:
    """Returns the one of an index, else the first sound one, else None."""
    asked = options[index] if index < len(options) else None
    return asked if asked is not None else next((option for option in options if option is not None), None)


def _refused(keyword: str, file: str, value: str, remedy: str) -> IngestError:
    return IngestError(RejectionReason.MALFORMED_HEADER, file, tags.tag_name(keyword), shown(value), remedy)


def _rescale_number(dataset: Dataset, keyword: str, file: str, default: float) -> tuple[float, tuple[Remark, ...]]:
    """Reads a slope or an intercept; absent or empty is the default."""
    texts = [text for text in tags.decimal_texts(dataset, keyword) if text]
    if not texts:
        return default, ()
    found = [parse_decimal(text) for text in texts]
    number = found[0]
    if number is None or any(other is None or other.value != number.value for other in found):
        remedy = "a number is needed, for another one gives another picture; export the image again"
        raise _refused(keyword, file, "\\".join(texts), remedy)
    return number.value, (Remark.DECIMAL_COMMA,) if number.comma else ()


def _modality_of(
    dataset: Dataset, file: str, low: int, high: int
) -> tuple[Rescale | Lut, float, float, tuple[Remark, ...]]:
    """Reads the first step after the stored value, and the range of what it gives."""
    luts = luts_of(dataset, "ModalityLUTSequence", file, low, high)
    if (lut := _chosen(luts, 0)) is not None:
        # Windows and VOI LUTs count in output values of the modality LUT.
        return lut, 0.0, lut.top, (Remark.UNUSABLE_LUT,) if None in luts else ()
    slope, of_slope = _rescale_number(dataset, "RescaleSlope", file, 1.0)
    intercept, of_intercept = _rescale_number(dataset, "RescaleIntercept", file, 0.0)
    first, last = sorted((low * slope + intercept, high * slope + intercept))
    if not 0 < last - first < np.inf:
        raise _refused("RescaleSlope", file, f"{slope:g}, intercept {intercept:g}", "it leaves no range of values")
    return Rescale(slope, intercept), first, last, joined(of_slope, of_intercept)


def grey_scale_of(dataset: Dataset, file: str) -> GreyScale:
    """Reads the grey scale of a header.

    Args:
        dataset: DICOM header with sound Bits Stored (0028,0101), 8 to 16, and Pixel Representation (0028,0103).
        file: File name for error messages.

    Returns:
        The grey scale.

    Raises:
        IngestError: ``malformed_header``, a rescale or LUT cannot be used; it names the tag and the value.
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


def to_grey(pixels: np.ndarray, cells: Cells, scale: GreyScale, voi_index: int = 0) -> np.ndarray:
    """Turns decoded pixels into grey.

    Args:
        pixels: Decoded pixels, (u)int8 or (u)int16 [H, W] of either byte order.
        cells: What their cells mean.
        scale: Their grey scale.
        voi_index: VOI LUT or window of several, from 0.

    Returns:
        uint16 [H, W], bright = dense.
    """
    table = scale.grey(cells.values, voi_index)
    table[cells.padding] = 0
    if pixels.itemsize == 1:
        return cv2.LUT(pixels.view(np.uint8), table)
    if not pixels.dtype.isnative:
        # Looking a swapped cell up at its swapped place saves swapping the image.
        table = table[np.arange(table.size, dtype=np.uint16).byteswap()]
    words = pixels.view(np.uint16)
    grey = np.empty(pixels.shape, np.uint16)
    for row in range(0, len(words), _STRIP):
        np.take(table, words[row : row + _STRIP], out=grey[row : row + _STRIP], mode="clip")
    return grey
