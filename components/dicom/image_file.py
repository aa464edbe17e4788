"""Read PNG, JPEG and TIFF files that a manifest names: many public archives have mammograms in these formats.

Colour becomes grey (ITU-R BT.601 luma). 8 bits become 16 (x 257, so that white stays white). Alpha is ignored. A TIFF
whose zero is white is inverted over its full range. The orientation in EXIF or TIFF tags is ignored: the matrix is the
image, as in DICOM.
"""

from __future__ import annotations

import io
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.streams.codestream import Coding, declared_frame, has_too_many_scans
from components.dicom.streams.decoders import decode_jpeg

_FORMATS: Final = ("PNG", "JPEG", "TIFF")
_FIRST_BYTES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF 6.0: BitsPerSample, PhotometricInterpretation, TileWidth, TileLength.
_BITS, _PHOTOMETRIC, _TILE_SIDES = 258, 262, (322, 323)
_WHITE_IS_ZERO: Final = 0


def is_image_file(first_bytes: bytes) -> bool:
    """Return True if the content is PNG, JPEG or TIFF."""
    return first_bytes.startswith(_FIRST_BYTES)


def image_size(data: bytes, file: str, max_pixels: int) -> tuple[int, int]:
    """Read the size of a PNG, JPEG or TIFF without decoding it.

    Args:
        data: Content of the file.
        file: File name for error messages.
        max_pixels: Largest matrix to decode, pixels.

    Returns:
        Rows and columns, pixels.

    Raises:
        IngestError: ``undecodable_pixels``, ``truncated``, ``too_large``, ``multi_frame`` or ``unsupported_image``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            columns, rows = image.size
            if rows * columns > max_pixels:
                raise _too_large(file, f"{rows} x {columns}", max_pixels)
            if image.format == "JPEG" and has_too_many_scans(data, rows * columns):
                raise _undecodable(file, ValueError("too many scans"))
            if image.format == "TIFF":
                _require_plain_tiff(image, file, max_pixels)
    except IngestError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, far above any mammogram
        raise _too_large(file, "more pixels than Pillow opens", max_pixels) from error
    except Exception as error:
        raise _undecodable(file, error) from error
    return rows, columns


def _require_plain_tiff(image: Image.Image, file: str, max_pixels: int) -> None:
    """Reject a TIFF unless it has one page of 8- or 16-bit grey or 8-bit colour."""
    found = image.tag_v2  # type: ignore[attr-defined]  # a TiffImageFile
    tile = found.get(_TILE_SIDES[0], 0) * found.get(_TILE_SIDES[1], 0)
    if tile > max_pixels:  # a decoder decodes whole tiles, however small the image is
        raise _too_large(file, f"tiles of {tile} pixels", max_pixels)
    bits = max(found.get(_BITS, (1,)))
    if not (image.mode.startswith("I;16") or (image.mode in ("1", "L", "LA", "P", "RGB", "RGBA") and bits <= 8)):
        remedy = "grey of 8 or 16 bits and colour of 8 bits are supported, convert it"
        value = f"mode {image.mode} of {bits} bits"
        raise IngestError(RejectionReason.UNSUPPORTED_IMAGE, file, "image mode", value, remedy)
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
        return
    remedy = "store each page in a separate file"
    raise IngestError(RejectionReason.MULTI_FRAME, file, "TIFF pages", "more than 1", remedy)


def decode_image_file(data: bytes, file: str) -> NDArray[Any]:
    """Decode a PNG, JPEG or TIFF after ``image_size`` accepted its size.

    Args:
        data: Content of the file.
        file: File name for error messages.

    Returns:
        uint16 [H, W], grey.

    Raises:
        IngestError: ``undecodable_pixels`` or ``truncated``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.format == "TIFF":
                return _sixteen_bits(_tiff_grey(image))
            if image.format == "JPEG":
                frame = declared_frame(data)
                if frame is not None and frame.components == 1 and frame.coding is not Coding.OTHER:
                    return _sixteen_bits(decode_jpeg(data, frame)[0])
                # Pillow, because OpenCV fills the rest of a truncated JPEG with grey and reports no error.
                return _sixteen_bits(np.asarray(image.convert("L")))
            image.verify()  # checks the checksums of all chunks
        # OpenCV, because Pillow reduces 16-bit colour to 8 bits.
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        return _sixteen_bits(cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    except Exception as error:
        raise _undecodable(file, error) from error


def _tiff_grey(image: Image.Image) -> NDArray[Any]:
    if not image.mode.startswith("I;16"):
        return np.asarray(image.convert("L"))  # Pillow itself inverts these if zero is white
    pixels = np.asarray(image).astype(np.uint16)
    white_is_zero = image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO  # type: ignore[attr-defined]  # of TIFF
    return np.invert(pixels) if white_is_zero else pixels


def _sixteen_bits(pixels: NDArray[Any] | None) -> NDArray[Any]:
    if pixels is None:
        raise ValueError("no image")
    return pixels.astype(np.uint16) * 257 if pixels.dtype == np.uint8 else pixels


def _too_large(file: str, value: str, max_pixels: int) -> IngestError:
    remedy = f"up to {max_pixels} pixels are decoded, raise max_pixels if the size is right"
    return IngestError(RejectionReason.TOO_LARGE, file, "image size", value, remedy)


def _undecodable(file: str, error: Exception) -> IngestError:
    # Both libraries raise many kinds of errors on damaged files; the text of Pillow's error shows that a file is
    # truncated.
    truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
    reason = RejectionReason.TRUNCATED if truncated else RejectionReason.UNDECODABLE_PIXELS
    remedy = "complete PNG, JPEG and TIFF files are supported, convert or transfer it again"
    return IngestError(reason, file, "image data", f"damaged ({type(error).__name__})", remedy)
