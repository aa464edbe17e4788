"""The page for reviewers: one file without network access, with a picture and an outline editor for each view."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jinja2 import DictLoader, Environment, StrictUndefined
from numpy.typing import NDArray

from components.review.polygons import Polygon

DATA_FILES: Final = ("templates/review.css", "templates/review.html.j2", "templates/review.js")
_JPEG_QUALITY: Final = 85
_FOUND: Final = {"removed": "muscle found", "absent": "no muscle found", "failed": "not told, look yourself"}


@dataclass(frozen=True)
class PageView:
    """One view on the page.

    Attributes:
        stem: Name of its review without the suffix.
        pixels_sha256: Hash of the ingested pixels.
        rank: Rank in the run; 1 is the most uncertain view.
        title: View and exam, for people.
        system: Acquisition system.
        status: Status of the automatic segmentation.
        doubt: Its uncertainty, 0..1.
        polygons: Its outlines.
        picture: uint8 [H, W].
    """

    stem: str
    pixels_sha256: str
    rank: int
    title: str
    system: str
    status: str
    doubt: float
    polygons: tuple[Polygon, ...]
    picture: NDArray[np.uint8]


def _data(view: PageView) -> dict[str, Any]:
    height, width = view.picture.shape
    _, encoded = cv2.imencode(".jpg", view.picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return {
        "stem": view.stem,
        "pixelsSha256": view.pixels_sha256,
        "rank": view.rank,
        "title": view.title,
        "system": view.system,
        "status": view.status,
        "found": _FOUND.get(view.status, view.status),
        "doubt": round(view.doubt, 2),
        "width": width,
        "height": height,
        "polygons": view.polygons,
        "picture": f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}",
    }


def review_page(views: Sequence[PageView]) -> str:
    """Return the page; equal views result in equal bytes.

    Args:
        views: Views to review, the most uncertain first.

    Returns:
        HTML text that includes style, script and pictures. A content security policy forbids all network requests.
    """
    files = [Path(__file__).parent / name for name in DATA_FILES]
    environment = Environment(
        loader=DictLoader({file.name: file.read_text(encoding="utf-8") for file in files}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("review.html.j2").render(views=[_data(view) for view in views])
