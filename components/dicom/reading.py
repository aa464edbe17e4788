"""Read one file as a view: the one function for ingest, ``breast-density preprocess`` and the client.

The content shows whether a file is DICOM, PNG, JPEG or TIFF, never its suffix. Reading raises only ``IngestError``,
whatever is wrong with a file.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

import cv2
from numpy.typing import NDArray

from components.common.location import Location, Uri
from components.dicom.dicom_file import decode_dicom, is_dicom, open_dicom
from components.dicom.headers.header import ViewHeader
from components.dicom.headers.orientation import require_agreement
from components.dicom.image_file import decode_image_file, image_size, is_image_file
from components.dicom.pictures.checks import judge_picture
from components.dicom.pictures.field import FINE_SIDE
from components.dicom.rejections import (
    ANY_IMAGE,
    DEFAULT_MAX_PIXELS,
    STANDARD_ONLY,
    AcceptanceConfig,
    IngestError,
    RejectionReason,
    printable,
)
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
_HASHED_BYTES: Final = 1 << 18  # per read


@dataclass(frozen=True)
class LoadedView:
    """One view, read and reduced.

    Attributes:
        header: Header of the file (for other files than DICOM, the manifest's data).
        pixels: uint16 [H, W], bright = dense, turned into the standard hanging (``header.turn``), and reduced to the
            requested longest side.
        pixel_spacing_mm: Pixel spacing of ``pixels``, mm; 0 = unknown.
        remarks: Remarks of the header and of decoding.
    """

    header: ViewHeader
    pixels: NDArray[Any]
    pixel_spacing_mm: float
    remarks: tuple[Remark, ...] = ()


def _open(path: Location) -> BinaryIO:
    if isinstance(path, Uri):
        return path.open()
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe or a device could block for ever
        raise IngestError(RejectionReason.UNREADABLE, str(path), "file", "not a regular file", "name a regular file")
    return path.open("rb")


@contextmanager
def _opened(path: Location) -> Iterator[BinaryIO]:
    """Open a regular file for reading."""
    try:
        try:
            stream = _open(path)
        except ValueError as error:  # a name that is not valid in any file system
            raise OSError(type(error).__name__) from error
        with stream:
            yield stream
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IngestError(
            RejectionReason.MISSING_FILE, str(path), "file", "absent", "put it there or correct its name"
        ) from error
    except OSError as error:
        value = printable(error.strerror or type(error).__name__)
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


def _require_content(pixels: NDArray[Any], file: str) -> None:
    if pixels.min() == pixels.max():
        raise IngestError(
            RejectionReason.IMPLAUSIBLE_PIXELS,
            file,
            "pixels",
            f"all {int(pixels.flat[0])}",
            "an image with one grey value shows nothing, export it again and check its window",
        )


def reduce_by_area(pixels: NDArray[Any], longest_side: int) -> NDArray[Any]:
    """Reduce an image to a longest side by area averaging; return a small enough image unchanged.

    Args:
        pixels: uint16 [H, W].
        longest_side: Longest side of the result, pixels.

    Returns:
        uint16 [h, w], max(h, w) <= longest_side, with the same aspect ratio to the pixel.
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
    """Read the header of one view without decoding pixels.

    Args:
        path: DICOM, PNG, JPEG or TIFF file.
        view: View from a manifest (``headers.views`` says what it overrides); required for other files than DICOM.
        max_pixels: Largest matrix to decode, pixels.
        acceptance: Accepted special cases.

    Returns:
        The header.

    Raises:
        IngestError: The file cannot be read as a view; ``reason`` says why.
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
    """Hash the stored pixel data of a DICOM file without decoding them, in small blocks.

    Args:
        path: DICOM file.
        view: View from a manifest.
        max_pixels: Largest matrix to decode, pixels.
        acceptance: Accepted special cases.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Raises:
        IngestError: The file cannot be read as a view; ``reason`` says why.
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


def read_pixels(path: Location, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[Any]:
    """Read the pixels of a DICOM file in full size.

    Args:
        path: DICOM file of any supported view.
        max_pixels: Largest matrix to decode, pixels.

    Returns:
        uint16 [Rows, Columns], bright = dense, scaled by the range of the stored bits (see ``grey.greyscale``).

    Raises:
        IngestError: The file cannot be read; ``reason`` says why.
    """
    data = _read_bytes(path)
    _require_known(data, str(path))
    # Only the pixels matter here, so any view and any special case is accepted.
    return decode_dicom(open_dicom(io.BytesIO(data), str(path), VIEWS[0], max_pixels, ANY_IMAGE), str(path)).grey


def read_image_file(path: Location, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[Any]:
    """Read a PNG, JPEG or TIFF in full size.

    Args:
        path: PNG, JPEG or TIFF, 8 or 16 bits, grey or colour.
        max_pixels: Largest matrix to decode, pixels.

    Returns:
        uint16 [H, W], grey; 8-bit values x 257.

    Raises:
        IngestError: The file cannot be read; ``reason`` says why.
    """
    data = _read_bytes(path)
    image_size(data, str(path), max_pixels)
    return decode_image_file(data, str(path))


def load_view(
    path: Location,
    view: str | None,
    longest_side: int,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    acceptance: AcceptanceConfig = STANDARD_ONLY,
    voi_index: int = 0,
) -> LoadedView:
    """Read one file as a view: check the header, decode, map to grey, reduce, and look for special cases in the pixels.

    Args:
        path: DICOM, PNG, JPEG or TIFF file; its content shows which.
        view: View from a manifest (``headers.views`` says what it overrides); required for other files than DICOM.
        longest_side: Longest side of the result, pixels.
        max_pixels: Largest matrix to decode, pixels.
        acceptance: Accepted special cases.
        voi_index: Index of the VOI LUT or window if there are several, from 0 (see ``grey.greyscale``).

    Returns:
        The view.

    Raises:
        IngestError: The file cannot be read as a view; ``reason`` says why.
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
            header, stored, remarks = _image_header(data, file, view, max_pixels), decode_image_file(data, file), ()
    if header.turn is not None:
        stored = header.turn.apply(stored)
    pixels = reduce_by_area(stored, longest_side)
    _require_content(pixels, file)
    if header.turn is not None:
        require_agreement(pixels, header.view, file)
    # The result of the picture checks must not depend on ``longest_side``.
    checked = pixels if longest_side >= FINE_SIDE else reduce_by_area(stored, FINE_SIDE)
    special, picture_remarks = judge_picture(checked, header, file, acceptance)
    spacing = header.pixel_spacing_mm * max(stored.shape) / max(pixels.shape)
    return LoadedView(replace(header, special=special), pixels, spacing, joined(remarks, picture_remarks))
