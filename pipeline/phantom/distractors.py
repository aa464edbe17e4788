"""Standard views with things in them that must not be taken for special, or that fill the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.phantom.special import Draw, Grey, point_inside, ring, rounded, wall_left


def _limited(image: NDArray[np.generic]) -> Grey:
    return np.asarray(np.clip(image, 0, 1), dtype=np.float32)


def film(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Show the view as a scanned film: uneven fog, white edges, a label plate, scratches, dust."""
    rows, columns = grey.shape
    fog = rng.uniform(0.02, 0.12) + rng.uniform(0, 0.05) * np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    image = fog + (1 - fog) * grey
    plate = np.zeros(grey.shape, np.float32)
    width, height = rng.uniform(35, 55) / mm, rng.uniform(14, 24) / mm
    x = columns - 0.55 * width if wall_left(breast) else 0.55 * width
    y = rng.uniform(0.06, 0.12) * rows
    angle = float(np.deg2rad(rng.uniform(-50, 50)))
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    plate = rounded((rows, columns), box, 0.0, angle) * ~breast
    image = _limited(image + plate * (np.float32(rng.uniform(0.2, 0.9)) - image))
    for row in range(3):
        at = (int(x - width / 3), int(y - height / 4 + row * height / 4))
        scale = max(0.2, float(height) / 120)
        letters = np.zeros(grey.shape, np.uint8)  # OpenCV 5 writes on 8 bits only
        cv2.putText(letters, "MAY 1987 L", at, cv2.FONT_HERSHEY_PLAIN, scale * 2, (1,), 1, cv2.LINE_8)
        image[letters > 0] = 1
    for _ in range(int(rng.integers(0, 5))):
        ends = [(int(rng.uniform(0, columns)), int(rng.uniform(0, rows))) for _ in range(2)]
        scratch = cv2.line(np.zeros(grey.shape, np.float32), ends[0], ends[1], (1.0,), 1, cv2.LINE_AA)
        image = _limited(image + scratch * np.float32(rng.choice([-0.08, 0.12])))
    for side in range(4):
        if rng.uniform() < 0.6:
            band = max(1, round(rng.uniform(0.004, 0.035) * max(rows, columns)))
            np.rot90(image, side)[:band] = rng.choice([0.0, 1.0], p=[0.3, 0.7])
    return _limited(image + rng.normal(0, 0.008, image.shape))


def device(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Show a pacemaker or a port with its lead at the upper end of the chest wall."""
    rows, columns = grey.shape
    width, height = rng.uniform(22, 45) / mm, rng.uniform(22, 40) / mm
    x = width * rng.uniform(0.1, 0.5) if wall_left(breast) else columns - width * rng.uniform(0.1, 0.5)
    y = rows * rng.uniform(0.02, 0.16)
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    body = rounded((rows, columns), box, float(rng.uniform(0.3, 0.5)) * min(width, height), float(rng.normal(0, 0.3)))
    image = np.maximum(grey, body * np.float32(rng.uniform(0.85, 1.0)))
    turns = np.linspace(0, rng.uniform(1.0, 2.5), 40)
    lead = np.stack([x + 0.6 * width * np.sin(3 * turns), y + height * turns], axis=1)
    cv2.polylines(image, [np.rint(lead).astype(np.int32)], False, (1.0,), max(1, round(2 / mm)), cv2.LINE_AA)
    return _limited(image)


def markers(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Put skin markers on the breast: beads, a triangle, a mole's ring, a scar's wire, clips and calcifications."""
    image = grey.copy()
    thick = max(1, round(0.8 / mm))

    def place() -> tuple[int, int]:
        x, y = point_inside(breast, 8 / mm, rng)
        return int(x), int(y)

    for _ in range(int(rng.integers(1, 4))):
        cv2.circle(image, place(), max(1, round(1.2 / mm)), (1.0,), -1, cv2.LINE_AA)
    if rng.uniform() < 0.5:
        x, y = place()
        corners = np.array([[x, y], [x + 10 / mm, y], [x + 5 / mm, y - 9 / mm]])
        cv2.polylines(image, [corners.astype(np.int32)], True, (1.0,), thick, cv2.LINE_AA)
    if rng.uniform() < 0.5:
        cv2.circle(image, place(), max(2, round(rng.uniform(5, 9) / mm)), (1.0,), thick, cv2.LINE_AA)
    if rng.uniform() < 0.5:
        x, y = place()
        t = np.linspace(0, 1, 30)
        scar = np.stack([x + 40 / mm * t, y + rng.uniform(-20, 20) / mm * t + 6 / mm * np.sin(5 * t)], axis=1)
        cv2.polylines(image, [scar.astype(np.int32)], False, (1.0,), thick, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 12))):
        cv2.circle(image, place(), max(1, round(rng.uniform(0.3, 1.5) / mm)), (float(rng.uniform(0.8, 1)),), -1)
    return _limited(image)


def folds(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Lay skin folds over the upper and lower ends of the breast, and the paddle's rear edge along the chest wall."""
    rows, columns = grey.shape
    image = grey.copy()
    for _ in range(int(rng.integers(1, 4))):
        y = rows * float(rng.choice([rng.uniform(0, 0.25), rng.uniform(0.75, 1)]))
        t = np.linspace(0, 1, 40)
        reach, drop, bend = rng.uniform(20, 60) / mm, rng.uniform(-25, 25) / mm, rng.uniform(3, 10) / mm
        x = reach * t if wall_left(breast) else columns - 1 - reach * t
        fold = np.stack([x, y + drop * t + bend * np.sin(3 * t)], axis=1)
        line = np.zeros(grey.shape, np.float32)
        cv2.polylines(line, [fold.astype(np.int32)], False, (1.0,), max(1, round(rng.uniform(1, 3) / mm)), cv2.LINE_AA)
        image = image + line * breast * np.float32(rng.uniform(0.05, 0.2))
    if rng.uniform() < 0.5:
        at = max(1, round(rng.uniform(2, 8) / mm))
        column = at if wall_left(breast) else columns - 1 - at
        image[:, column : column + max(1, round(1 / mm))] += np.float32(rng.uniform(0.05, 0.15))
    return _limited(image)


def fields(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Show the edges of the full-size paddle and of the detector: thin bands and lines around the whole field."""
    rows, columns = grey.shape
    inset = rng.uniform(0.005, 0.03) * min(rows, columns)
    far = 2.0 * columns
    box = (-far if wall_left(breast) else inset, inset, columns - inset if wall_left(breast) else far, rows - inset)
    outer = rounded((rows, columns), box, rng.uniform(2, 15) / mm, 0.0)
    inner = rounded((rows, columns), (box[0] + 2, box[1] + 2, box[2] - 2, box[3] - 2), rng.uniform(2, 15) / mm, 0.0)
    level = np.float32(rng.choice([0.0, 0.3, 1.0]))
    image = level + outer * (grey - level) if rng.uniform() < 0.5 else grey
    return _limited(image + ring(outer, inner) * np.float32(rng.uniform(0.02, 0.1)) + rng.normal(0, 0.01, grey.shape))


def large(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Show a breast that is large for its detector: both ends may leave the field, the nipple does not."""
    rows, columns = grey.shape
    at_left = wall_left(breast)
    inside = np.flatnonzero(breast.any(axis=0))
    reach = int(inside[-1]) + 1 if at_left else columns - int(inside[0])
    height = max(1, int(breast.any(axis=1).sum()))
    wide = min(rng.uniform(1.2, 1.8), 0.93 * columns / reach)
    high = max(1.0, rng.uniform(0.95, 1.3) * rows / height)
    middle = float(np.flatnonzero(breast.any(axis=1)).mean()) + rng.uniform(-0.04, 0.04) * rows
    x = np.arange(columns, dtype=np.float32) / np.float32(wide)
    x = x if at_left else columns - 1 - x[::-1]
    y = (np.arange(rows, dtype=np.float32) - np.float32(rows / 2)) / np.float32(high) + np.float32(middle)
    y, x = np.meshgrid(y, x, indexing="ij")
    return _limited(cv2.remap(grey, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))


def tight(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Remove the air around the breast except for some mm or less, as many data sets do."""
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    top, bottom, left, right = (round(rng.uniform(0, 6) / mm) for _ in range(4))
    first, last = max(0, int(columns[0]) - left), int(columns[-1]) + 1 + right
    return np.ascontiguousarray(grey[max(0, int(rows[0]) - top) : int(rows[-1]) + 1 + bottom, first:last])


DISTRACTORS: Final[Mapping[str, Draw]] = {
    "film": film,
    "device": device,
    "markers": markers,
    "folds": folds,
    "fields": fields,
    "large": large,
    "tight": tight,
}
