"""Special pictures made from phantom views: paddles, collimators, implants, specimens, crops, cut-off breasts.

What the header of an anonymised file does not say any more, only the picture shows. These pictures test what finds
it (``components.dicom.pictures``), with the truth known. ``distractors`` makes standard views with things
in them that must not be taken for special.

All drawing works on grey 0..1 as a reader sees it, bright = dense, before the system's storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Draw = Callable[[Grey, NDArray[np.bool_], float, np.random.Generator], Grey]
# Drawing is exact to 1/16 pixel.
_SHIFT: Final = 4


def rounded(shape: tuple[int, int], box: tuple[float, float, float, float], radius: float, angle: float) -> Grey:
    """Draw a filled rectangle (left, top, right, bottom) with round corners, turned; 0..1 with soft edges."""
    left, top, right, bottom = box
    radius = max(0.0, min(radius, (right - left) / 2, (bottom - top) / 2))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    x, y = x - np.float32((left + right) / 2), y - np.float32((top + bottom) / 2)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    across = np.abs(x * cos + y * sin) - np.float32((right - left) / 2 - radius)
    down = np.abs(y * cos - x * sin) - np.float32((bottom - top) / 2 - radius)
    outside = np.hypot(np.maximum(across, 0), np.maximum(down, 0)) + np.minimum(np.maximum(across, down), 0)
    return np.asarray(np.clip(radius + 0.5 - outside, 0, 1), dtype=np.float32)


def ring(filled: Grey, inner: Grey) -> Grey:
    """Return what one shape covers and a smaller one does not."""
    return np.asarray(np.clip(filled - inner, 0, 1), dtype=np.float32)


def _breast_box(breast: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def wall_left(breast: NDArray[np.bool_]) -> bool:
    """Return True if the chest wall is on the left."""
    return bool(breast[:, 0].sum() >= breast[:, -1].sum())


def _paddle(grey: Grey, where: tuple[float, float], mm: float, rng: np.random.Generator) -> Grey:
    """Lay the rim of a small paddle over a picture: one or two bright (or dark) lines with round corners."""
    width, height = rng.uniform(38, 90) / mm, rng.uniform(38, 90) / mm
    round_one = rng.uniform() < 0.35
    if round_one:
        height = width
    radius = width / 2 if round_one else rng.uniform(3, 16) / mm
    x, y = where
    angle = float(np.deg2rad(rng.normal(0, 0.6)))
    thick = max(1.0, rng.uniform(0.9, 2.8) / mm)

    def shape(inset: float) -> Grey:
        box = (x - width / 2 + inset, y - height / 2 + inset, x + width / 2 - inset, y + height / 2 - inset)
        return rounded((grey.shape[0], grey.shape[1]), box, radius - inset, angle)

    filled = shape(0)
    rim = ring(filled, shape(thick))
    if rng.uniform() < 0.4:  # the wall of the paddle is seen from above and below
        gap = thick + rng.uniform(1.0, 4.0) / mm
        rim = np.maximum(rim, 0.6 * ring(shape(gap), shape(gap + thick)))
    strength = rng.uniform(0.05, 0.22) * (1 if rng.uniform() < 0.85 else -1)
    over_air = rng.uniform(0.1, 1.0)
    amount = strength * np.where(grey > 0.08, 1.0, over_air).astype(np.float32)
    middle = float(np.mean(grey[filled > 0.5])) if (filled > 0.5).any() else 0.5
    gain, shift = rng.uniform(0.95, 1.2), rng.uniform(-0.06, 0.04)
    pressed = (grey - middle) * np.float32(gain) + np.float32(middle + shift)
    pressed = np.where(grey > 0.08, pressed, grey)
    return np.asarray(np.clip(grey + filled * (pressed - grey) + rim * amount, 0, 1), dtype=np.float32)


def point_inside(breast: NDArray[np.bool_], margin: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a point of the breast, column and row, at least ``margin`` pixels under the skin if possible."""
    depth = cv2.distanceTransform(np.pad(breast.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= min(margin, 0.6 * float(depth.max())))
    chosen = int(rng.integers(len(rows)))
    return float(columns[chosen]), float(rows[chosen])


def spot_compression(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Lay a spot paddle over the breast; the field remains whole."""
    return _paddle(grey, point_inside(breast, 25 / mm, rng), mm, rng)


def _frame(grey: Grey, field: Grey, rng: np.random.Generator) -> Grey:
    """Cover what a collimator keeps dark: black, white as unexposed film is, or grey with a little scatter."""
    kind = rng.choice(["black", "white", "grey"], p=[0.5, 0.3, 0.2])
    outside = {"black": 0.0, "white": 1.0, "grey": rng.uniform(0.12, 0.6)}[str(kind)]
    soft = cv2.GaussianBlur(field, (0, 0), rng.uniform(0.3, 1.2) * max(grey.shape) / 800)
    return np.asarray(outside + soft * (grey - np.float32(outside)), dtype=np.float32)


def collimated(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Close the collimator around a part of the breast: a rectangle, often with round corners, or a circle."""
    x, y = point_inside(breast, 30 / mm, rng)
    width, height = rng.uniform(60, 110) / mm, rng.uniform(60, 110) / mm
    radius = rng.uniform(0, 12) / mm
    if rng.uniform() < 0.25:
        width = height = min(width, height)
        radius = width / 2
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    field = rounded((grey.shape[0], grey.shape[1]), box, radius, 0.0)
    return _frame(grey, field, rng)


def _window(grey: Grey, centre: tuple[float, float], size: tuple[float, float], target: tuple[int, int]) -> Grey:
    """Enlarge a window (width, height) about a centre to a target (rows, columns); it stays inside the picture."""
    rows, columns = grey.shape
    width, height = min(round(size[0]), columns), min(round(size[1]), rows)
    left = int(np.clip(centre[0] - width / 2, 0, columns - width))
    top = int(np.clip(centre[1] - height / 2, 0, rows - height))
    cut = grey[top : top + height, left : left + width]
    enlarges = target[0] > height
    flag = cv2.INTER_CUBIC if enlarges else cv2.INTER_AREA
    return np.clip(cv2.resize(cut, (target[1], target[0]), interpolation=flag), 0, 1).astype(np.float32)


def magnification(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Enlarge a part of the breast 1.5 to 2 times, with the paddle's rim, the collimator or both in the field."""
    rows, columns = grey.shape
    factor = rng.uniform(1.5, 2.0)
    centre = point_inside(breast, 30 / mm, rng)
    large = _window(grey, centre, (columns / factor, rows / factor), (rows, columns))
    shown = rng.uniform()
    if shown < 0.7:
        large = _paddle(large, (columns * rng.uniform(0.42, 0.58), rows * rng.uniform(0.42, 0.58)), mm / factor, rng)
    if shown > 0.4:
        inset = [rng.uniform(0.03, 0.2) * side for side in (columns, rows, columns, rows)]
        box = (inset[0], inset[1], columns - inset[2], rows - inset[3])
        field = rounded((rows, columns), box, rng.uniform(0, 12) * factor / mm, 0.0)
        large = _frame(large, field, rng)
    return large


def _implant(
    grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator, depth_share: tuple[float, float]
) -> Grey:
    left, top, right, bottom = _breast_box(breast)
    at_left = wall_left(breast)
    height = (bottom - top) * rng.uniform(0.36, 0.58)
    depth = (right - left) * rng.uniform(*depth_share)
    y = top + (bottom - top) * rng.uniform(0.45, 0.58)
    x = left + depth * rng.uniform(0.0, 0.45) if at_left else right - depth * rng.uniform(0.0, 0.45)
    rows, columns = grey.shape
    yy, xx = np.mgrid[:rows, :columns].astype(np.float32)
    turn = rng.normal(0, 0.12)
    u = (xx - np.float32(x)) * np.float32(np.cos(turn)) + (yy - np.float32(y)) * np.float32(np.sin(turn))
    v = (yy - np.float32(y)) * np.float32(np.cos(turn)) - (xx - np.float32(x)) * np.float32(np.sin(turn))
    power = rng.uniform(1.9, 2.6)
    reach = max(depth * 0.75, 1.0)
    level = (np.abs(u) / reach) ** power + (np.abs(v) / (height / 2)) ** power
    inside = 1 / (1 + np.exp(np.minimum((level - 1) * np.float32(rng.uniform(14, 40)), 60)))
    bright = rng.uniform(0.86, 1.0)
    saline = rng.uniform() < 0.4
    body = np.full(grey.shape, bright, np.float32)
    if saline:  # lets tissue behind it shine through, and has folds
        fold = np.cos(v / np.float32(height / rng.uniform(3, 9)) + u / np.float32(reach)) ** 12
        body = np.float32(bright - 0.1) + 0.06 * fold + 0.08 * (grey - 0.5)
    inside = inside * (cv2.GaussianBlur(breast.astype(np.float32), (0, 0), 2.0) > 0.4)
    return np.asarray(np.clip(grey + inside * (np.maximum(body, grey) - grey), 0, 1), dtype=np.float32)


def implant_present(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Put an implant between breast and chest wall."""
    return _implant(grey, breast, mm, rng, (0.45, 0.8))


def implant_displaced(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Show the anterior rim of an implant that was pushed back, at the chest wall."""
    return _implant(grey, breast, mm, rng, (0.12, 0.25))


def specimen(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Take a lump out of the breast and lay it on an empty field, often with a container, a wire or clips."""
    rows, columns = grey.shape
    side = min(rows, columns)
    radius = side * rng.uniform(0.14, 0.34)
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    edge = radius * (1 + sum(rng.normal(0, 0.16 / k) * np.cos(k * angles + rng.uniform(0, 6)) for k in (2, 3, 5, 8)))
    margin = float(np.max(edge)) + 0.05 * side
    x = rng.uniform(min(margin, columns / 2), max(columns - margin, columns / 2))
    y = rng.uniform(min(margin, rows / 2), max(rows - margin, rows / 2))
    outline = np.stack([x + edge * np.cos(angles), y + edge * np.sin(angles)], axis=1)
    mask = np.zeros(grey.shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], (1,), shift=_SHIFT)
    zoom = rng.uniform(1.0, 2.0)
    tissue = _window(grey, point_inside(breast, 30 / mm, rng), (columns / zoom, rows / zoom), (rows, columns))
    thin = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), radius * rng.uniform(0.03, 0.12)) * mask
    air = np.float32(rng.choice([0.0, 0.03, 0.12]))
    image = air + thin * np.maximum(tissue, 0.25 + 0.3 * thin) * np.float32(rng.uniform(0.8, 1.1))
    if rng.uniform() < 0.4:
        inset = side * 0.03
        box = (inset, inset, columns - inset, rows - inset)
        filled = rounded((rows, columns), box, side * rng.uniform(0.02, 0.4), 0.0)
        wall = side * 0.008
        inside = (inset + wall, inset + wall, columns - inset - wall, rows - inset - wall)
        inner = rounded((rows, columns), inside, side * 0.3, 0.0)
        image = image + np.float32(rng.uniform(0.03, 0.12)) * ring(filled, inner)
    if rng.uniform() < 0.35:  # a localisation wire
        start = (int(x + rng.uniform(-0.3, 0.3) * radius), int(y + rng.uniform(-0.3, 0.3) * radius))
        stop = (int(x + rng.uniform(-2, 2) * radius), int(y - 2 * radius))
        cv2.line(image, start, stop, (1.0,), max(1, round(0.6 / mm)), cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        at = (int(x + rng.uniform(-1, 1) * radius), int(y + rng.uniform(-1, 1) * radius))
        cv2.ellipse(image, at, (max(1, round(2 / mm)), 1), float(rng.uniform(0, 180)), 0, 360, (1.0,), -1)
    if rng.uniform() < 0.2:
        image = 1 - image * np.float32(0.9)  # as some cabinets show it
    return np.asarray(np.clip(image, 0, 1), dtype=np.float32)


def cropped(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Cut a window out of the breast: no background, no chest wall."""
    depth = cv2.distanceTransform(np.pad(breast.astype(np.uint8), 1), cv2.DIST_C, 3)[1:-1, 1:-1]
    half = float(depth.max())
    rows, columns = np.nonzero(depth >= 0.9 * half)
    chosen = int(rng.integers(len(rows)))
    size = 2 * half * rng.uniform(0.7, 0.88)
    target = max(64, round(size))
    return _window(grey, (float(columns[chosen]), float(rows[chosen])), (size, size), (target, target))


def breast_cut_off(grey: Grey, breast: NDArray[np.bool_], mm: float, rng: np.random.Generator) -> Grey:
    """Remove the nipple side, as a field that is too small or a careless crop does."""
    left, _, right, _ = _breast_box(breast)
    keep = round((right - left) * rng.uniform(0.55, 0.8))
    cut = grey[:, : left + keep] if wall_left(breast) else grey[:, right - keep :]
    return np.ascontiguousarray(cut)


SPECIAL: Final[Mapping[str, Draw]] = {
    "spot_compression": spot_compression,
    "magnification": magnification,
    "collimated": collimated,
    "implant_present": implant_present,
    "implant_displaced": implant_displaced,
    "specimen": specimen,
    "cropped": cropped,
    "breast_cut_off": breast_cut_off,
}
