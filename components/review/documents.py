"""Reviews as JSON: this project's own few keys, or a file of the annotation tool labelme, or both in one.

labelme keeps keys that it does not know, so that an exported template can be edited there and still says which pixels
it was drawn on.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from components.review.findings import ReviewError, ReviewProblem
from components.review.polygon import Polygon

LABEL: Final = "pectoral"
_MAX_POLYGONS: Final = 20

_Coordinate = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
_Points = tuple[tuple[_Coordinate, _Coordinate], ...]


class _Part(BaseModel):
    # Tools add keys of their own.
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
        accept: Confirms the automatic result; with a polygon or ``absent``, only if that is what it still is.
        muscle: ``absent``: the image shows no muscle.
        polygons: Outlines of the muscle as (x, y), see ``polygon``.
        shapes: The same as labelme has it.
        flags: The same as ``accept`` and ``muscle`` as labelme has it, where they can be ticked.
        pixels_sha256: ``pixels_sha256`` of the image that was looked at.
        height: Its rows (labelme's ``imageHeight``).
        width: Its columns (labelme's ``imageWidth``).
        answered_at: When it was said; of several answers for one image the latest counts.
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
        """Whether the automatic result is confirmed."""
        return self.accept or (self.flags is not None and self.flags.accept)

    @property
    def is_absent(self) -> bool:
        """Whether the image shows no muscle."""
        return self.muscle == "absent" or (self.flags is not None and self.flags.absent)

    @property
    def outlines(self) -> tuple[Polygon, ...]:
        """Polygons of either form."""
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
            'The file says nothing of the muscle; give polygons, or "muscle": "absent", or "accept": true.',
        )


def parse_document(data: bytes) -> ReviewDocument:
    """Reads a review in JSON.

    Args:
        data: The file's bytes, untrusted.

    Returns:
        The document, which says one thing.

    Raises:
        ReviewError: It is no such JSON, says nothing, or contradicts itself.
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
