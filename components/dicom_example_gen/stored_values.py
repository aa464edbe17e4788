"""What a stored value is: which bits of a pixel's cell count, and which pixels are padding.

A cell is the 8 or 16 bits that a pixel has in memory. All rules are functions of the cell alone, so they become tables
with one entry for each of the 256 or 65,536 possible cells.

Rules (PS3.5 section 8.1.1, PS3.3 C.7.6.3.1.2 and C.7.5.1.1.2):
    * The sample is the Bits Stored bits up to High Bit. Bits below are shifted out.
    * Bits above are no part of a signed sample (the sign is that of the highest stored bit), nor of any sample if the
      file keeps an overlay in them (Overlay Bit Position (60xx,0102), as files before 2004 do).
    * Otherwise an unsigned sample that exceeds the stored bits is a fault of the writer, and counts as the nearest
      possible value: cutting its high bits off would turn the brightest tissue black.
    * Pixels that equal Pixel Padding Value (0028,0120), or lie between it and Pixel Padding Range Limit (0028,0121),
      whichever is the greater, are padding.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from components.dicom_example_gen import tags


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Returns the lowest and highest value that the stored bits can hold."""
    return (-(1 << (bits_stored - 1)), (1 << (bits_stored - 1)) - 1) if signed else (0, (1 << bits_stored) - 1)


def _has_embedded_overlay(dataset: Dataset) -> bool:
    # Groups 6000 to 601E, even (PS3.5 section 7.6); position 0 says that the overlay has data of its own.
    return any((tags.number(dataset, group << 16 | 0x0102) or 0) > 0 for group in range(0x6000, 0x6020, 2))


def values_of_cells(dataset: Dataset, cell_bits: int, bits_stored: int, signed: bool, shift: int) -> np.ndarray:
    """Computes the stored value of every possible cell.

    Args:
        dataset: DICOM header.
        cell_bits: Size of a cell, 8 or 16 bits.
        bits_stored: Bits Stored (0028,0101).
        signed: Whether Pixel Representation (0028,0103) is 1.
        shift: Unused bits below the sample: High Bit (0028,0102) + 1 - Bits Stored, 0 out of a compressed stream.

    Returns:
        int32 [2 ** cell_bits], within ``stored_range``.
    """
    cells = np.arange(1 << cell_bits, dtype=np.int32) >> shift
    low, high = stored_range(bits_stored, signed)
    if signed:
        modulus = 1 << bits_stored
        return (cells - low) % modulus + low
    if _has_embedded_overlay(dataset):
        return cells & high
    return np.minimum(cells, high)


def padding_cells(dataset: Dataset, values: np.ndarray, signed: bool) -> np.ndarray:
    """Finds the cells that are padding.

    Args:
        dataset: DICOM header.
        values: Stored value of every possible cell, as ``values_of_cells`` gives it.
        signed: Whether Pixel Representation (0028,0103) is 1. Writers get the VR of padding values wrong, so a value
            that only the other sign could hold is taken by its bits.

    Returns:
        bool, as many as ``values``.
    """
    padding, limit = (tags.integer(dataset, k) for k in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if padding is None:
        return np.zeros(values.shape, bool)
    ends = [_with_sign(end, signed) for end in (padding, padding if limit is None else limit)]
    # Padding may lie outside of what the stored bits can hold; then the whole cell tells.
    cells = np.arange(values.size, dtype=np.int32)
    if signed:
        cells = np.where(cells >= values.size // 2, cells - values.size, cells)
    return ((values >= min(ends)) & (values <= max(ends))) | ((cells >= min(ends)) & (cells <= max(ends)))


def _with_sign(value: int, signed: bool) -> int:
    if signed and value >= 1 << 15:
        return value - (1 << 16)
    return value + (1 << 16) if not signed and value < 0 else value
