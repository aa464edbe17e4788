"""The pages for reviewers, each one file without network access: an outline editor for views, and doubted labels."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.templates import render
from components.review.polygons import Polygon

DATA_FILES: Final = (
    "templates/labels.html.j2",
    "templates/review.css",
    "templates/review.html.j2",
    "templates/review.js",
)
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


@dataclass(frozen=True)
class DoubtedExam:
    """One exam on the page of doubted labels.

    Attributes:
        rank: 1 is the most doubted label.
        title: Exam, for people.
        system: Acquisition system.
        label: Its density.
        suggested: The class that the models are confident of.
        probabilities: Probability by class.
        pictures: uint8 [H, W] by view.
    """

    rank: int
    title: str
    system: str
    label: str
    suggested: str
    probabilities: Mapping[str, float]
    pictures: Mapping[str, NDArray[np.uint8]]


def _jpeg(picture: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"


def _data(view: PageView) -> dict[str, Any]:
    height, width = view.picture.shape
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
        "picture": _jpeg(view.picture),
    }


def _render(template: str, **values: Any) -> str:
    return render(Path(__file__).parent, DATA_FILES, template, **values)


def review_page(views: Sequence[PageView]) -> str:
    """Return the page; equal views result in equal bytes.

    Args:
        views: Views to review, the most uncertain first.

    Returns:
        HTML text that includes style, script and pictures. A content security policy forbids all network requests.
    """
    return _render("review.html.j2", views=[_data(view) for view in views])


def labels_page(exams: Sequence[DoubtedExam]) -> str:
    """Return the page of doubted labels, without script; equal exams result in equal bytes.

    Args:
        exams: Exams to read again, the most doubted first.
    """
    shown = [
        {**vars(exam), "pictures": {view.replace("_", " "): _jpeg(one) for view, one in exam.pictures.items()}}
        for exam in exams
    ]
    return _render("labels.html.j2", exams=shown)
