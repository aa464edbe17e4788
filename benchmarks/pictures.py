"""Pictures for benchmarks and tests."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 64, 48


def picture(bits: int, signed: bool, rows: int = ROWS, columns: int = COLUMNS) -> NDArray[Any]:
    """Draw a ramp with grain that holds the lowest and the highest value.

    It is the same wherever it is computed: exact integers, no random numbers of a library.

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
    result: NDArray[Any] = values.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    return result


def breast_png(number: int, size: int) -> bytes:
    """Make a PNG that compresses like a mammogram: fine texture in a breast, black around it.

    Args:
        number: Seed of the texture.
        size: Height and width, pixels.

    Returns:
        8-bit grey PNG.
    """
    random = np.random.default_rng(number)
    coarse = cv2.resize(random.uniform(40, 200, (8, 8)), (size, size), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.indices((size, size)) / size
    breast = (columns / 0.7) ** 2 + ((rows - 0.5) / 0.45) ** 2 < 1
    grey = np.where(breast, np.clip(coarse + random.normal(0, 6, (size, size)), 1, 255), 0).astype(np.uint8)
    return cv2.imencode(".png", grey)[1].tobytes()
