"""Grey images: the PNG codec of ingest, preprocessing and the client, and the hash of an image's pixels."""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

# With a compression level, libpng tries all filters on each row: four times slower, and 6 % smaller. Without one, it
# uses the Sub filter and zlib's fastest level.
_PARAMETERS: Final = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


class ImageDecodeError(ValueError):
    """Bytes are not a grey PNG."""


def encode_png(image: NDArray[Any]) -> bytes:
    """Encode a grey, BGR or BGRA image as PNG; the same image gives the same bytes.

    Args:
        image: uint8 or uint16 [H, W], or uint8 [H, W, 3] in BGR or [H, W, 4] in BGRA order.

    Returns:
        The file's bytes.

    Raises:
        ValueError: OpenCV cannot encode the array.
    """
    try:
        done, data = cv2.imencode(".png", image, _PARAMETERS)
    except cv2.error as error:
        raise ValueError(f"PNG cannot store this array. Received: shape={image.shape}, dtype={image.dtype}") from error
    if not done:
        raise ValueError(f"PNG encoding failed. Received: shape={image.shape}, dtype={image.dtype}")
    return data.tobytes()


def decode_png(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a grey PNG.

    Args:
        data: The file's bytes; colour images are converted to grey.

    Returns:
        uint8 or uint16 [H, W], as stored.

    Raises:
        ImageDecodeError: The bytes are not a readable image.
    """
    buffer = np.frombuffer(data, np.uint8)
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(buffer, flags) if buffer.size else None
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise ImageDecodeError(
            f"The bytes are not a readable PNG; write the image again. Received: {len(data)} bytes, "
            f"starting with {data[:8]!r}"
        )
    return cast("NDArray[np.uint8] | NDArray[np.uint16]", image)


def pixels_sha256(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """Hash the pixels of an image, independent of the file format.

    Args:
        pixels: uint8 or uint16 [H, W].

    Returns:
        64 hexadecimal digits: SHA-256 of ``H W BITS``, a zero byte, and the pixels row by row, little endian.
    """
    height, width = pixels.shape
    digest = hashlib.sha256(f"{height} {width} {8 * pixels.dtype.itemsize}\0".encode())
    digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
