"""One review, read and checked as far as that goes without the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png
from components.review.documents import parse_document
from components.review.findings import ReviewError, ReviewProblem
from components.review.masks import parse_png, parse_segmentation
from components.review.naming import ReviewName, parse_stem
from components.review.polygon import (
    Polygon,
    check_inside,
    check_polygon,
    polygons_to_mask,
)
from schema.features import is_mlo

MAX_BYTES: Final = 16 * 2**20
SUFFIXES: Final = (".json", ".png", ".dcm")


@dataclass(frozen=True)
class Review:
    """What a person says of the muscle in one image; small enough to travel to every worker.

    Attributes:
        name: The image.
        file: The file's name.
        says: ``muscle`` (here it is), ``absent``, or ``accept`` (the automatic result is right).
        polygons: Outlines, where they are given.
        mask_png: A mask as 8-bit PNG, where one is given.
        size: Rows and columns of the image that outlines or mask were drawn on, where the file says so.
        seen_absent: With ``accept``: the result that was looked at was ``absent``.
        pixels_sha256: Hash of the pixels that it was drawn on, where the file's content says so.
        answered_at: When it was said, where the file's content says so.
    """

    name: ReviewName
    file: str
    says: Literal["muscle", "absent", "accept"]
    polygons: tuple[Polygon, ...] = ()
    mask_png: bytes = b""
    size: tuple[int, int] | None = None
    seen_absent: bool = False
    pixels_sha256: str | None = None
    answered_at: datetime | None = None

    @property
    def draws(self) -> bool:
        """Whether it outlines a muscle."""
        return bool(self.polygons or self.mask_png)


def _from_json(name: ReviewName, file: str, data: bytes) -> Review:
    document = parse_document(data)
    for polygon in document.outlines:
        check_polygon(polygon)
    size = (document.height, document.width) if document.height is not None and document.width is not None else None
    says: Literal["muscle", "absent", "accept"] = "muscle"
    if document.is_accepted:
        says = "accept"
    elif document.is_absent:
        says = "absent"
    return Review(
        name,
        file,
        says,
        polygons=document.outlines,
        size=size,
        seen_absent=document.is_accepted and document.is_absent,
        pixels_sha256=document.pixels_sha256,
        answered_at=document.answered_at,
    )


def _from_mask(name: ReviewName, file: str, mask: NDArray[np.bool_]) -> Review:
    if not mask.any():
        raise ReviewError(
            ReviewProblem.EMPTY_MASK,
            'The mask is empty; if the image shows no muscle, say so in a JSON file: {"muscle": "absent"}.',
        )
    size = (mask.shape[0], mask.shape[1])
    return Review(name, file, "muscle", mask_png=encode_png(255 * mask.astype(np.uint8)), size=size)


_MASK_PARSERS: Final[dict[str, Callable[[bytes], NDArray[np.bool_]]]] = {
    ".png": parse_png,
    ".dcm": parse_segmentation,
}


def parse_review(file: str, data: bytes) -> Review:
    """Reads a review.

    Args:
        file: Its name, ``EXAMID_VIEW_PIXELS`` with one of ``SUFFIXES``.
        data: Its bytes, untrusted.

    Returns:
        The review; whether it fits its image is for ``drawn_mask`` to say.

    Raises:
        ReviewError: Name or content are not those of a review.
    """
    stem, dot, ending = file.rpartition(".")
    suffix, name = (dot + ending).lower(), parse_stem(stem)
    if name is None or suffix not in SUFFIXES:
        raise ReviewError(
            ReviewProblem.UNKNOWN_NAME,
            f"A review is named EXAMID_VIEW_PIXELS with {', '.join(SUFFIXES)}, as the quality report and the exported"
            " files have it; rename the file, or move it out of the folder.",
        )
    if not is_mlo(name.view):
        raise ReviewError(
            ReviewProblem.NOT_OBLIQUE,
            f"Only mediolateral oblique views show the muscle; remove the file. Received: view {name.view}",
        )
    if len(data) > MAX_BYTES:
        raise ReviewError(
            ReviewProblem.TOO_LARGE, f"A review has at most {MAX_BYTES:,} bytes. Received: {len(data):,} or more"
        )
    if suffix == ".json":
        return _from_json(name, file, data)
    return _from_mask(name, file, _MASK_PARSERS[suffix](data))


def _reduced(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Brings a mask of the archive's own image to the size that ingest reduced it to."""
    if mask.shape == shape:
        return mask
    (rows, columns), (height, width) = mask.shape, shape
    if rows < height or columns < width or abs(columns * height / rows - width) > 1:
        raise ReviewError(
            ReviewProblem.WRONG_SIZE,
            f"The mask must have the ingested image's {width} columns and {height} rows, or those of the image that it"
            f" was reduced from; draw it on the exported image. Received: {columns} columns, {rows} rows",
        )
    small = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return small > 0.5


def drawn_mask(review: Review, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Draws what a review outlines on its image.

    Args:
        review: A review that draws.
        shape: Rows and columns of the ingested image.

    Returns:
        bool [H, W], not empty.

    Raises:
        ReviewError: It was drawn on an image of another size, lies outside, or covers nothing.
    """
    if review.mask_png:
        mask = _reduced(decode_png(review.mask_png) > 0, shape)
    else:
        if review.size is not None and review.size != shape:
            raise ReviewError(
                ReviewProblem.WRONG_SIZE,
                f"The polygon was drawn on {review.size[1]} columns and {review.size[0]} rows, the ingested image has"
                f" {shape[1]} and {shape[0]}; draw it on the exported image.",
            )
        for polygon in review.polygons:
            check_inside(polygon, shape)
        mask = polygons_to_mask(review.polygons, shape)
    if not mask.any():
        raise ReviewError(
            ReviewProblem.EMPTY_MASK,
            'Nothing of the image lies inside the outline; say {"muscle": "absent"} if that is meant.',
        )
    return mask
