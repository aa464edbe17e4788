"""Pictures as data URIs: the page asks nobody for anything."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from components.report_generator.loading import ReportInputError


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


def thumbnail_uri(path: Path, max_side: int, quality: int) -> str | None:
    """Reads a picture and returns it as a JPEG data URI, or ``None`` where there is none to read.

    Args:
        path: PNG or JPEG file.
        max_side: Longest side, pixels.
        quality: JPEG quality, 1 to 100.
    """
    pixels = read_thumbnail(path, max_side)
    if pixels is None:
        return None
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data_uri(encoded.tobytes(), "image/jpeg")
