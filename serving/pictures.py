"""Pictures of a view and its heat map in the geometry of the source image. Imports no TensorFlow.

Ingest turns files into the standard orientation if their Patient Orientation requires it (``loaded.header.turn``).
`serving.dicom_results` turns its pictures back.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.exam_model.preparation import PreparedView
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.geometry import mirror_if, to_input
from components.preprocessing.grey_levels import to_eight_bit
from serving.client.grades import ViewExplanation

_WHITE: Final = 0.998  # share of the breast's pixels that are darker than white


def source_grey(item: PreparedView) -> NDArray[np.uint8]:
    """Return the source image as ingest read and turned it, with the pectoral muscle.

    The background of preprocessing is black: the network did not see it, and it may hold burned-in labels.

    Args:
        item: The view; it shows a breast.

    Returns:
        uint8 [H, W] with the shape of ``item.loaded.pixels``; 0 is only background.
    """
    pixels, breast = item.loaded.pixels, item.result.breast_mask
    inside = pixels[breast]
    low = float(inside.min())
    grey = to_eight_bit(pixels, low, max(float(np.quantile(inside, _WHITE)), low + 1))
    return np.where(breast, np.maximum(grey, 1), 0).astype(np.uint8)


def source_heat(item: PreparedView, explained: ViewExplanation, recipe: PreprocessingRecipe) -> NDArray[np.float32]:
    """Return a heat map in the geometry of the source image: float32 [H, W] in 0..1, shaped as :func:`source_grey`."""
    known = np.nan_to_num(explained.heatmap.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.clip(to_input(known, item.loaded.header.view, item.result, recipe.preprocess), 0.0, 1.0)


def station_pictures(
    item: PreparedView, explained: ViewExplanation, recipe: PreprocessingRecipe
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return view and heat map as a viewing station shows them: chest wall to the middle, cropped to the breast.

    Args:
        item: The view; it shows a breast.
        explained: Its heat map.
        recipe: How the view was prepared.

    Returns:
        uint8 [h, w] and float32 [h, w], with the aspect ratio of the source.
    """
    breast = item.result.breast_mask
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    mirrored = item.result.measurements.flipped
    grey, heat = source_grey(item)[box], source_heat(item, explained, recipe)[box]
    return np.ascontiguousarray(mirror_if(grey, mirrored)), np.ascontiguousarray(mirror_if(heat, mirrored))
