"""Reading one file as a view: the one way for ingest, ``breast-density preprocess`` and the client.

DICOM, PNG and JPEG are told apart by content, never by suffix. Whatever is wrong with a file, the one
exception raised is ``IngestError``.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from components.dicom_example_gen.config import DEFAULT_MAX_PIXELS
from components.dicom_example_gen.dicom_file import decode_dicom, is_dicom, read_dicom_header
from components.dicom_example_gen.header import ViewHeader
from components.dicom_example_gen.image_file import decode_image, image_size, is_image_file
from components.dicom_example_gen.rejections import IngestError, RejectionReason, shown
from schema.features import VIEWS

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "LoadedView",
    "ViewHeader",
    "file_digest",
    "inspect_file",
    "load_view",
    "read_header",
    "read_image_file",
    "read_pixels",
    "reduce_by_area",
]

_MAGIC_BYTES: Final = 132


@dataclass(frozen=True)
class LoadedView:
    """One view, read and reduced.

    Attributes:
        header: What the file says about it (or its manifest, for PNG and JPEG).
        pixels: uint16 [H, W], bright = dense, reduced to the longest side asked for.
        pixel_spacing_mm: Pixel spacing of ``pixels``, mm; 0 = unknown.
    """

    header: ViewHeader
    pixels: np.ndarray
    pixel_spacing_mm: float


def _read_bytes(path: Path) -> bytes:
    """Reads a regular file; opening a pipe or a device could wait for ever."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IngestError(
            RejectionReason.MISSING_FILE, str(path), "file", "absent", "put it there or correct its name"
        ) from error
    except (OSError, ValueError) as error:
        value = shown(getattr(error, "strerror", None) or type(error).__name__)
        remedy = "make it readable to this user"
        raise IngestError(RejectionReason.UNREADABLE, str(path), "file", value, remedy) from error
    raise IngestError(RejectionReason.UNREADABLE, str(path), "file", "no regular file", "name a regular file")


def _require_known(data: bytes, file: str) -> None:
    if not data:
        raise IngestError(RejectionReason.TRUNCATED, file, "file", "0 bytes", "transfer the file again")
    if not is_dicom(data[:_MAGIC_BYTES]) and not is_image_file(data[:_MAGIC_BYTES]):
        raise IngestError(
            RejectionReason.NOT_DICOM,
            file,
            "first 132 bytes",
            "neither DICOM nor PNG nor JPEG",
            "DICOM Part 10 files, and PNG or JPEG named by a manifest, are supported",
        )


def _image_header(data: bytes, file: str, view: str | None, max_pixels: int) -> ViewHeader:
    rows, columns = image_size(data, file, max_pixels)
    if view is None:
        remedy = "PNG and JPEG do not say which view they are, name it in a manifest"
        raise IngestError(RejectionReason.UNKNOWN_VIEW, file, "view", "absent", remedy)
    return ViewHeader(view=view, rows=rows, columns=columns)


def _header(data: bytes, file: str, view: str | None, max_pixels: int) -> ViewHeader:
    if view is not None and view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS} or None. Received: view={view!r}")
    _require_known(data, file)
    if is_dicom(data[:_MAGIC_BYTES]):
        _, header = read_dicom_header(io.BytesIO(data), file, len(data), view, max_pixels)
        return header
    return _image_header(data, file, view, max_pixels)


def _require_content(pixels: np.ndarray, file: str) -> None:
    if pixels.min() == pixels.max():
        raise IngestError(
            RejectionReason.IMPLAUSIBLE_PIXELS,
            file,
            "pixels",
            f"all {int(pixels.flat[0])}",
            "an image of one grey shows nothing, export it again and check its window",
        )


def reduce_by_area(pixels: np.ndarray, longest_side: int) -> np.ndarray:
    """Reduces an image to a longest side by area averaging; one that is small enough is returned as it is.

    Args:
        pixels: uint16 [H, W].
        longest_side: Longest side of the result, pixels.

    Returns:
        uint16 [h, w], max(h, w) <= longest_side, aspect kept to the pixel.
    """
    rows, columns = pixels.shape
    scale = longest_side / max(rows, columns)
    if scale >= 1:
        return pixels
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def read_header(path: Path, view: str | None = None, max_pixels: int = DEFAULT_MAX_PIXELS) -> ViewHeader:
    """Reads what a file says about its view, without decoding pixels.

    Args:
        path: DICOM, PNG or JPEG file.
        view: View named by a manifest, which overrides the file's; required for PNG and JPEG.
        max_pixels: Largest matrix that will be decoded.

    Returns:
        The header.

    Raises:
        IngestError: Typed by what is wrong with the file.
        ValueError: ``view`` is not one of ``schema.features.VIEWS``.
    """
    return _header(_read_bytes(path), str(path), view, max_pixels)


def read_pixels(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Reads a DICOM file's pixels in full size.

    Args:
        path: DICOM file of any supported view.
        max_pixels: Largest matrix that is decoded.

    Returns:
        uint16 [Rows, Columns], bright = dense, scaled by the range of the stored bits (see ``greyscale``).

    Raises:
        IngestError: Typed by what is wrong with the file.
    """
    data = _read_bytes(path)
    _require_known(data, str(path))
    # Any view will do here: pixels are asked for, not the view.
    read_dicom_header(io.BytesIO(data), str(path), len(data), VIEWS[0], max_pixels)
    return decode_dicom(io.BytesIO(data), str(path))


def read_image_file(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Reads a PNG or JPEG in full size.

    Args:
        path: PNG or JPEG, 8 or 16 bits, grey or colour.
        max_pixels: Largest matrix that is decoded.

    Returns:
        uint16 [H, W], grey; 8-bit values x 257.

    Raises:
        IngestError: Typed by what is wrong with the file.
    """
    data = _read_bytes(path)
    image_size(data, str(path), max_pixels)
    return decode_image(data, str(path))


def load_view(path: Path, view: str | None, longest_side: int, max_pixels: int = DEFAULT_MAX_PIXELS) -> LoadedView:
    """Reads one file as a view: header checks, decoding, grey scale, reduction.

    Args:
        path: DICOM, PNG or JPEG file, told apart by content.
        view: View named by a manifest, which overrides the file's; required for PNG and JPEG.
        longest_side: Longest side of the result, pixels.
        max_pixels: Largest matrix that is decoded.

    Returns:
        The view.

    Raises:
        IngestError: Typed by what is wrong with the file.
        ValueError: ``view`` is not one of ``schema.features.VIEWS``.
    """
    data, file = _read_bytes(path), str(path)
    header = _header(data, file, view, max_pixels)
    stored = decode_dicom(io.BytesIO(data), file) if is_dicom(data[:_MAGIC_BYTES]) else decode_image(data, file)
    pixels = reduce_by_area(stored, longest_side)
    _require_content(pixels, file)
    spacing = header.pixel_spacing_mm * max(stored.shape) / max(pixels.shape)
    return LoadedView(header, pixels, spacing)


def inspect_file(path: Path, view: str | None, max_pixels: int) -> tuple[ViewHeader, str]:
    """Reads header and digest in one pass over the file; arguments and errors as ``read_header``.

    Returns:
        The header, and the SHA-256 of the file's bytes in hexadecimal digits.
    """
    data = _read_bytes(path)
    return _header(data, str(path), view, max_pixels), hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """Hashes a file's bytes: SHA-256, hexadecimal.

    Raises:
        IngestError: ``missing_file`` or ``unreadable``.
    """
    return hashlib.sha256(_read_bytes(path)).hexdigest()
