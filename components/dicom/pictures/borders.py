"""Judge where the tissue ends: specimens, crops, cut-off breasts, collimated fields, two breasts in one picture.

In a standard view the breast reaches the edge of the picture at the chest wall, air is at the opposite side, and the
skin between them is curved. Straight ends of tissue inside the picture come from a collimator. Tissue that reaches the
side opposite to the chest wall is cut off. Tissue that reaches no side is a specimen. The limits are far from the
values of standard views (see ``docs/special_images.md``): in none of 1,144 films does tissue meet the opposite side
with a quarter of its height.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from components.dicom.pictures.field import Field, Mask, PictureFinding, disc, largest, quantile, quantiles, share_of
from components.dicom.rejections import RejectionReason

# A uniform light frame with more than this share of the picture is not a film edge.
_FRAME: Final = 0.15
# The picture inside such a frame is a rectangle if it fills this share of its box (a disc fills 0.79).
_RECTANGLE: Final = 0.7
# A frame leaves this share of the picture outside its box, or has a disc in it. Otherwise it is the blurred edge of a
# film next to fat of the same grey.
_OUTSIDE, _DISC = 0.08, 0.82
# A smaller share of the picture beside the tissue is not a background. Standard films have at least 0.19.
_BACKGROUND: Final = 0.04
# Air is even: half of its greys are within this share of the step to tissue; standard views have at most 0.2. Air is
# smooth: its median slope per pixel, as a share of that step, is below 0.01 in standard views and far below that of
# tissue. In a picture without air the threshold selects tissue, which is as rough as the rest.
_EVEN, _SMOOTH, _SMOOTHER = 0.3, 0.014, 0.3
# Parts of air that are brighter than this share of tissue are labels and film edges.
_LABEL: Final = 1.2
# Ends of tissue are measured this far inside its box, share of the longest side.
_INSET: Final = 0.012
# Share of the side of its box that tissue meets: a curved end has less, a straight one more.
_STRAIGHT, _ONE_STRAIGHT, _WALL = 0.5, 0.7, 0.75
# A wider distance between tissue and side, share of the picture, is a gap. A band of the film or the plate can be
# outside the straight end of tissue at the chest wall.
_GAP, _BAND = 0.04, 0.12
# If tissue meets this share of a picture's side, that is not by chance; a smaller share becomes a remark. A standard
# view that is cropped to the box of its breast has at most 0.17.
_CUT, _TOUCHED = 0.35, 0.22
# Share at both the upper and the lower end: a large breast on a small detector is a standard view. Standard films have
# at most 0.34, phantoms that fill the field 0.52. More becomes a remark. No whole breast has 0.7 at both ends.
_BOTH, _LONG = 0.7, 0.52
# A shorter straight end at the chest wall only becomes a remark.
_NO_WALL: Final = 0.6
# Tissue that meets a smaller share of every side does not reach the edge of the picture.
_FREE: Final = 0.06
# Size of a second part at the other side, share of the first.
_SECOND: Final = 0.4
# A round field: tissue fills this share of its smallest circle, and meets the chest wall with at most this share.
_ROUND, _ROUND_WALL = 0.86, 0.6


@dataclass(frozen=True)
class Ends:
    """How tissue ends at one side.

    Attributes:
        name: Name of the side.
        gap: Distance from the picture's side, share of the picture.
        box: Share of the side of the tissue's box that tissue meets.
        picture: Share of the picture's side that tissue meets.
        thick: The same for thick tissue, which is neither only skin nor as white as labels.
    """

    name: str
    gap: float
    box: float
    picture: float
    thick: float


def _ends(field: Field) -> tuple[list[Ends], tuple[int, int, int, int]]:
    """Measure the four sides, top, bottom, left, right, and the box of the tissue."""
    left, top, width, height = cv2.boundingRect(field.tissue)
    box = top, top + height, left, left + width
    skin = field.air + 0.3 * (field.middle - field.air)
    inset = max(1, round(_INSET * field.side))
    found = []
    for down, back, name in ((0, 0, "top"), (0, 1, "bottom"), (1, 0, "left"), (1, 1, "right")):
        # Lines are counted from the side: rows from the top or bottom, columns from the left or right.
        turn = np.s_[::-1] if back else np.s_[:]
        tissue, grey = ((part.T if down else part)[turn] for part in (field.tissue, field.grey))
        before, behind = box[2 * down : 2 * down + 2]
        first, last = (len(tissue) - behind, len(tissue) - before) if back else (before, behind)
        across = slice(*box[2 - 2 * down : 4 - 2 * down])
        near = min(inset, len(tissue) - 1)
        outer = min(1, near)
        thick = tissue[outer] & (grey[outer] > skin) & (grey[outer] < 0.95)
        in_box = tissue[first + min(inset, last - first - 1), across]
        found.append(Ends(name, first / len(tissue), share_of(in_box), share_of(tissue[near]), share_of(thick)))
    return found, box


def _place(field: Field, box: tuple[int, int, int, int]) -> str:
    rows = (round(field.top + row * field.scale) for row in box[:2])
    columns = (round(field.left + column * field.scale) for column in box[2:])
    return "rows {} to {}, columns {} to {}".format(*rows, *columns)


def _framed(field: Field) -> Iterator[PictureFinding]:
    outside = 1 - (1 - field.frame) / field.frame_fill
    if field.frame <= _FRAME or (outside < _OUTSIDE and field.frame_fill > _DISC):
        return
    shape = "a straight edge" if field.frame_fill >= _RECTANGLE else "a curved edge"
    text = f"uniform light area round the picture, {field.frame:.0%} of it, with {shape}"
    yield PictureFinding(RejectionReason.COLLIMATED, text)


def _has_background(field: Field) -> Iterator[PictureFinding]:
    beside = cv2.dilate(field.tissue, disc(max(2, round(0.02 * field.side)))) == 0
    share = share_of(beside)
    if share < _BACKGROUND:
        yield PictureFinding(
            RejectionReason.CROPPED, f"no background: {share:.0%} of the picture lies beside the tissue"
        )
        return
    step = max(field.middle - field.air, 1e-3)
    beside &= field.grey < field.air + _LABEL * step
    values = field.grey[beside]
    low, high = quantiles(values, 0.25, 0.75)
    spread = (high - low) / step
    rough, of_tissue = (quantile(field.slope[part], 0.5) for part in (beside, field.tissue > 0))
    if spread > _EVEN or (rough > _SMOOTH * step and rough > _SMOOTHER * of_tissue):
        compared = f"{rough / max(of_tissue, 1e-4):.0%} as rough as tissue"
        yield PictureFinding(
            RejectionReason.CROPPED, f"no even background: the dark part varies by {spread:.0%} and is {compared}"
        )


def _second_breast(field: Field, box: tuple[int, int, int, int]) -> Iterator[PictureFinding]:
    skin = field.air + 0.3 * (field.middle - field.air)
    rest = ((field.grey > skin) & (field.grey < 0.95) & (cv2.dilate(field.tissue, disc(3)) == 0)).view(np.uint8)
    tissue = cv2.countNonZero(field.tissue)
    if cv2.countNonZero(rest) <= _SECOND * tissue:
        return
    rest = np.asarray(cv2.morphologyEx(rest, cv2.MORPH_OPEN, disc(max(2, round(0.02 * field.side)))), dtype=np.uint8)
    if cv2.countNonZero(rest) <= _SECOND * tissue:
        return
    second = largest(rest)
    left, _, width, _ = cv2.boundingRect(second)
    columns = rest.shape[1]
    own_left = box[2] <= columns - box[3]
    at_other_side = left + width >= columns - 2 if own_left else left <= 2
    share = cv2.countNonZero(second) / max(1, tissue)
    if at_other_side and share > _SECOND:
        yield PictureFinding(
            RejectionReason.CLEAVAGE, f"two parts of tissue at opposite sides, the second of {share:.0%} of the first"
        )


def _roundness(tissue: Mask) -> float:
    contours, _ = cv2.findContours(tissue, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    _, radius = cv2.minEnclosingCircle(cv2.convexHull(contours[0]))
    return float(cv2.countNonZero(tissue) / (np.pi * max(radius, 1.0) ** 2))


def _shape(field: Field, ends: list[Ends], box: tuple[int, int, int, int]) -> Iterator[PictureFinding]:
    top, bottom, left, right = ends
    wall, opposite = (left, right) if left.box + left.picture >= right.box + right.picture else (right, left)
    place = _place(field, box)
    away = wall.gap > (_GAP if wall.box < _WALL else _BAND)
    straight = [end for end in (top, bottom, opposite) if end.gap > _GAP and end.box > _STRAIGHT]
    if len(straight) > 1 or any(end.box > _ONE_STRAIGHT for end in straight):
        sides = " and ".join(f"{end.name} {end.box:.0%} straight" for end in straight)
        yield PictureFinding(
            RejectionReason.COLLIMATED, f"tissue ends inside the picture in a straight line, {sides}, {place}"
        )
    elif all(end.picture < _FREE for end in ends) and away:
        yield PictureFinding(RejectionReason.SPECIMEN, f"tissue meets no side of the picture, {place}")
    elif wall.picture < _ROUND_WALL and opposite.picture < _FREE and _roundness(field.tissue) > _ROUND:
        yield PictureFinding(RejectionReason.COLLIMATED, f"tissue ends in a circle, {place}")
    met = [end for end in ends if end.thick > _CUT]
    both = min(top.thick, bottom.thick)
    if opposite.thick > _CUT:
        case = RejectionReason.CROPPED if len(met) > 3 else RejectionReason.BREAST_CUT_OFF
        sides = ", ".join(f"{end.name} {end.thick:.0%}" for end in met)
        yield PictureFinding(case, f"tissue meets the side opposite to the chest wall; sides that it meets: {sides}")
    elif both > _LONG:
        text = f"tissue meets top ({top.thick:.0%}) and bottom ({bottom.thick:.0%})"
        yield PictureFinding(RejectionReason.BREAST_CUT_OFF, text, both > _BOTH)
    elif wall.box < _WALL or away:
        text = f"no chest wall side: tissue meets {wall.name} with {wall.box:.0%} of its height, {wall.gap:.0%} away"
        yield PictureFinding(RejectionReason.CROPPED, text, wall.box < _NO_WALL or away)
    elif opposite.thick > _TOUCHED:
        text = f"tissue meets {opposite.name}, opposite to the chest wall, with {opposite.thick:.0%}"
        yield PictureFinding(RejectionReason.BREAST_CUT_OFF, text, False)


def border_findings(field: Field) -> list[PictureFinding]:
    """Judge where the tissue of a picture ends.

    Args:
        field: Small copy of the picture, with tissue.

    Returns:
        Special cases with the evidence, the surest first.
    """
    ends, box = _ends(field)
    return [
        *_framed(field),
        *_shape(field, ends, box),
        *_has_background(field),
        *_second_breast(field, box),
    ]
