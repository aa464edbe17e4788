r"""Read how a picture is oriented, from Patient Orientation (0020,0020), and turn it into the standard hanging.

The element names the directions of the rows and the columns of the matrix (PS3.3 C.7.6.1.1.1): ``A\F`` means that rows
run to the patient's front and columns to the feet. In the standard hanging of mammograms the chest wall of the left
breast is on the left and that of the right breast on the right. The feet are at the bottom in MLO views and the medial
side is at the bottom in CC views: ``A\F`` and ``P\F``, ``A\R`` and ``P\L``. Columns of MLO views are oblique: those of
the left breast run to the feet and to the right, ``FR``. All readers accept either letter, too.

All eight orientations of a picture are turned into the standard one before any other step. A value that is not a pair
of directions is ignored: some archives write ``CC`` or ``MLO`` there. Contradictions are rejected, because either the
orientation, the side or the projection is wrong. If a manifest names the view, the picture stays as it is, with a
remark. A picture whose chest wall or axilla is clearly at another edge than the orientation says is always rejected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.rejections import IngestError, RejectionReason, printable
from components.dicom.remarks import Remark
from schema.features import laterality_of

_DIRECTIONS: Final = re.compile(r"[APRLHF]{1,3}")
_OPPOSITES: Final = ({"A", "P"}, {"R", "L"}, {"H", "F"})
_TAG: Final = tags.tag_name("PatientOrientation")
_SMALL: Final = 256  # longest side of the copy for finding the chest wall, pixels
_EDGE: Final = 0.05  # width of an edge, share of the side
_EMPTY: Final = 0.02  # rows and columns with a smaller share of breast are background
# The chest wall is clear if this share of an edge is breast, and this many times the share of any other edge.
_WALL_SHARE: Final = 0.4
_WALL_LEAD: Final = 1.7
# The chest wall is not at an edge with a smaller share of breast, if there is another candidate.
_NO_WALL: Final = 0.1
# The same for the axilla at the top of MLO views, compared with the opposite edge.
_AXILLA_SHARE: Final = 0.2
_AXILLA_LEAD: Final = 4.0


@dataclass(frozen=True)
class Turn:
    """A transform of a stored picture into the standard hanging: transpose first, then flip.

    Attributes:
        transpose: Rows become columns.
        flip_rows: The order of the rows is reversed.
        flip_columns: The order of the columns is reversed.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def apply(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Turn a picture, [H, W] or [H, W, channels], from the file's geometry into the standard hanging."""
        if self == Turn():
            return picture
        turned = picture.swapaxes(0, 1) if self.transpose else picture
        return np.ascontiguousarray(self._flipped(turned))

    def undo(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Turn a picture from the standard hanging back into the file's geometry."""
        if self == Turn():
            return picture
        turned = self._flipped(picture)
        return np.ascontiguousarray(turned.swapaxes(0, 1) if self.transpose else turned)

    def _flipped(self, picture: NDArray[Any]) -> NDArray[Any]:
        return picture[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


@dataclass(frozen=True)
class _Contradiction:
    reason: RejectionReason
    why: str


def _directions(dataset: Dataset) -> tuple[str, str] | None:
    """Return the directions of rows and columns; None if the element does not have a pair of them."""
    written = [str(value).strip(" \0").upper() for value in tags.values(dataset, "PatientOrientation")]
    if len(written) != 2 or not all(map(_DIRECTIONS.fullmatch, written)):
        return None
    return written[0], written[1]


def _is_possible(direction: str) -> bool:
    return len(set(direction)) == len(direction) and not any(pair <= set(direction) for pair in _OPPOSITES)


def _runs_to_front_or_back(rows: str, columns: str) -> tuple[bool, bool]:
    """Return whether rows and columns run along the axis from back to front; the first letter is the main direction."""
    main = tuple(direction[0] in "AP" for direction in (rows, columns))
    named = tuple(bool(set(direction) & {"A", "P"}) for direction in (rows, columns))
    return (main[0], main[1]) if any(main) else (named[0], named[1])


def _runs_down(direction: str, view: str) -> bool | None:
    """Return True if a direction runs down in the standard hanging, None if it contradicts the view."""
    projection, side = view.split("_")
    medial, lateral = ("R", "L") if side == "L" else ("L", "R")
    letters = [letter for letter in direction if letter in (medial, lateral)]
    if projection == "MLO":
        letters += [letter for letter in direction if letter in "HF"]
    down = {letter in (medial, "F") for letter in letters}
    return down.pop() if len(down) == 1 else None


def _turn(rows: str, columns: str, view: str) -> Turn | _Contradiction:
    if not (_is_possible(rows) and _is_possible(columns)):
        return _Contradiction(RejectionReason.MALFORMED_HEADER, "a direction names opposite sides")
    of_rows, of_columns = _runs_to_front_or_back(rows, columns)
    if of_rows and of_columns:
        return _Contradiction(RejectionReason.MALFORMED_HEADER, "rows and columns run along one axis")
    if not (of_rows or of_columns):
        return _Contradiction(RejectionReason.UNKNOWN_VIEW, f"rows or columns of {view} must run to the front or back")
    across, along = (rows, columns) if of_rows else (columns, rows)
    down = _runs_down(along, view)
    if down is None:
        return _Contradiction(RejectionReason.UNKNOWN_VIEW, f"no picture of {view} has this orientation")
    forward = next(letter for letter in across if letter in "AP") == "A"
    return Turn(transpose=of_columns, flip_rows=not down, flip_columns=forward != (laterality_of(view) == "L"))


def turn_of(dataset: Dataset, view: str, is_named: bool, file: str) -> tuple[Turn | None, tuple[Remark, ...]]:
    """Read how to turn a picture.

    Args:
        dataset: DICOM header.
        view: View of the image, one of ``schema.features.VIEWS``.
        is_named: A manifest named the view.
        file: File name for error messages.

    Returns:
        The turn, which may change nothing, or None if the header has no orientation or a wrong one; and remarks.

    Raises:
        IngestError: ``malformed_header`` for directions that exclude each other, ``unknown_view`` for directions that
            contradict the view, unless a manifest named it.
    """
    directions = _directions(dataset)
    if directions is None:
        return None, ()
    found = _turn(*directions, view)
    if isinstance(found, Turn):
        return found, (Remark.TURNED,) if found != Turn() else ()
    if is_named:
        return None, (Remark.IMPOSSIBLE_ORIENTATION,)
    remedy = f"{found.why}; correct it, or name the view in a manifest to accept the picture as it is"
    raise IngestError(found.reason, file, _TAG, printable("\\".join(directions)), remedy)


def _breast(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return which pixels of a small copy are breast, uint8 of 0 and 1."""
    rows, columns = pixels.shape
    scale = min(1.0, _SMALL / max(rows, columns))
    size = (max(3, round(columns * scale)), max(3, round(rows * scale)))
    # Without the square root the threshold separates only bright muscles and film edges from the rest.
    small = np.sqrt(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)).astype(np.uint8)
    _, breast = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return breast


def _box(breast: NDArray[Any]) -> NDArray[Any]:
    """Return the part with breast, without background and padding around it."""
    for axis in (1, 0):
        filled = np.flatnonzero(breast.mean(axis=axis) > _EMPTY)
        if filled.size:
            breast = np.take(breast, np.arange(filled[0], filled[-1] + 1), axis=1 - axis)
    return breast


def _edge_shares(breast: NDArray[Any]) -> dict[str, float]:
    high, wide = (max(1, round(_EDGE * side)) for side in breast.shape)
    edges = {"left": breast[:, :wide], "right": breast[:, -wide:], "top": breast[:high], "bottom": breast[-high:]}
    return {name: float(edge.mean()) for name, edge in edges.items()}


def _misplaced(pixels: NDArray[Any], view: str) -> str:
    """Describe how the breast clearly differs from the standard hanging; empty if it does not."""
    breast = _breast(pixels)
    box = _box(breast)
    shares = _edge_shares(box)
    wall = "left" if laterality_of(view) == "L" else "right"
    first, second = sorted(shares, key=lambda name: -shares[name])[:2]
    is_clear = shares[wall] < _NO_WALL or shares[first] >= _WALL_LEAD * shares[second]
    if first != wall and shares[first] >= _WALL_SHARE and is_clear:
        return f"has its chest wall at the {first}"
    shares = _edge_shares(breast)
    is_below = shares["bottom"] >= max(_AXILLA_SHARE, _AXILLA_LEAD * shares["top"])
    # If a band of padding cuts the axilla off, the breast is wide at the first row after it.
    is_cut = box[0].mean() >= _AXILLA_SHARE
    return "is upside down" if view.startswith("MLO") and is_below and not is_cut else ""


def require_agreement(pixels: NDArray[Any], view: str, file: str) -> None:
    """Reject a picture that clearly contradicts its orientation.

    Of 1,144 films in the standard hanging none is rejected. Of the same films with black bands of up to 16 % at an
    edge, 1 of 18,304 is rejected. Of mirrored, rotated or transposed films, 83 to 95 % are rejected; of MLO views
    upside down, 79 %.

    Args:
        pixels: uint16 [H, W], in the standard hanging according to its orientation.
        view: View of the image.
        file: File name for error messages.

    Raises:
        IngestError: ``implausible_pixels``.
    """
    if found := _misplaced(pixels, view):
        value = f"wrong: turned by it, {view} {found}"
        remedy = "orientation, side or pixels are wrong, export the image again"
        raise IngestError(RejectionReason.IMPLAUSIBLE_PIXELS, file, _TAG, value, remedy)
