"""Map the regions of the network's picture: background, labels, breast and muscle.

The network's picture does not show these regions: the muscle is replaced by the breast's mean grey, and the area
outside of the breast is 0. GradCamExplainer needs them to describe where a network looks.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.chest_wall import standard_wall_is_left
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.geometry import is_mirrored, mirror_if, placement_of
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView
from schema import features as f

# Width of the skin line's glow outside of the breast's mask, as a share of the picture's longest side.
_SKIN: Final = 0.02
# Longest side of the reduced picture in which labels are searched, pixels.
_SIDE: Final = 384


def find_outside_labels(pixels: NDArray[np.uint8] | NDArray[np.uint16], breast: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find bright objects outside of the breast: burned-in labels, lead markers, film edges.

    Args:
        pixels: uint8 or uint16 [H, W], bright = dense.
        breast: bool [H, W], breast and muscle.

    Returns:
        bool [H, W], True outside of the breast and its skin line where the picture is brighter than the breast's
        median. The strokes of a letter, and neighbouring letters, are joined.
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
    result: NDArray[np.bool_] = cv2.resize(whole, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return result


def _centres(kept: tuple[int, int], count: int) -> NDArray[np.int64]:
    """Return the rows or columns of the input at the centres of ``count`` rows or columns of the picture."""
    return kept[0] + ((np.arange(count) + 0.5) * (kept[1] - kept[0]) / count).astype(np.int64)


def make_region_map(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], view: str, result: PreprocessedView, config: PreprocessConfig
) -> NDArray[np.uint8]:
    """Make the map of regions for a preprocessed view.

    If the configuration leaves the muscle in (method ``none``), this function segments it with method ``auto``. So runs
    with and without segmentation can be compared by the regions that their networks look at.

    Args:
        pixels: uint8 or uint16 [H, W], the ingested image.
        view: One of VIEWS.
        result: Result of preprocessing the image; must have a breast.
        config: Configuration of that preprocessing.

    Returns:
        uint8 [S, S] of ``schema.features.REGION_`` values. Each pixel has the value at the centre of its area.
    """
    muscle = result.pectoral_mask
    if config.method == "none" and f.is_mlo(view):
        muscle = preprocess_view(pixels, view, config.model_copy(update={"method": "auto"})).pectoral_mask
    mirrored, place = is_mirrored(view, result), placement_of(view, result, config)
    lines = np.ix_(_centres(place.rows, place.height), _centres(place.columns, place.width))
    regions = np.full((config.output_size, config.output_size), f.REGION_BACKGROUND, np.uint8)
    content = regions[: place.height, : place.width]
    for mask, region in (
        (find_outside_labels(pixels, result.breast_mask), f.REGION_LABEL),
        (result.breast_mask, f.REGION_BREAST),
        (muscle, f.REGION_PECTORAL),
    ):
        content[mirror_if(mask, mirrored)[lines]] = region
    return np.ascontiguousarray(mirror_if(regions, not standard_wall_is_left(view)))
