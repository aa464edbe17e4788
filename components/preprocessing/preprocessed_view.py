"""The result of preprocessing one view, and the error of invalid input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class PreprocessError(ValueError):
    """The input is not a grey picture, or the view is not one of the four views."""


@dataclass(frozen=True)
class EdgeMeasurements:
    """Measurements of the muscle's edge, written to the JSON file of a view.

    Attributes:
        flipped: True if the picture was mirrored to its standard side.
        line_angle_deg: Angle between the edge and the chest wall, degrees.
        fit_residual: RMS distance of the edge from its straight line, share of the breast's height.
        contrast: Median grey step across the edge, share of the breast's grey range.
        agreement: Intersection over union of the probability map and the edge's area, 0..1; 0 for ``thesis``.
        mean_grey: Grey level that replaced the muscle, 0..255; -1 if nothing was replaced.
        edge_points: Edge from the top to the chest wall as (x, y), pixels of the input; empty if not found.
        reasons: Why the status is not ``removed``, and what is unusual.
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
    """A view as the network receives it, with the masks that were used.

    Attributes:
        image: uint8 [S, S]; chest wall on the standard side, background 0, the muscle replaced by the mean grey level
            of the breast. All 0 if no breast was found.
        pectoral_mask: bool [H, W], the muscle, in the geometry of the input.
        breast_mask: bool [H, W], breast and muscle, in the geometry of the input.
        status: One of ``schema.features.PECTORAL_STATUSES``.
        pectoral_area_fraction: Muscle's share of breast and muscle, 0..1.
        breast_area_fraction: Share of the input that is breast and muscle, 0..1.
        doubt: Uncertainty of the segmentation, 0 (certain) to 1; reviews are ordered by it.
        measurements: Measurements of the edge.
        input_pixels_per_pixel: Number of input rows per row of ``image``; 0 if no breast was found.
    """

    image: NDArray[np.uint8]
    pectoral_mask: NDArray[np.bool_]
    breast_mask: NDArray[np.bool_]
    status: str
    pectoral_area_fraction: float
    breast_area_fraction: float
    doubt: float
    measurements: EdgeMeasurements
    input_pixels_per_pixel: float = 0.0
