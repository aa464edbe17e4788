"""Identity of an image by its pixels."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def pixels_sha256(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """Hashes an image's pixels, whatever file holds them.

    Args:
        pixels: uint8 or uint16 [H, W].

    Returns:
        64 hexadecimal digits: SHA-256 of ``H W BITS``, a zero byte, and the pixels row by row, little endian.
    """
    height, width = pixels.shape
    digest = hashlib.sha256(f"{height} {width} {8 * pixels.dtype.itemsize}\0".encode())
    digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
