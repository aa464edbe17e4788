"""Reading one file as a view: the one way for ingest, ``breast-density preprocess`` and the client.

DICOM, PNG, JPEG and TIFF are told apart by content, never by suffix. Whatever is wrong with a file, the one
exception raised is ``IngestError``.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import cv2
import numpy as np

from components.common.location import Location, Uri
from components.dicom.acceptance import ANY_IMAGE, DEFAULT_MAX_PIXELS, STANDARD_ONLY, AcceptanceConfig
from components.dicom.dicom_file import decode_dicom, is_dicom, open_dicom
from components.dicom.headers.header import ViewHeader
from components.dicom.headers.orientation import require_agreement
from components.dicom.image_file import decode_image, image_size, is_image_file
from components.dicom.pictures.checks import judge_picture
from components.dicom.pictures.field import FINE_SIDE
from components.dicom.rejections import IngestError, RejectionReason, shown
from components.dicom.remarks import Remark, joined
from schema.features import VIEWS

__all__ = [
    "LoadedView",
    "ViewHeader",
    "load_view",
    "pixel_data_sha256",
    "read_header",
    "read_image_file",
    "read_pixels",
    "reduce_by_area",
]

_MAGIC_BYTES: Final = 132
_HASHED_BYTES: Final = 1 << 18  # at a time


@dataclass(frozen=True)
class LoadedView:
    """One view, read and reduced.

    Attributes:
        header: What the file says about it (or its manifest, for other files than DICOM).
        pixels: uint16 [H, W], bright = dense, turned into the standard hanging (``header.turn``), and reduced
            to the longest side asked for.
        pixel_spacing_mm: Pixel spacing of ``pixels``, mm; 0 = unknown.
        remarks: What must be told of how it was read: the header's and decoding's.
    """

    header: ViewHeader
    pixels: np.ndarray
    pixel_spacing_mm: float
    remarks: tuple[Remark, ...] = ()


def _open(path: Location) -> BinaryIO:
    if isinstance(path, Uri):
        return path.open()
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe or a device could wait for ever
        raise IngestError(RejectionReason.UNREADABLE, str(path), "file", "no regular file", "name a regular file")
    return path.open("rb")


@contextmanager
def _opened(path: Location) -> Iterator[BinaryIO]:
    """Opens a regular file for reading."""
    try:
        try:
            stream = _open(path)
        except ValueError as error:  # a name that no filesystem can hold
            raise OSError(type(error).__name__) from error
        with stream:
            yield stream
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IngestError(
            RejectionReason.MISSING_FILE, str(path), "file", "absent", "put it there or correct its name"
        ) from error
    except OSError as error:
        value = shown(error.strerror or type(error).__name__)
        remedy = "make it readable to this user"
        raise IngestError(RejectionReason.UNREADABLE, str(path), "file", value, remedy) from error


def _read_bytes(path: Location) -> bytes:
    with _opened(path) as stream:
        return stream.read()


def _require_known(data: bytes, file: str) -> None:
    if not data:
        raise IngestError(RejectionReason.TRUNCATED, file, "file", "0 bytes", "transfer the file again")
    if not is_dicom(data[:_MAGIC_BYTES]) and not is_image_file(data[:_MAGIC_BYTES]):
        raise IngestError(
            RejectionReason.NOT_DICOM,
            file,
            "first 132 bytes",
            "neither DICOM nor PNG, JPEG or TIFF",
            "DICOM Part 10 files, and PNG, JPEG or TIFF named by a manifest, are supported",
        )


def _image_header(data: bytes, file: str, view: str | None, max_pixels: int) -> ViewHeader:
    rows, columns = image_size(data, file, max_pixels)
    if view is None:
        remedy = "PNG, JPEG and TIFF do not say which view they are, name it in a manifest"
        raise IngestError(RejectionReason.UNKNOWN_VIEW, file, "view", "absent", remedy)
    return ViewHeader(view=view, rows=rows, columns=columns)


def _require_view(view: str | None) -> None:
    if view is not None and view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS} or None. Received: view={view!r}")


def _header(stream: BinaryIO, file: str, view: str | None, max_pixels: int, acceptance: AcceptanceConfig) -> ViewHeader:
    _require_view(view)
    first = stream.read(_MAGIC_BYTES)
    _require_known(first, file)
    stream.seek(0)
    if is_dicom(first):
        return open_dicom(stream, file, view, max_pixels, acceptance).header
    return _image_header(stream.read(), file, view, max_pixels)


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


def read_header(
    path: Location,
    view: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    acceptance: AcceptanceConfig = STANDARD_ONLY,
) -> ViewHeader:
    """Reads what a file says about its view, without decoding pixels.

    Args:
        path: DICOM, PNG, JPEG or TIFF file.
        view: View named by a manifest (see ``views`` for what it overrides); required for other files than DICOM.
        max_pixels: Largest matrix that will be decoded.
        acceptance: Special cases that are accepted.

    Returns:
        The header.

    Raises:
        IngestError: Typed by what is wrong with the file.
        ValueError: ``view`` is not one of ``schema.features.VIEWS``.
    """
    with _opened(path) as stream:
        return _header(stream, str(path), view, max_pixels, acceptance)


def pixel_data_sha256(
    path: Location,
    view: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    acceptance: AcceptanceConfig = STANDARD_ONLY,
) -> str:
    """Hashes a DICOM file's pixel data as they are stored; nothing is decoded, and little is held in memory.

    Args:
        path: DICOM file.
        view: View named by a manifest.
        max_pixels: Largest matrix that will be decoded.
        acceptance: Special cases that are accepted.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Raises:
        IngestError: Typed by what is wrong with the file.
    """
    with _opened(path) as stream:
        image = open_dicom(stream, str(path), view, max_pixels, acceptance)
        digest = hashlib.sha256()
        for start, left in image.pixels.parts:
            image.stream.seek(start)
            while left > 0 and (block := image.stream.read(min(left, _HASHED_BYTES))):
                digest.update(block)
                left -= len(block)
    return digest.hexdigest()


def read_pixels(path: Location, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
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
    # Any view and any kind of image will do here: pixels are asked for.
    return decode_dicom(open_dicom(io.BytesIO(data), str(path), VIEWS[0], max_pixels, ANY_IMAGE), str(path)).grey


def read_image_file(path: Location, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Reads a PNG, JPEG or TIFF in full size.

    Args:
        path: PNG, JPEG or TIFF, 8 or 16 bits, grey or colour.
        max_pixels: Largest matrix that is decoded.

    Returns:
        uint16 [H, W], grey; 8-bit values x 257.

    Raises:
        IngestError: Typed by what is wrong with the file.
    """
    data = _read_bytes(path)
    image_size(data, str(path), max_pixels)
    return decode_image(data, str(path))


def load_view(
    path: Location,
    view: str | None,
    longest_side: int,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    acceptance: AcceptanceConfig = STANDARD_ONLY,
    voi_index: int = 0,
) -> LoadedView:
    """Reads one file as a view: header checks, decoding, grey scale, reduction, and what the picture shows.

    Args:
        path: DICOM, PNG, JPEG or TIFF file, told apart by content.
        view: View named by a manifest (see ``views`` for what it overrides); required for other files than DICOM.
        longest_side: Longest side of the result, pixels.
        max_pixels: Largest matrix that is decoded.
        acceptance: Special cases that are accepted.
        voi_index: VOI LUT or window of several, from 0 (see ``greyscale``).

    Returns:
        The view.

    Raises:
        IngestError: Typed by what is wrong with the file.
        ValueError: ``view`` is not one of ``schema.features.VIEWS``.
    """
    _require_view(view)
    file = str(path)
    with _opened(path) as stream:
        first = stream.read(_MAGIC_BYTES)
        _require_known(first, file)
        stream.seek(0)
        if is_dicom(first):
            image = open_dicom(stream, file, view, max_pixels, acceptance)
            header, decoded = image.header, decode_dicom(image, file, voi_index)
            stored, remarks = decoded.grey, joined(header.remarks, decoded.remarks)
        else:
            data = stream.read()
            header, stored, remarks = _image_header(data, file, view, max_pixels), decode_image(data, file), ()
    if header.turn is not None:
        stored = header.turn.apply(stored)
    pixels = reduce_by_area(stored, longest_side)
    _require_content(pixels, file)
    if header.turn is not None:
        require_agreement(pixels, header.view, file)
    # What is seen must not depend on how small the pictures are kept.
    seen = pixels if longest_side >= FINE_SIDE else reduce_by_area(stored, FINE_SIDE)
    special, of_picture = judge_picture(seen, header, file, acceptance)
    spacing = header.pixel_spacing_mm * max(stored.shape) / max(pixels.shape)
    return LoadedView(replace(header, special=special), pixels, spacing, joined(remarks, of_picture))
