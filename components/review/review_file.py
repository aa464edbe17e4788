"""Read one review file: its name, its statement, and all checks that do not need the image."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png
from components.review.json_files import parse_document
from components.review.mask_files import parse_png, parse_segmentation
from components.review.polygons import Polygon, check_inside, check_polygon, polygons_to_mask
from components.review.problems import ReviewError, ReviewProblem
from schema.features import VIEWS, is_mlo

MAX_BYTES: Final = 16 * 2**20
SUFFIXES: Final = (".json", ".png", ".dcm")
_DIGITS: Final = 16  # digits of the pixels' SHA-256 in a name: 64 bits distinguish the images of any archive
# Browsers do not overwrite a download: the second file of a name is "NAME (1)", "NAME(1)" or "NAME-1".
_COPY: Final = r"(?: ?\([0-9]{1,3}\)|-[0-9]{1,3})?"
_STEM: Final = re.compile(rf"([0-9a-f]{{16,64}})_({'|'.join(VIEWS)})_([0-9a-f]{{{_DIGITS}}}){_COPY}")


@dataclass(frozen=True)
class ReviewName:
    """The name of a review, which identifies its image. Annotation tools may change a file's content, but not its name.

    Attributes:
        exam_id: Keyed hash of the exam.
        view: One of VIEWS.
        pixels: First 16 hexadecimal digits of the ingested pixels' SHA-256.
    """

    exam_id: str
    view: str
    pixels: str

    @property
    def stem(self) -> str:
        """File name without its suffix: ``EXAMID_VIEW_PIXELS``."""
        return f"{self.exam_id}_{self.view}_{self.pixels}"


def review_name(exam_id: str, view: str, pixels_sha256: str) -> ReviewName:
    """Return the name of an image's review."""
    return ReviewName(exam_id, view, pixels_sha256[:_DIGITS])


def parse_stem(stem: str) -> ReviewName | None:
    """Parse a file name without its suffix; return None if it is not of the form ``EXAMID_VIEW_PIXELS``.

    The number that a browser adds to the second download of a name is ignored.
    """
    match = _STEM.fullmatch(stem)
    return ReviewName(*match.groups()) if match else None


@dataclass(frozen=True)
class Review:
    """A person's statement about the muscle in one image; small, because every worker gets all reviews.

    Attributes:
        name: Name that identifies the image.
        file: The file's name.
        statement: ``muscle`` (the file outlines it), ``absent``, or ``accept`` (the automatic result is right).
        polygons: Outlines; may be empty.
        mask_png: Mask as 8-bit PNG; may be empty.
        size: Rows and columns of the image on which outlines or mask were drawn, if known.
        accepted_absent: With ``accept``: the accepted result was ``absent``.
        pixels_sha256: Hash of the pixels on which it was drawn, if the file contains it.
        answered_at: Time of the review, if the file contains it.
    """

    name: ReviewName
    file: str
    statement: Literal["muscle", "absent", "accept"]
    polygons: tuple[Polygon, ...] = ()
    mask_png: bytes = b""
    size: tuple[int, int] | None = None
    accepted_absent: bool = False
    pixels_sha256: str | None = None
    answered_at: datetime | None = None

    @property
    def has_outline(self) -> bool:
        """True if it outlines a muscle."""
        return bool(self.polygons or self.mask_png)


def _from_json(name: ReviewName, file: str, data: bytes) -> Review:
    document = parse_document(data)
    for polygon in document.outlines:
        check_polygon(polygon)
    size = (document.height, document.width) if document.height is not None and document.width is not None else None
    statement: Literal["muscle", "absent", "accept"] = "muscle"
    if document.is_accepted:
        statement = "accept"
    elif document.is_absent:
        statement = "absent"
    return Review(
        name,
        file,
        statement,
        polygons=document.outlines,
        size=size,
        accepted_absent=document.is_accepted and document.is_absent,
        pixels_sha256=document.pixels_sha256,
        answered_at=document.answered_at,
    )


def _from_mask(name: ReviewName, file: str, mask: NDArray[np.bool_]) -> Review:
    if not mask.any():
        raise ReviewError(
            ReviewProblem.EMPTY_MASK,
            'The mask is empty; if the image shows no muscle, use a JSON file: {"muscle": "absent"}.',
        )
    size = (mask.shape[0], mask.shape[1])
    return Review(name, file, "muscle", mask_png=encode_png(255 * mask.astype(np.uint8)), size=size)


_MASK_PARSERS: Final[dict[str, Callable[[bytes], NDArray[np.bool_]]]] = {
    ".png": parse_png,
    ".dcm": parse_segmentation,
}


def parse_review(file: str, data: bytes) -> Review:
    """Read a review.

    Args:
        file: Its name, ``EXAMID_VIEW_PIXELS`` with one of ``SUFFIXES``.
        data: Its bytes, untrusted.

    Returns:
        The review; ``drawn_mask`` checks whether it fits its image.

    Raises:
        ReviewError: The name or the content is not valid.
    """
    stem, dot, ending = file.rpartition(".")
    suffix, name = (dot + ending).lower(), parse_stem(stem)
    if name is None or suffix not in SUFFIXES:
        raise ReviewError(
            ReviewProblem.UNKNOWN_NAME,
            f"The name of a review is EXAMID_VIEW_PIXELS with {', '.join(SUFFIXES)}, as in the quality report and the"
            " exported files; rename the file, or move it out of the folder.",
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
    """Resize a mask of the archive's stored image to the size of the ingested image."""
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
    """Draw the muscle that a review outlines.

    Args:
        review: A review with an outline.
        shape: Rows and columns of the ingested image.

    Returns:
        bool [H, W], not empty.

    Raises:
        ReviewError: The outline was drawn on an image of another size, is outside of the image, or covers nothing.
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
            'The outline contains no part of the image; write {"muscle": "absent"} if the image shows no muscle.',
        )
    return mask
