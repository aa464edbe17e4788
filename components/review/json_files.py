"""Read reviews from JSON: the keys of this project, the format of the annotation tool labelme, or both in one file.

labelme keeps unknown keys, so an exported template that was edited there still contains the hash of its pixels.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from components.review.polygons import Polygon
from components.review.problems import ReviewError, ReviewProblem

LABEL: Final = "pectoral"
_MAX_POLYGONS: Final = 20

_Coordinate = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
_Points = tuple[tuple[_Coordinate, _Coordinate], ...]


class _Part(BaseModel):
    # Annotation tools add other keys.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Shape(_Part):
    label: str
    points: _Points
    shape_type: str = "polygon"


class _Flags(_Part):
    absent: bool = False
    accept: bool = False


class ReviewDocument(_Part):
    """A review as JSON.

    Attributes:
        accept: Confirms the automatic result. If the file also has a polygon or ``absent``, that is the result that was
            reviewed, and the current one must be equal.
        muscle: ``absent``: the image shows no muscle.
        polygons: Outlines of the muscle as (x, y), see ``polygons``.
        shapes: Outlines in the format of labelme.
        flags: ``accept`` and ``absent`` as flags of labelme.
        pixels_sha256: ``pixels_sha256`` of the reviewed image.
        height: Rows of the reviewed image (labelme's ``imageHeight``).
        width: Columns of the reviewed image (labelme's ``imageWidth``).
        answered_at: Time of the review; if there are several reviews of one image, the latest is used.
    """

    accept: bool = False
    muscle: Literal["absent"] | None = None
    polygons: Annotated[tuple[_Points, ...], Field(max_length=_MAX_POLYGONS)] = ()
    shapes: Annotated[tuple[_Shape, ...], Field(max_length=_MAX_POLYGONS)] = ()
    flags: _Flags | None = None
    pixels_sha256: str | None = None
    height: int | None = Field(None, alias="imageHeight")
    width: int | None = Field(None, alias="imageWidth")
    answered_at: AwareDatetime | None = None

    @property
    def is_accepted(self) -> bool:
        """True if the automatic result is confirmed."""
        return self.accept or (self.flags is not None and self.flags.accept)

    @property
    def is_absent(self) -> bool:
        """True if the image shows no muscle."""
        return self.muscle == "absent" or (self.flags is not None and self.flags.absent)

    @property
    def outlines(self) -> tuple[Polygon, ...]:
        """Polygons of both formats."""
        return (*self.polygons, *(shape.points for shape in self.shapes))


def _check_statement(document: ReviewDocument) -> None:
    for shape in document.shapes:
        if shape.shape_type != "polygon" or shape.label != LABEL:
            raise ReviewError(
                ReviewProblem.UNSUPPORTED,
                f"Every shape must be a polygon with the label {LABEL}; change its label, draw it as a polygon, or"
                " remove it.",
            )
    if document.is_absent and document.outlines:
        raise ReviewError(
            ReviewProblem.CONTRADICTION,
            "The file says that the muscle is absent and outlines one; keep one of the two.",
        )
    if not (document.is_accepted or document.is_absent or document.outlines):
        raise ReviewError(
            ReviewProblem.NO_STATEMENT,
            'The file says nothing about the muscle; add polygons, or "muscle": "absent", or "accept": true.',
        )


def parse_document(data: bytes) -> ReviewDocument:
    """Read a review from JSON.

    Args:
        data: The file's bytes, untrusted.

    Returns:
        The document; it contains exactly one statement.

    Raises:
        ReviewError: The JSON is not valid, contains no statement, or contradicts itself.
    """
    try:
        document = ReviewDocument.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise ReviewError(
            ReviewProblem.UNREADABLE, f"{key}: {first['msg']}; see docs/review.md for the JSON that is read."
        ) from error
    _check_statement(document)
    return document
