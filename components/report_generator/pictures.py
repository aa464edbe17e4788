"""Pictures as data URIs, so that the page loads nothing, and the limits on their number and size."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.report_generator.loading import ReportInputError
from components.report_generator.page import Picture


@dataclass(frozen=True)
class PictureLimits:
    """Limits that keep the page small enough to send by mail.

    With the defaults, a page has at most 52 heat maps with up to five pictures of about 15 KiB each, 32 segmentations,
    and the feature maps.

    Attributes:
        max_side: Longest side of a picture, pixels.
        quality: JPEG quality, 1 to 100.
        uncertain: Number of the most uncertain segmentations.
        typical: Number of typical segmentations per acquisition system.
        systems: Number of acquisition systems with typical segmentations.
        least_heat: Number of views with the least heat inside the breast.
        explained_systems: Number of acquisition systems with correct and wrong heat maps of each class.
        sheet_width: Width of a picture of feature maps, pixels.
    """

    max_side: int = 360
    quality: int = 82
    uncertain: int = 8
    typical: int = 4
    systems: int = 6
    least_heat: int = 4
    explained_systems: int = 4
    sheet_width: int = 900


def data_uri(content: bytes, media_type: str) -> str:
    """Return ``content`` as a base64 data URI (RFC 2397)."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def overlay_path(folder: Path, overlay: str) -> Path:
    """Return the path of an overlay that a record names.

    Raises:
        ReportInputError: The name points outside the artifact folder.
    """
    path = (folder / overlay).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ReportInputError(f"{folder}: key overlay must stay inside the folder. Received: {overlay!r}")
    return path


def read_thumbnail(path: Path, max_side: int) -> NDArray[Any] | None:
    """Read a picture and shrink it to a maximum size.

    Args:
        path: PNG or JPEG file.
        max_side: Longest side of the result, pixels; smaller pictures keep their size.

    Returns:
        uint8 [rows, columns, 3], BGR, or ``None`` if the file is absent or is not a picture.
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
    """Return a picture as JPEG data URI, or ``None`` if the file is absent or is not a picture.

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
    """Return the block of a picture file; if the file is absent, the block has no picture.

    Args:
        path: PNG or JPEG file.
        max_side: Longest side, pixels.
        quality: JPEG quality, 1 to 100.
        alt: Alternative text.
        texts: Other fields of :class:`Picture`.
    """
    found = thumbnail(path, max_side, quality)
    if found is None:
        return Picture(None, alt, **texts)
    return Picture(found.uri, alt, width=found.width, height=found.height, **texts)
