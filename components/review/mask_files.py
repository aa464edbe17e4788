"""Read masks from PNG files and DICOM segmentation objects (PS3.3 A.51)."""

from __future__ import annotations

import io
import struct
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.filereader import read_partial
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SegmentationStorage

from components.dicom.bounded_stream import parse_header
from components.review.problems import ReviewError, ReviewProblem

_MAX_PIXELS: Final = 40_000_000  # the largest mammograms have 28 million
_MAX_INFLATED: Final = 2**20
_PIXEL_DATA: Final = 0x7FE00010
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Editors with a smooth brush leave a seam of grey between the mask's two values.
_SEAM: Final = (0.1, 0.9)  # grey levels of the seam, shares of the brightest value
_MAX_SEAM: Final = 0.02  # share of the picture


def _check_pixels(rows: int, columns: int) -> None:
    if rows < 1 or columns < 1 or rows * columns > _MAX_PIXELS:
        raise ReviewError(
            ReviewProblem.TOO_LARGE,
            f"A mask has 1 to {_MAX_PIXELS:,} pixels. Received: {columns} columns, {rows} rows",
        )


def _flattened(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the brightest colour channel of each pixel, 0 if the pixel is more transparent than opaque."""
    if picture.ndim == 2:
        return picture
    colour = picture[..., :3].max(axis=-1)
    if picture.shape[-1] == 4:
        colour[picture[..., 3] <= np.iinfo(picture.dtype).max // 2] = 0
    result: NDArray[Any] = colour
    return result


def parse_png(data: bytes) -> NDArray[np.bool_]:
    """Read a mask from PNG: 0 outside, one other value inside.

    Args:
        data: The file's bytes, untrusted.

    Returns:
        bool [H, W].

    Raises:
        ReviewError: The file is not a PNG, is too large to decode, or is a picture with grey levels.
    """
    if len(data) < 24 or not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR":
        raise ReviewError(ReviewProblem.UNREADABLE, "The file is not a PNG, despite its name; save it again.")
    columns, rows = struct.unpack(">II", data[16:24])  # before decoding: a small file can contain a huge picture
    _check_pixels(rows, columns)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        picture = None
    if picture is None:
        raise ReviewError(ReviewProblem.UNREADABLE, "The PNG is damaged; save it again.")
    values = _flattened(picture)
    brightest = float(values.max())
    seam = (values > _SEAM[0] * brightest) & (values < _SEAM[1] * brightest)
    if seam.mean() > _MAX_SEAM:
        raise ReviewError(
            ReviewProblem.NOT_A_MASK,
            "A mask is 0 outside and has one value inside, but this picture has grey levels; save the mask, not"
            " the image.",
        )
    return values > 0.5 * brightest


def _read_segmentation(data: bytes) -> NDArray[np.bool_]:
    dataset, _ = parse_header(io.BytesIO(data), _MAX_INFLATED)
    if dataset.file_meta.get("TransferSyntaxUID") not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        raise ReviewError(
            ReviewProblem.UNSUPPORTED,
            f"Transfer Syntax UID (0002,0010) must be {ImplicitVRLittleEndian} or {ExplicitVRLittleEndian}; save the"
            " segmentation uncompressed.",
        )
    if dataset.get("SOPClassUID") != SegmentationStorage:
        raise ReviewError(
            ReviewProblem.UNSUPPORTED,
            f"SOP Class UID (0008,0016) must be {SegmentationStorage} (Segmentation Storage); export a DICOM SEG.",
        )
    if dataset.get("SegmentationType") != "BINARY":
        raise ReviewError(
            ReviewProblem.UNSUPPORTED,
            "Segmentation Type (0062,0001) must be BINARY; export a binary segmentation.",
        )
    frames = int(dataset.get("NumberOfFrames", 1))
    if frames != 1:
        raise ReviewError(
            ReviewProblem.UNSUPPORTED,
            f"Number of Frames (0028,0008) must be 1: one image, one segment. Received: {frames}",
        )
    _check_pixels(int(dataset.Rows), int(dataset.Columns))
    whole = read_partial(io.BytesIO(data), stop_when=lambda tag, vr, length: tag > _PIXEL_DATA)
    mask = whole.pixel_array.astype(np.bool_)
    return mask.reshape(mask.shape[-2:])


def parse_segmentation(data: bytes) -> NDArray[np.bool_]:
    """Read a mask from a DICOM segmentation with one frame. The name of its segment is ignored.

    Args:
        data: The file's bytes, untrusted.

    Returns:
        bool [Rows, Columns].

    Raises:
        ReviewError: The file is not DICOM, not a binary segmentation, is compressed, or has several frames.
    """
    if data[128:132] != b"DICM":
        raise ReviewError(ReviewProblem.UNREADABLE, "The file is not a DICOM file, despite its name; export it again.")
    try:
        with config.disable_value_validation():  # its warnings repeat values, for example a patient's name
            return _read_segmentation(data)
    except ReviewError:
        raise
    except Exception as error:  # pydicom raises many types of errors for damaged elements
        raise ReviewError(
            ReviewProblem.UNREADABLE,
            f"The DICOM segmentation is damaged; export it again. Received: {type(error).__name__} while reading",
        ) from error
