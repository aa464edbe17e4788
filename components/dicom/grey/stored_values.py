"""Find what a stored value is: which bits of a pixel's cell count, and which pixels are padding.

A cell is the 8 or 16 bits of a pixel in memory. All rules are functions of the cell only, so they become tables with
one entry for each of the 256 or 65,536 possible cells.

Rules (PS3.5 section 8.1.1, PS3.3 C.7.6.3.1.2 and C.7.5.1.1.2):
    * The sample has Bits Stored bits, up to High Bit. Bits below are shifted out, and bits above are cut off: they can
      have any value. The sign of a signed sample is its highest stored bit. Unused bits can contain overlays in files
      from before 2004 (Overlay Bit Position (60xx,0102), or what an anonymiser left of them), signs, or anything else.
    * Some systems write too small a Bits Stored. Then cutting bits off would turn the brightest tissue black, so the
      unused bits are checked.
    * Pixels that are equal to Pixel Padding Value (0028,0120), or between it and Pixel Padding Range Limit (0028,0121),
      whichever is greater, are padding. If the stored bits cannot hold the padding value, it is compared with the whole
      cell.

The check of unused bits uses that neighbours in a mammogram have similar values. If the unused bits of two neighbours
differ, there are two possibilities. The whole cells are similar, and the stored bits jump by nearly their full range:
the unused bits belong to the value, as at every multiple of 4096 if values of 14 bits are declared as 12 bits. Or the
stored bits are similar, and the whole cells jump: the unused bits are junk, as at the edge of an overlay. Each pair of
neighbours has one vote. On phantoms with 0.1 mm per pixel at most 1 % of the pairs vote for values if unused bits
contain overlays, random bits or signs, and 87 % or more if two or four bits too few are declared. At 1.6 mm, where
edges are steep, it is at most 25 % and at least 47 %.

The vote can fail if few pixels use the unused bits: a picture of 13 bits declared as 12, with 0.1 % of its pixels above
4095, has 28 %. Its unused bits are masked, with a remark, as in PS3.5 8.1.1. The other result would make these few
pixels white, also with a remark; only more of them lead to a rejection.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.remarks import Remark

# Largest share of the pairs that vote for values if the unused bits are junk.
_MAX_JUNK_SHARE: Final = 1 / 3
# Largest share of pixels beyond the stored bits that are single faulty pixels: they get the nearest possible value.
_MAX_FEW: Final = 0.001
# Values up to this part of the range beyond it get the nearest possible value.
_OVERSHOOT_PART: Final = 16
_STRIP: Final = 256


class UnusedBits(Enum):
    """Content of the unused bits.

    Members:
        CLEAR: Nothing, or signs.
        JUNK: Bits that do not belong to the value.
        OVERSHOOT: Higher bits of the value, in a few single pixels, or slightly beyond the range as after lossy
            compression.
        VALUES: Higher bits of the value.
    """

    CLEAR = "clear"
    JUNK = "junk"
    OVERSHOOT = "overshoot"
    VALUES = "values"


def _votes(strip: tuple[NDArray[Any], ...], axis: int) -> tuple[int, int]:
    """Count the pairs along an axis whose whole cells are more similar, and those whose stored bits are.

    Args:
        strip: For each pixel, [H, W]: value of the whole cell, value of the stored bits, whether it votes.
        axis: 0 or 1.
    """
    whole, stored, counts = strip
    ends = [slice(None), slice(None)]
    starts = [slice(None), slice(None)]
    ends[axis], starts[axis] = slice(1, None), slice(None, -1)
    a, b = tuple(ends), tuple(starts)
    differs = (whole[a] - stored[a] != whole[b] - stored[b]) & counts[a] & counts[b]
    of_whole, of_stored = (np.abs(values[a] - values[b])[differs] for values in (whole, stored))
    return int((of_whole < of_stored).sum()), int((of_stored < of_whole).sum())


def judge_unused_bits(
    pixels: NDArray[Any], whole: NDArray[Any], stored: NDArray[Any], padding: NDArray[Any]
) -> UnusedBits:
    """Decide what the unused bits of an image contain.

    Args:
        pixels: Cells, (u)int8 or (u)int16 [H, W] of either byte order.
        whole: int32 [2 ** bits of a cell]: value of each possible cell if all its bits count.
        stored: int32 of the same shape: its value if only the stored bits count.
        padding: bool of the same shape: the cell is padding and does not vote.

    Returns:
        The content.
    """
    exceeds = (whole != stored) & ~padding
    # Cells of negative values are at the end of the tables, at negative indices.
    if not exceeds[np.arange(int(pixels.min()), int(pixels.max()) + 1)].any():
        return UnusedBits.CLEAR
    cells = pixels.view(pixels.dtype.str.replace("i", "u"))
    beyond = pairs_for_values = pairs_for_junk = 0
    for row in range(0, len(cells), _STRIP):
        strip = cells[row : row + _STRIP + 1]
        beyond += int(exceeds[strip[:_STRIP]].sum())
        if not exceeds[strip].any():
            continue
        tables = whole[strip], stored[strip], ~padding[strip]
        for axis, part in ((0, tables), (1, tuple(table[:_STRIP] for table in tables))):
            values, junk = _votes(part, axis)
            pairs_for_values += values
            pairs_for_junk += junk
    if not beyond:
        return UnusedBits.CLEAR
    if pairs_for_values <= _MAX_JUNK_SHARE * (pairs_for_values + pairs_for_junk):
        return UnusedBits.JUNK
    low, high = int(stored.min()), int(stored.max())
    found = np.unique(cells)
    room = (high - low) // _OVERSHOOT_PART
    slightly = bool(np.all((whole[found] >= low - room) & (whole[found] <= high + room) | padding[found]))
    return UnusedBits.OVERSHOOT if slightly or beyond <= _MAX_FEW * cells.size else UnusedBits.VALUES


@dataclass(frozen=True, eq=False)
class Cells:
    """The meaning of each cell of an image.

    Attributes:
        values: int32 [number of cells]: stored value, within ``stored_range``. 16-bit cells higher than the image's
            highest one can be missing at the end.
        padding: bool of the same shape: the cell is padding.
        remarks: Remarks on the cells.
    """

    values: NDArray[Any]
    padding: NDArray[Any]
    remarks: tuple[Remark, ...] = ()


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Return the lowest and highest value for a number of stored bits."""
    return (-(1 << (bits_stored - 1)), (1 << (bits_stored - 1)) - 1) if signed else (0, (1 << bits_stored) - 1)


def cells_of(pixels: NDArray[Any], dataset: Dataset, shift: int, file: str) -> Cells:
    """Find the meaning of each possible cell of an image.

    Args:
        pixels: Decoded pixels, (u)int8 or (u)int16 [H, W] of either byte order.
        dataset: DICOM header with Bits Stored (0028,0101), 8 to 16, Pixel Representation (0028,0103), and padding.
        shift: Number of unused bits below the sample: High Bit (0028,0102) + 1 - Bits Stored; 0 for a compressed stream
            of samples.
        file: File name for error messages.

    Returns:
        The meaning of the cells.

    Raises:
        IngestError: ``malformed_header``, many pixels are greater than Bits Stored allows.
    """
    bits, signed, cell_bits = dataset.BitsStored, dataset.PixelRepresentation == 1, pixels.itemsize * 8
    low, high = stored_range(bits, signed)
    plain = not signed and pixels.dtype == np.uint16 and pixels.dtype.isnative
    # Shorter tables are made in less time: an image of 12 bits needs a sixteenth of the cells.
    used = max(bits + shift, int(pixels.max()).bit_length()) if plain and bits < cell_bits else cell_bits
    cells = np.arange(1 << used, dtype=np.int32)
    whole = _as_signed(cells, cell_bits) if signed else cells
    values = ((cells >> shift) - low) % (1 << bits) + low
    padding = _padding(dataset, values, whole, (low, high))
    if bits == cell_bits or used == bits + shift or _has_embedded_overlay(dataset):
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


def _as_signed(cells: NDArray[Any], bits: int) -> NDArray[Any]:
    return np.where(cells >= 1 << (bits - 1), cells - (1 << bits), cells)


def _has_embedded_overlay(dataset: Dataset) -> bool:
    # Even groups 6000 to 601E (PS3.5 section 7.6); position 0 means that the overlay has its own data.
    return any((tags.first_number(dataset, group << 16 | 0x0102) or 0) > 0 for group in range(0x6000, 0x6020, 2))


def _padding(dataset: Dataset, values: NDArray[Any], whole: NDArray[Any], limits: tuple[int, int]) -> NDArray[Any]:
    """Find the cells that are padding; some systems write padding values with a wrong VR or sign."""
    value, limit = (tags.integer(dataset, k) for k in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None:
        return np.zeros(values.shape, bool)
    low, high = limits
    signed = low < 0
    ends = sorted(_end(end, signed) for end in (value, value if limit is None else limit))
    found: NDArray[Any] = (values >= ends[0]) & (values <= ends[1])
    if all(low <= end <= high for end in ends):
        return found
    found |= (whole >= ends[0]) & (whole <= ends[1])
    if signed and ends[0] == ends[1] > high:
        # A negative value written as its stored bits, without the sign in the bits above.
        modulus = high - low + 1
        if ends[0] < modulus:
            found |= values == ends[0] - modulus
    return found


def _end(value: int, signed: bool) -> int:
    """Give an end of the padding range the sign of the pixels, from its 16 bits."""
    if signed and value >= 1 << 15:
        return value - (1 << 16)
    return value + (1 << 16) if not signed and value < 0 else value
