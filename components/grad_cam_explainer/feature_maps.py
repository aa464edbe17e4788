"""Feature maps of a network's first blocks as a picture: a row a class, a column a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.png import encode_png

_TILE: Final = 112  # pixels
_GAP: Final = 4
_MARGIN: Final = 26  # for names, left and above
_FILTERS: Final = 7
_INK: Final = (31, 36, 27)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX


def liveliest_filters(maps: NDArray[np.float32], count: int = _FILTERS) -> list[int]:
    """Chooses the filters whose maps vary most within a picture.

    Args:
        maps: float32 [N, h, w, K].
        count: How many.

    Returns:
        Indices of at most ``count`` filters, ascending.
    """
    spread = maps.std(axis=(1, 2)).mean(axis=0)
    return sorted(np.argsort(-spread, kind="stable")[:count].tolist())


def _write(sheet: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), _FONT, 0.5, _INK, 1, cv2.LINE_AA)


def _tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shrinks = max(picture.shape[:2]) > _TILE
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    return cv2.resize(picture, (_TILE, _TILE), interpolation=interpolation).astype(np.uint8)


def draw_feature_maps(
    names: Sequence[str], images: Sequence[NDArray[np.uint8]], maps: NDArray[np.float32]
) -> tuple[bytes, list[int]]:
    """Draws the network's picture and some filters' maps of it, one row a view.

    A filter has one colour scale for all rows, so that they can be compared; dark is low.

    Args:
        names: Name of each row, such as its class.
        images: uint8 [H, W], each row's picture.
        maps: float32 [N, h, w, K], feature maps of the rows.

    Returns:
        Colour PNG, and the filters drawn.
    """
    filters = liveliest_filters(maps)
    step = _TILE + _GAP
    height, width = _MARGIN + step * len(names), _MARGIN + step * (1 + len(filters))
    sheet = np.full((height, width, 3), 255, np.uint8)
    for column, title in enumerate(["input", *(f"filter {number}" for number in filters)]):
        _write(sheet, title, _MARGIN + column * step + 4, _MARGIN - 9)
    lows, highs = maps.min(axis=(0, 1, 2)), maps.max(axis=(0, 1, 2))
    for row, (name, image) in enumerate(zip(names, images, strict=True)):
        top = _MARGIN + row * step
        _write(sheet, name, 6, top + _TILE // 2 + 5)
        tiles = [cv2.cvtColor(_tile(image), cv2.COLOR_GRAY2BGR)]
        for number in filters:
            span = max(float(highs[number] - lows[number]), 1e-12)
            shades = np.rint(255 * (maps[row, :, :, number] - lows[number]) / span).astype(np.uint8)
            tiles.append(cv2.applyColorMap(_tile(shades), cv2.COLORMAP_VIRIDIS))
        for column, tile in enumerate(tiles):
            left = _MARGIN + column * step
            sheet[top : top + _TILE, left : left + _TILE] = tile
    return encode_png(sheet), filters
