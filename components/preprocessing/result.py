"""What preprocessing gives for one view, and the errors it raises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class PreprocessError(ValueError):
    """The input is no grey picture, or the view is none of the four."""


@dataclass(frozen=True)
class EdgeFigures:
    """Figures of the muscle's edge, for the quality report and the JSON file.

    Attributes:
        flipped: Whether the picture was mirrored to its standard side.
        line_angle_deg: Angle between the edge and the chest wall, degrees.
        fit_residual: RMS distance of the edge from its straight line, share of the breast's height.
        contrast: Median grey step across the edge, share of the breast's grey range.
        agreement: How far the muscle's probability map agrees with the edge, 0..1; 0 for ``thesis``.
        mean_grey: Grey level that replaced the muscle, 0..255; -1 where nothing was replaced.
        edge_points: Edge from the top to the chest wall as (x, y), pixels of the input; empty unless found.
        reasons: Why the status is not ``removed``, or what was odd.
    """

    flipped: bool = False
    line_angle_deg: float = 0.0
    fit_residual: float = 0.0
    contrast: float = 0.0
    agreement: float = 0.0
    mean_grey: int = -1
    edge_points: tuple[tuple[float, float], ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreprocessedView:
    """A view as the network sees it, and what was taken from it.

    Attributes:
        image: uint8 [S, S]; chest wall on the standard side, background 0, the muscle replaced by the mean
            grey level of the breast. All 0 where no breast was found.
        pectoral_mask: bool [H, W], the muscle, in the geometry of the input.
        breast_mask: bool [H, W], breast and muscle, in the geometry of the input.
        status: One of ``schema.features.PECTORAL_STATUSES``.
        pectoral_area_fraction: Muscle's share of breast and muscle, 0..1.
        breast_area_fraction: Share of the input that is breast and muscle, 0..1.
        doubt: 0 (sure) to 1, for the order of a review.
        figures: Figures of the edge.
        input_pixels_per_pixel: Rows of the input that one row of ``image`` stands for; 0 where no breast was found.
    """

    image: NDArray[np.uint8]
    pectoral_mask: NDArray[np.bool_]
    breast_mask: NDArray[np.bool_]
    status: str
    pectoral_area_fraction: float
    breast_area_fraction: float
    doubt: float
    figures: EdgeFigures
    input_pixels_per_pixel: float = 0.0
