"""Pictures as data URIs: the page asks nobody for anything."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from components.report_generator.loading import ReportInputError
from components.report_generator.page import Picture


def data_uri(content: bytes, media_type: str) -> str:
    """Returns ``content`` as a base64 data URI (RFC 2397)."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def overlay_path(folder: Path, overlay: str) -> Path:
    """Returns the path of an overlay named in a record.

    Raises:
        ReportInputError: The name leads out of the artifact folder.
    """
    path = (folder / overlay).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ReportInputError(f"{folder}: key overlay must stay inside the folder. Received: {overlay!r}")
    return path


def read_thumbnail(path: Path, max_side: int) -> np.ndarray | None:
    """Reads a picture, no larger than asked.

    Args:
        path: PNG or JPEG file.
        max_side: Longest side of the result, pixels; smaller pictures keep their size.

    Returns:
        uint8 [rows, columns, 3] BGR, or ``None`` where the file is absent or is no picture.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if pixels is None:
        return None
    scale = max_side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def thumbnail(path: Path, max_side: int, quality: int) -> Thumbnail | None:
    """Reads a picture as JPEG, or returns ``None`` where there is none to read.

    Args:
        path: PNG or JPEG file.
        max_side: Longest side, pixels.
        quality: JPEG quality, 1 to 100. Colour keeps its full resolution, so that outlines and heat stay sharp.
    """
    pixels = read_thumbnail(path, max_side)
    if pixels is None:
        return None
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, encoded = cv2.imencode(".jpg", pixels, settings)
    return Thumbnail(data_uri(encoded.tobytes(), "image/jpeg"), pixels.shape[1], pixels.shape[0])


def picture(path: Path, max_side: int, quality: int, alt: str, **texts: Any) -> Picture:
    """Makes a block of a picture file, without picture where the file is absent.

    Args:
        path: PNG or JPEG file.
        max_side: Longest side, pixels.
        quality: JPEG quality, 1 to 100.
        alt: Alternative text.
        texts: Further fields of :class:`Picture`.
    """
    found = thumbnail(path, max_side, quality)
    if found is None:
        return Picture(None, alt, **texts)
    return Picture(found.uri, alt, width=found.width, height=found.height, **texts)
