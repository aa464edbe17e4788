"""PNG and JPEG files named by a manifest: many public archives give mammograms so.

Colour is turned into grey (ITU-R BT.601 luma), 8 bits are spread over 16 (x 257, so that white stays white),
alpha is dropped, and the EXIF orientation is ignored: the matrix is the image, as in DICOM.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from components.dicom_example_gen.rejections import IngestError, RejectionReason


def is_image_file(first_bytes: bytes) -> bool:
    """Tells PNG and JPEG by content."""
    return first_bytes.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def image_size(data: bytes, file: str, max_pixels: int) -> tuple[int, int]:
    """Reads the size of a PNG or JPEG without decoding it.

    Args:
        data: The file's bytes.
        file: File name for error messages.
        max_pixels: Largest matrix that will be decoded.

    Returns:
        Rows and columns, pixels.

    Raises:
        IngestError: ``undecodable_pixels``, ``truncated`` or ``too_large``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            columns, rows = image.size
    except Image.DecompressionBombError as error:  # Pillow's own limit, far above any mammogram
        raise _too_large(file, "more pixels than Pillow opens", max_pixels) from error
    except Exception as error:
        raise _undecodable(file, error) from error
    if rows * columns > max_pixels:
        raise _too_large(file, f"{rows} x {columns}", max_pixels)
    return rows, columns


def decode_image(data: bytes, file: str) -> np.ndarray:
    """Decodes a PNG or JPEG whose size was found to be sound.

    Args:
        data: The file's bytes.
        file: File name for error messages.

    Returns:
        uint16 [H, W], grey.

    Raises:
        IngestError: ``undecodable_pixels`` or ``truncated``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.format == "JPEG":
                # Pillow, because OpenCV fills up a truncated JPEG with grey and says nothing.
                return _sixteen_bits(np.asarray(image.convert("L")))
            image.verify()  # check sums of all chunks
        # OpenCV, because Pillow cuts 16-bit colour to 8 bits.
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        return _sixteen_bits(cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    except Exception as error:
        raise _undecodable(file, error) from error


def _sixteen_bits(pixels: np.ndarray | None) -> np.ndarray:
    if pixels is None:
        raise ValueError("no image")
    return pixels.astype(np.uint16) * 257 if pixels.dtype == np.uint8 else pixels


def _too_large(file: str, value: str, max_pixels: int) -> IngestError:
    remedy = f"up to {max_pixels} pixels are decoded, raise max_pixels if the size is right"
    return IngestError(RejectionReason.TOO_LARGE, file, "image size", value, remedy)


def _undecodable(file: str, error: Exception) -> IngestError:
    # Both libraries raise many kinds of errors on damaged files; Pillow's text tells the truncated ones.
    truncated = "truncated" in str(error).lower()
    reason = RejectionReason.TRUNCATED if truncated else RejectionReason.UNDECODABLE_PIXELS
    remedy = "whole PNG and JPEG files are supported, convert or transfer it again"
    return IngestError(reason, file, "image data", f"damaged ({type(error).__name__})", remedy)
