"""Pictures that are the same wherever they are computed: exact integers, no random numbers of a library."""

from __future__ import annotations

import numpy as np

ROWS, COLUMNS = 64, 48


def picture(bits: int, signed: bool, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Draws a ramp with grain that holds the lowest and the highest value.

    Args:
        bits: Bits stored, 8 to 16.
        signed: Whether the values are signed.
        rows: Rows, pixels.
        columns: Columns, pixels.

    Returns:
        (u)int8 for 8 bits, else (u)int16, [rows, columns].
    """
    top = (1 << bits) - 1
    y, x = np.mgrid[:rows, :columns].astype(np.int64)
    ramp = (y * columns + x) * top // (rows * columns - 1)
    grain = (y * 7919 + x * 104729 + y * x * 31) % 97 - 48
    values = np.clip(ramp + grain * top // 2500, 0, top)
    values[0, 0], values[-1, -1] = 0, top
    if signed:
        values -= 1 << (bits - 1)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
