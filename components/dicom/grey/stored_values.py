"""What a stored value is: which bits of a pixel's cell count, and which pixels are padding.

A cell is the 8 or 16 bits that a pixel has in memory. All rules are functions of the cell alone, so they become tables
with one entry for each of the 256 or 65,536 possible cells.

Rules (PS3.5 section 8.1.1, PS3.3 C.7.6.3.1.2 and C.7.5.1.1.2):
    * The sample is the Bits Stored bits up to High Bit. Bits below are shifted out, bits above are cut off: nothing may
      be assumed of either. The sign of a signed sample is that of its highest stored bit. Unused bits hold overlays of
      files before 2004 (Overlay Bit Position (60xx,0102), or what an anonymiser left of them), signs, or anything.
    * Some writers name too few Bits Stored. Then cutting bits off would turn the brightest tissue black, so what the
      unused bits hold is looked at, see ``unused_bits``.
    * Pixels that equal Pixel Padding Value (0028,0120), or lie between it and Pixel Padding Range Limit (0028,0121),
      whichever is the greater, are padding. A value that the stored bits cannot hold stands for the whole cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from components.dicom.grey.unused_bits import UnusedBits, judge_unused_bits
from components.dicom.headers import tags
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.remarks import Remark


@dataclass(frozen=True, eq=False)
class Cells:
    """What each possible cell of an image means.

    Attributes:
        values: int32 [2 ** bits of a cell]: stored value, within ``stored_range``.
        padding: bool, as many: the cell is padding.
        remarks: What must be told of them.
    """

    values: np.ndarray
    padding: np.ndarray
    remarks: tuple[Remark, ...] = ()


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Returns the lowest and highest value that the stored bits can hold."""
    return (-(1 << (bits_stored - 1)), (1 << (bits_stored - 1)) - 1) if signed else (0, (1 << bits_stored) - 1)


def cells_of(pixels: np.ndarray, dataset: Dataset, shift: int, file: str) -> Cells:
    """Finds what each possible cell of an image means.

    Args:
        pixels: Decoded pixels, (u)int8 or (u)int16 [H, W] of either byte order.
        dataset: DICOM header with Bits Stored (0028,0101), 8 to 16, Pixel Representation (0028,0103), and padding.
        shift: Unused bits below the sample: High Bit (0028,0102) + 1 - Bits Stored, 0 out of a compressed stream of
            samples.
        file: File name for error messages.

    Returns:
        The meaning of the cells.

    Raises:
        IngestError: ``malformed_header``, many pixels are greater than Bits Stored can hold.
    """
    bits, signed, cell_bits = dataset.BitsStored, dataset.PixelRepresentation == 1, pixels.itemsize * 8
    low, high = stored_range(bits, signed)
    cells = np.arange(1 << cell_bits, dtype=np.int32)
    whole = _as_signed(cells, cell_bits) if signed else cells
    values = ((cells >> shift) - low) % (1 << bits) + low
    padding = _padding(dataset, values, whole, (low, high))
    if bits == cell_bits or _has_embedded_overlay(dataset):
        return Cells(values, padding)
    found = judge_unused_bits(pixels, whole >> shift, values, padding)
    if found is UnusedBits.CLEAR:
        return Cells(values, padding)
    if found is UnusedBits.JUNK:
        return Cells(values, padding, (Remark.UNUSED_BITS_SET,))
    if found is UnusedBits.OVERSHOOT:
        return Cells(np.clip(whole >> shift, low, high), padding, (Remark.VALUES_BEYOND_BITS_STORED,))
    raise IngestError(
        RejectionReason.MALFORMED_HEADER,
        file,
        tags.tag_name("BitsStored"),
        str(bits),
        f"the pixels have values from {int(pixels.min())} to {int(pixels.max())}; correct it, or export the file again",
    )


def _as_signed(cells: np.ndarray, bits: int) -> np.ndarray:
    return np.where(cells >= 1 << (bits - 1), cells - (1 << bits), cells)


def _has_embedded_overlay(dataset: Dataset) -> bool:
    # Groups 6000 to 601E, even (PS3.5 section 7.6); position 0 says that the overlay has data of its own.
    return any((tags.number(dataset, group << 16 | 0x0102) or 0) > 0 for group in range(0x6000, 0x6020, 2))


def _padding(dataset: Dataset, values: np.ndarray, whole: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """Finds the cells that are padding; writers get the VR and the sign of padding values wrong."""
    value, limit = (tags.integer(dataset, k) for k in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None:
        return np.zeros(values.shape, bool)
    low, high = limits
    signed = low < 0
    ends = sorted(_end(end, signed) for end in (value, value if limit is None else limit))
    found: np.ndarray = (values >= ends[0]) & (values <= ends[1])
    if all(low <= end <= high for end in ends):
        return found
    found |= (whole >= ends[0]) & (whole <= ends[1])
    if signed and ends[0] == ends[1] > high:
        # A negative value by its stored bits alone, without the sign in the bits above.
        modulus = high - low + 1
        if ends[0] < modulus:
            found |= values == ends[0] - modulus
    return found


def _end(value: int, signed: bool) -> int:
    """Gives an end of the padding range the sign that pixels have, taken by its 16 bits."""
    if signed and value >= 1 << 15:
        return value - (1 << 16)
    return value + (1 << 16) if not signed and value < 0 else value
