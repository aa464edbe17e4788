"""Tissue of a view: fat, glandular tissue of a wanted area fraction, ducts, muscle, thickness at the edge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pipeline.phantom.anatomy import Grid, PatientAnatomy, ViewShape
from pipeline.phantom.texture import Field, fibre_network, muscle_striae, power_law_pair, radiate
from schema.features import is_mlo

# Brightness on the tissue scale, on which every system's grey scale works: 0 is air.
FAT: Final = 0.34
DENSE: Final = 0.36  # added to fat where the tissue is purely glandular

_SHARED: Final = 0.80  # correlation of the glandular pattern between the two sides and the exams of a patient


@dataclass(frozen=True)
class Tissue:
    """Tissue of one view on the working grid.

    Attributes:
        signal: float32 [rows, columns], brightness on the tissue scale, 0 in air.
        dense: bool [rows, columns], glandular tissue.
        dense_fraction: Area of ``dense`` over the area of the breast without muscle.
    """

    signal: NDArray[np.float32]
    dense: NDArray[np.bool_]
    dense_fraction: float


def shared_glandular_fields(rng: np.random.Generator, patient: PatientAnatomy, rows: int) -> tuple[Field, Field]:
    """Draw the glandular patterns common to both sides: for CC, for MLO; float32 [rows, rows]."""
    return power_law_pair(rng, (rows, rows), patient.glandular_beta, low_cut=3.0)


def _smoothstep(value: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped = np.clip(value, 0.0, 1.0)
    return np.asarray(clipped * clipped * (3.0 - 2.0 * clipped), dtype=np.float32)


def _glandular_prior(shape: ViewShape, patient: PatientAnatomy, view: str) -> Field:
    """Return where glandular tissue is likely: behind the nipple, more above it than below, not at the skin."""
    grid = shape.grid
    x = (np.arange(grid.columns, dtype=np.float32)[None, :] + 0.5) * np.float32(grid.spacing_mm)
    y = (np.arange(grid.rows, dtype=np.float32)[:, None] + 0.5) * np.float32(grid.spacing_mm)
    centre_x = patient.glandular_centre * shape.depth_mm
    centre_y = shape.nipple[1] * grid.spacing_mm - 0.12 * shape.half_height_mm
    height = shape.half_height_mm * (0.75 if is_mlo(view) else 0.65)
    disc = np.square((x - centre_x) / (0.5 * shape.depth_mm)) + np.square((y - centre_y) / height)
    prior = -disc - 1.6 * np.exp(-shape.breast / np.float32(5.0)) - 0.7 * np.exp(-x / np.float32(10.0))
    return np.asarray(prior - 0.8 * np.exp(np.minimum(shape.muscle, 0.0) / np.float32(9.0)), dtype=np.float32)


def _cropped(shape: ViewShape) -> ViewShape:
    """Remove the air beyond the nipple: it is about half of the work, and shows nothing."""
    inside = np.flatnonzero((shape.breast > 0).any(axis=0))
    wanted = fft.next_fast_len(int(inside[-1]) + 8) if inside.size else shape.grid.columns
    columns = min(wanted, shape.grid.columns)
    return replace(
        shape,
        grid=replace(shape.grid, columns=columns),
        breast=shape.breast[:, :columns],
        muscle=shape.muscle[:, :columns],
    )


def _padded(values: NDArray[Any], grid: Grid) -> NDArray[Any]:
    return np.pad(values, ((0, 0), (0, grid.columns - values.shape[1])))


def make_tissue(
    rng: np.random.Generator,
    patient: PatientAnatomy,
    shape: ViewShape,
    view: str,
    shared: Field,
    dense_fraction: float,
) -> Tissue:
    """Fill the shapes of a view with tissue.

    Args:
        rng: Random numbers of the view.
        patient: Her anatomy.
        shape: Outline and muscle.
        view: One of ``schema.features.VIEWS``.
        shared: Glandular pattern common to both sides, float32 [rows, rows].
        dense_fraction: Wanted dense area over breast area without muscle, 0..1.

    Returns:
        Signal and truth; the fraction is met to a pixel of the working grid.
    """
    full_grid = shape.grid
    shape = _cropped(shape)
    grid = shape.grid
    tissue = (shape.breast > 0) & (shape.muscle <= 0)
    own, fat = power_law_pair(rng, grid.shape, 3.0, low_cut=2.0)
    pattern = _SHARED * shared[: grid.rows, : grid.columns] + np.sqrt(1.0 - _SHARED**2) * own
    streaks = radiate(pattern, shape.nipple, grid.spacing_mm, 3.0)
    score = _glandular_prior(shape, patient, view) * 1.3 + pattern * 0.5 + streaks * 0.55
    score = cv2.GaussianBlur(score.astype(np.float32), (0, 0), 0.8 / grid.spacing_mm)
    threshold = np.float32(np.quantile(score[tissue], 1.0 - dense_fraction))
    dense = tissue & (score > threshold)

    # The border of glandular tissue is sharp in places and fades in others; fat lobules show through it.
    excess = score - threshold
    amount = 0.6 * _smoothstep(excess / np.float32(0.7) + 0.5) + 0.4 * _smoothstep(excess / np.float32(2.2) + 0.5)
    strands = fibre_network(radiate(fat, shape.nipple, grid.spacing_mm, 4.0), own, 0.11)
    strands = np.maximum(strands, 0.35 * fibre_network(pattern, fat, 0.05))
    amount *= np.clip(0.88 + 0.16 * streaks + 0.08 * pattern + 0.2 * strands, 0.4, 1.4)
    fading = _smoothstep((shape.breast - 2.0) / np.float32(22.0))
    parenchyma = FAT * (1.0 + patient.fat_texture * fat) + DENSE * amount
    parenchyma += patient.strand_strength * strands * fading * (1.0 - 0.6 * np.clip(amount, 0.0, 1.0))

    muscle_share = _smoothstep(shape.muscle / np.float32(rng.uniform(1.5, 4.5)) + 0.35)
    if muscle_share.any():
        striae = muscle_striae(rng, own, shape.muscle_angle, grid.spacing_mm)
        depth = np.linspace(1.0, 0.80, grid.rows, dtype=np.float32)[:, None]
        muscle = patient.muscle_brightness * depth * (1.0 + 0.05 * fat + 0.035 * striae)
        parenchyma += muscle_share * (0.88 * muscle + 0.12 * parenchyma - parenchyma)

    # Compressed breasts are flat inside and end in a half circle; image processing evens out part of that.
    rim = 1.0 - np.clip(shape.breast / np.float32(patient.rim_mm), 0.0, 1.0)
    thickness = np.sqrt(np.clip(1.0 - rim * rim, 0.0, None)) * 0.9 + 0.1
    skin = 0.05 * np.exp(-np.square((shape.breast - 1.0) / np.float32(0.9)))
    signal = np.where(shape.breast > -1.0, parenchyma * thickness + skin, 0.0)
    return Tissue(
        signal=_padded(np.maximum(signal, 0.0).astype(np.float32), full_grid),
        dense=_padded(dense, full_grid),
        dense_fraction=float(dense.sum() / max(1, tissue.sum())),
    )
