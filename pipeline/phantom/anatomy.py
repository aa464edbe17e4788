"""Shape of the breast and of the pectoral muscle in each view, with the truth masks.

Everything is drawn as a left breast: chest wall at column 0, nipple to the right, the patient's top (MLO) or
outer side (CC) at row 0. Right breasts are mirrored at the very end. Lengths are mm until they meet a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from schema.features import is_mlo

Level = NDArray[np.float32]

ABSENT_SHARE: Final = 0.06  # of the MLO views; their muscle does not show


@dataclass(frozen=True)
class Grid:
    """Sampling of a detector's field.

    Attributes:
        rows: Rows, pixels.
        columns: Columns, pixels.
        spacing_mm: Pixel spacing, mm.
    """

    rows: int
    columns: int
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def height_mm(self) -> float:
        """Height of the field, mm."""
        return self.rows * self.spacing_mm

    @property
    def width_mm(self) -> float:
        """Width of the field, mm."""
        return self.columns * self.spacing_mm


@dataclass(frozen=True)
class PatientAnatomy:
    """What stays the same in all views and exams of a patient.

    Attributes:
        half_height_mm: Half the extent of the compressed breast along the chest wall.
        depth_mm: Chest wall to nipple.
        roundness: Exponent of the outline: 1.7 pointed to 2.6 full.
        muscle_height: Height of the muscle on MLO, share of the field.
        muscle_angle: Angle of the muscle's edge from the vertical, radians.
        muscle_curvature: Bulge of the edge: above 0 convex, below 0 concave, share of its width.
        muscle_brightness: Brightness of the muscle on the tissue scale.
        glandular_beta: Exponent of the spectrum of the glandular tissue: low is scattered, high is lumped.
        glandular_centre: Centre of the glandular disc, share of the depth from the chest wall.
        rim_mm: Depth over which the compressed breast thins out at its edge.
        strand_strength: Brightness of ducts and ligaments.
        fat_texture: Relative standard deviation of the fatty background.
    """

    half_height_mm: float
    depth_mm: float
    roundness: float
    muscle_height: float
    muscle_angle: float
    muscle_curvature: float
    muscle_brightness: float
    glandular_beta: float
    glandular_centre: float
    rim_mm: float
    strand_strength: float
    fat_texture: float


@dataclass(frozen=True)
class ViewShape:
    """Shapes of one view on the working grid, chest wall at column 0.

    Attributes:
        grid: The working grid.
        breast: float32 [rows, columns], mm inside (above 0) or outside the skin.
        muscle: float32 [rows, columns], mm inside (above 0) or outside the pectoral muscle; below 0
            everywhere where it does not show.
        nipple: Column and row, pixels.
        depth_mm: Chest wall to nipple in this view.
        half_height_mm: Half the height of the mound in this view.
        muscle_angle: Angle of the muscle's edge from the vertical, radians.
    """

    grid: Grid
    breast: Level
    muscle: Level
    nipple: tuple[float, float]
    depth_mm: float
    half_height_mm: float
    muscle_angle: float


def draw_patient(rng: np.random.Generator) -> PatientAnatomy:
    """Draw a patient's anatomy; nothing of it depends on her density class."""
    half_height = float(np.clip(rng.normal(92.0, 13.0), 62.0, 125.0))
    return PatientAnatomy(
        half_height_mm=half_height,
        depth_mm=float(np.clip(half_height * rng.uniform(0.85, 1.3), 60.0, 150.0)),
        roundness=float(rng.uniform(1.7, 2.5)),
        muscle_height=float(rng.uniform(0.36, 0.86)),
        muscle_angle=float(np.deg2rad(rng.uniform(13.0, 33.0))),
        muscle_curvature=float(rng.uniform(-0.10, 0.24)),
        muscle_brightness=float(rng.uniform(0.62, 1.0)),
        glandular_beta=float(rng.uniform(2.3, 3.2)),
        glandular_centre=float(rng.uniform(0.45, 0.62)),
        rim_mm=float(rng.uniform(18.0, 34.0)),
        strand_strength=float(rng.uniform(0.07, 0.20)),
        fat_texture=float(rng.uniform(0.06, 0.13)),
    )


def _signed_distance_mm(inside: NDArray[np.bool_], grid: Grid) -> Level:
    if not inside.any():
        return np.full(grid.shape, -1e3, dtype=np.float32)
    mask = inside.astype(np.uint8)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    distance += np.where(inside, -0.5, 0.5).astype(np.float32)
    # The small blur takes the stairs of the working grid out of the enlarged edge.
    blurred = cv2.GaussianBlur(distance, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred * np.float32(grid.spacing_mm), dtype=np.float32)


def _smooth_maximum(curves: list[NDArray[np.float64]], scale: float) -> NDArray[np.float64]:
    result: NDArray[np.float64] = scale * np.logaddexp.reduce([c / scale for c in curves])
    return result


def _wobble(rng: np.random.Generator, y: NDArray[np.float64], period_mm: float) -> NDArray[np.float64]:
    phases = rng.uniform(0, 2 * np.pi, 3)
    result: NDArray[np.float64] = np.sum(
        [np.sin(2 * np.pi * y * k / period_mm + p) / k for k, p in zip((1, 2, 4), phases, strict=True)],
        axis=0,
    )
    return result


def _mound(
    y: NDArray[np.float64], nipple_y: float, up: float, down: float, depth: float, roundness: float
) -> NDArray[np.float64]:
    t = np.where(y < nipple_y, (nipple_y - y) / up, (y - nipple_y) / down)
    return depth * np.sqrt(np.clip(1.0 - np.clip(t, 0.0, 1.0) ** roundness, 0.0, None))


def _nipple_bump(rng: np.random.Generator, y: NDArray[np.float64], nipple_y: float) -> NDArray[np.float64]:
    height = rng.uniform(0.0, 5.0)
    result: NDArray[np.float64] = height * np.exp(-(((y - nipple_y) / rng.uniform(3.5, 5.5)) ** 4))
    return result


def _cc_outline(
    rng: np.random.Generator, patient: PatientAnatomy, grid: Grid, y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, float, float]:
    half = min(patient.half_height_mm * rng.uniform(0.96, 1.04), 0.46 * grid.height_mm)
    depth = min(patient.depth_mm * rng.uniform(0.95, 1.05), 0.80 * grid.width_mm)
    centre = grid.height_mm * rng.uniform(0.47, 0.53)
    nipple_y = centre + half * rng.uniform(-0.12, 0.08)
    up, down = nipple_y - (centre - half), centre + half - nipple_y
    edge = _mound(y, nipple_y, up, down, depth, patient.roundness)
    edge = edge * (1.0 + 0.012 * _wobble(rng, y, half)) + _nipple_bump(rng, y, nipple_y)
    return edge, nipple_y, depth, half


def _mlo_outline(
    rng: np.random.Generator,
    patient: PatientAnatomy,
    grid: Grid,
    y: NDArray[np.float64],
    muscle_width: float,
) -> tuple[NDArray[np.float64], float, float, float]:
    height = grid.height_mm
    depth = min(patient.depth_mm * rng.uniform(0.97, 1.08), 0.82 * grid.width_mm)
    half = min(patient.half_height_mm * rng.uniform(0.92, 1.0), 0.42 * height)
    nipple_y = float(np.clip(height * rng.uniform(0.54, 0.66), 0.3 * height, height - half * 0.95))
    # The upper half of the mound is drawn out towards the axilla, the lower half is full.
    mound = _mound(y, nipple_y, half * rng.uniform(1.15, 1.45), half * 0.9, depth, patient.roundness)
    axilla_top = max(muscle_width * rng.uniform(1.15, 1.35) + 10.0, rng.uniform(0.5, 0.75) * depth)
    axilla = axilla_top - y * (axilla_top / (height * rng.uniform(0.8, 1.1)))
    abdomen = (y - height * rng.uniform(0.90, 1.0)) * rng.uniform(0.5, 1.2)
    edge = _smooth_maximum([mound, axilla, abdomen], 8.0) - 4.0
    edge = edge * (1.0 + 0.010 * _wobble(rng, y, half)) + _nipple_bump(rng, y, nipple_y)
    return edge, nipple_y, depth, half


def _mlo_muscle_edge(
    rng: np.random.Generator, patient: PatientAnatomy, width: float, height: float, y: NDArray[np.float64]
) -> NDArray[np.float64]:
    s = y / height
    straight = width * (1.0 - s)
    bulge = patient.muscle_curvature * width * 4.0 * s * (1.0 - s)
    edge = straight + bulge + 0.008 * width * _wobble(rng, y, 60.0)
    return np.where(s < 1.0, edge, -50.0 * (s - 1.0) - 0.5)


def _cc_muscle_edge(rng: np.random.Generator, grid: Grid, y: NDArray[np.float64]) -> NDArray[np.float64]:
    centre, extent = grid.height_mm * rng.uniform(0.4, 0.6), rng.uniform(18.0, 35.0)
    return rng.uniform(3.0, 8.0) * (1.0 - ((y - centre) / extent) ** 2)


def draw_view(
    rng: np.random.Generator, patient: PatientAnatomy, view: str, grid: Grid, absent_share: float = ABSENT_SHARE
) -> ViewShape:
    """Draw the outline and the muscle of one view.

    Args:
        rng: Random numbers of the view: positioning differs from view to view.
        patient: Her anatomy.
        view: One of ``schema.features.VIEWS``.
        grid: Working grid over the system's field.
        absent_share: Share of MLO views on which the muscle does not show. On CC views a sliver of it
            shows in 3 %.

    Returns:
        The shapes, drawn as a left breast.
    """
    y = (np.arange(grid.rows, dtype=np.float64) + 0.5) * grid.spacing_mm
    x = ((np.arange(grid.columns) + 0.5) * grid.spacing_mm)[None, :]
    chance = rng.uniform()
    angle = patient.muscle_angle + rng.normal(0.0, np.deg2rad(1.5))
    if is_mlo(view):
        breast_depth = min(patient.depth_mm, 0.82 * grid.width_mm)
        height = grid.height_mm * float(np.clip(patient.muscle_height + rng.normal(0, 0.03), 0.30, 0.90))
        width = float(np.clip(height * np.tan(angle), 0.15 * breast_depth, 0.55 * breast_depth))
        angle = float(np.arctan2(width, height))
        edge, nipple_y, depth, half = _mlo_outline(rng, patient, grid, y, width)
        muscle_edge = _mlo_muscle_edge(rng, patient, width, height, y)
        shows = chance >= absent_share
    else:
        edge, nipple_y, depth, half = _cc_outline(rng, patient, grid, y)
        muscle_edge = _cc_muscle_edge(rng, grid, y)
        angle = 0.0
        shows = chance < 0.03
    breast = x < edge[:, None]
    muscle = breast & (x < muscle_edge[:, None]) & shows
    column = float(np.interp(nipple_y, y, edge)) / grid.spacing_mm
    return ViewShape(
        grid=grid,
        breast=_signed_distance_mm(breast, grid),
        muscle=_signed_distance_mm(muscle, grid),
        nipple=(column, nipple_y / grid.spacing_mm),
        depth_mm=depth,
        half_height_mm=half,
        muscle_angle=angle,
    )


def mask_of(level: Level, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Enlarge a level set and threshold it at 0, which keeps edges smooth at any matrix size.

    Args:
        level: float32, mm inside (above 0).
        shape: Rows and columns wanted.

    Returns:
        bool of ``shape``.
    """
    enlarged = cv2.resize(level, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged > 0.0)
