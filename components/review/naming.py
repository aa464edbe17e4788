"""How a review names the image that it is of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from schema.features import VIEWS

_DIGITS: Final = 16  # of the pixels' SHA-256 in a name: 64 bits tell the images of any archive apart
# Browsers do not overwrite a download: the second of a name is "NAME (1)", "NAME(1)" or "NAME-1".
_COPY: Final = r"(?: ?\([0-9]{1,3}\)|-[0-9]{1,3})?"
_STEM: Final = re.compile(rf"([0-9a-f]{{16,64}})_({'|'.join(VIEWS)})_([0-9a-f]{{{_DIGITS}}}){_COPY}")


@dataclass(frozen=True)
class ReviewName:
    """The image that a review is of. As a file name it survives every editor, whatever it does to the content.

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
    """Names the review of an image."""
    return ReviewName(exam_id, view, pixels_sha256[:_DIGITS])


def parse_stem(stem: str) -> ReviewName | None:
    """Reads a file name without its suffix; None where it is not of the form ``EXAMID_VIEW_PIXELS``.

    The number that a browser adds to a second download of one name does not count.
    """
    match = _STEM.fullmatch(stem)
    return ReviewName(*match.groups()) if match else None
