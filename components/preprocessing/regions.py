"""Regions of the network's picture: breast, muscle and labels, in its own geometry.

The picture itself cannot tell: the muscle is replaced by the breast's mean grey, and what lies outside of the breast is
blanked. Who asks where a network looks (GradCamExplainer) needs to know what was there.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.config import PreprocessConfig
from components.preprocessing.orientation import standard_wall_is_left
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.result import PreprocessedView
from components.preprocessing.source_geometry import hung, is_mirrored, placed
from schema import features as f

# Glow of the skin line that the breast's mask leaves outside, as a share of the picture's longest side.
_SKIN: Final = 0.02
# Labels are looked for in a picture whose longest side is about this, pixels.
_SIDE: Final = 384


def find_labels(pixels: NDArray[np.uint8] | NDArray[np.uint16], breast: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Finds what shines outside of the breast: burned-in labels, lead markers, film edges.

    Args:
        pixels: uint8 or uint16 [H, W], bright = dense.
        breast: bool [H, W], breast and muscle.

    Returns:
        bool [H, W]: outside of the breast and its skin line, and brighter than half of the breast; the strokes of a
        letter, and letters side by side, are one.
    """
    height, width = breast.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    inside = cv2.resize(breast.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    if not inside.any():
        return np.zeros_like(breast)
    grey = cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST)
    reach = 2 * max(1, round(_SKIN * max(size))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    outside = cv2.dilate(inside, disc) == 0
    bright = (grey > np.median(grey[inside > 0])) & outside
    whole = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_CLOSE, disc) & outside.view(np.uint8)
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _centres(kept: tuple[int, int], count: int) -> NDArray[np.int64]:
    """Lines of the input in the middle of each of ``count`` lines of the picture."""
    return kept[0] + ((np.arange(count) + 0.5) * (kept[1] - kept[0]) / count).astype(np.int64)


def regions_of(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], view: str, result: PreprocessedView, config: PreprocessConfig
) -> NDArray[np.uint8]:
    """Makes the map of regions that belongs to a preprocessed view.

    Where the configuration leaves the muscle in (method ``none``), it is looked for here all the same, so that runs
    with and without segmentation can be compared by what their networks look at.

    Args:
        pixels: uint8 or uint16 [H, W], the ingested image.
        view: One of VIEWS.
        result: What preprocessing gave for it; with a breast.
        config: As it was preprocessed.

    Returns:
        uint8 [S, S] of ``schema.features.REGION_`` values, each pixel that of the middle of what it stands for.
    """
    muscle = result.pectoral_mask
    if config.method == "none" and f.is_mlo(view):
        muscle = preprocess_view(pixels, view, config.model_copy(update={"method": "auto"})).pectoral_mask
    mirrored, place = is_mirrored(view, result), placed(view, result, config)
    lines = np.ix_(_centres(place.rows, place.height), _centres(place.columns, place.width))
    regions = np.full((config.output_size, config.output_size), f.REGION_BACKGROUND, np.uint8)
    content = regions[: place.height, : place.width]
    for mask, region in (
        (find_labels(pixels, result.breast_mask), f.REGION_LABEL),
        (result.breast_mask, f.REGION_BREAST),
        (muscle, f.REGION_PECTORAL),
    ):
        content[hung(mask, mirrored)[lines]] = region
    return np.ascontiguousarray(hung(regions, not standard_wall_is_left(view)))
