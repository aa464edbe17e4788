"""Pictures of a view and its heat map in the geometry of the source image. Imports no TensorFlow.

Ingest turns files into the standard orientation if their Patient Orientation requires it (``loaded.header.turn``).
`serving.dicom_results` turns its pictures back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png
from components.exam_model.heat_layer import blend, sum_of_maps
from components.exam_model.preparation import PreparedView
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.geometry import mirror_if, to_input
from components.preprocessing.grey_levels import to_eight_bit
from serving.client.grades import ViewExplanation

_WHITE: Final = 0.998  # share of the breast's pixels that are darker than white
_OUTLINE: Final = (80, 220, 250, 255)  # BGRA


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


def maps_of(explained: ViewExplanation) -> dict[str, NDArray[Any]]:
    """Return the maps of a view by name, float [H, W] in 0..1.

    ``heatmap`` is that of the networks. A mixed classifier adds ``texture``, what its texture part measured, and
    ``sum``, half of each: where either part looked, which is not evidence for a class.
    """
    if explained.texture is None:
        return {"heatmap": explained.heatmap}
    return {
        "heatmap": explained.heatmap,
        "texture": explained.texture,
        "sum": sum_of_maps(explained.heatmap, explained.texture),
    }


def texture_pictures(explained: ViewExplanation, image_png: bytes) -> dict[str, bytes]:
    """Draw ``texture`` and ``sum`` of :func:`maps_of` over a preprocessed view, PNG by name; nothing without them."""
    if explained.texture is None:
        return {}
    image = decode_png(image_png).astype(np.uint8)

    def drawn(values: NDArray[Any]) -> bytes:
        heat = cv2.resize(values.astype(np.float32), image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return encode_png(np.ascontiguousarray(blend(image, np.asarray(heat, np.float32))[..., ::-1]))

    return {name: drawn(values) for name, values in maps_of(explained).items() if name != "heatmap"}


def source_map(values: NDArray[Any], item: PreparedView, recipe: PreprocessingRecipe) -> NDArray[np.float32]:
    """Return a map in the geometry of the source image: float32 [H, W] in 0..1, shaped as :func:`source_grey`."""
    known = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.clip(to_input(known, item.loaded.header.view, item.result, recipe.preprocess), 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class StationPictures:
    """A view as a viewing station shows it: chest wall to the middle, cropped to the breast, with its aspect ratio.

    Attributes:
        grey: uint8 [h, w].
        maps: float32 [h, w] by name, see :func:`maps_of`.
        muscle: bool [h, w].
    """

    grey: NDArray[np.uint8]
    maps: dict[str, NDArray[np.float32]]
    muscle: NDArray[np.bool_]


def station_pictures(item: PreparedView, explained: ViewExplanation, recipe: PreprocessingRecipe) -> StationPictures:
    """Return the pictures of a view for the page.

    Args:
        item: The view; it shows a breast.
        explained: Its maps.
        recipe: How the view was prepared.
    """
    breast = item.result.breast_mask
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def hung(picture: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(mirror_if(picture[box], item.result.measurements.flipped))

    maps = {name: hung(source_map(values, item, recipe)) for name, values in maps_of(explained).items()}
    return StationPictures(hung(source_grey(item)), maps, hung(item.result.pectoral_mask))


def outline_png(mask: NDArray[np.bool_]) -> bytes:
    """Draw the outline of a mask, [H, W], as a layer: RGBA PNG, transparent elsewhere; line of .4 % of the side."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(layer, edges, -1, _OUTLINE, max(1, round(0.004 * max(mask.shape))))
    return encode_png(layer)
