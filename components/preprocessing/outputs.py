"""Write results for people: overlays, and the files of the command ``preprocess``."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.files import write_whole
from components.common.png import encode_png
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.grey_levels import to_eight_bit
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView

OUTPUT_ENDINGS: Final = (".png", ".pectoral.png", ".overlay.png", ".json")
_LONGEST: Final = 512
_BACKGROUND_BLUR: Final = 16.0  # pixels; letters of a film label are some 20 high
_BREAST_BGR: Final = (0, 200, 255)
_MUSCLE_BGR: Final = (60, 60, 255)
_MANUAL_BGR: Final = (80, 200, 60)


def _outline(picture: NDArray[Any], mask: NDArray[Any], colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)


def grey_picture(pixels: NDArray[Any], breast: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Convert pixels to 8 bits for people to look at.

    Args:
        pixels: uint8 or uint16 [H, W].
        breast: bool [H, W]. The area outside is blurred until it is illegible, because film labels may name the
            patient. None blurs nothing.

    Returns:
        uint8 [H, W].
    """
    low, high = np.quantile(pixels, (0.01, 0.995), method="nearest")
    picture = to_eight_bit(pixels, float(low), float(high))
    if breast is None:
        return picture
    scale = max(1.0, max(picture.shape) / _LONGEST)
    blurred = cv2.GaussianBlur(picture, (0, 0), _BACKGROUND_BLUR * scale)
    return np.where(breast, picture, blurred).astype(np.uint8)


def overlay_png(pixels: NDArray[Any], result: PreprocessedView, *, hide_background: bool = False) -> bytes:
    """Draw breast and muscle over the input.

    Args:
        pixels: uint8 or uint16 [H, W], the input of ``preprocess_view``.
        result: The result of ``preprocess_view``.
        hide_background: Blur the area outside the breast, where film labels may name the patient.

    Returns:
        PNG bytes, colour, longest side at most 512 pixels: breast outlined in yellow, muscle tinted red, or green if a
        person outlined it.
    """
    height, width = pixels.shape
    scale = min(1.0, _LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(pixels.dtype)
    breast, muscle = (
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for mask in (result.breast_mask, result.pectoral_mask)
    )
    grey = grey_picture(small, breast > 0 if hide_background else None)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    colour = _MANUAL_BGR if result.status == "manual" else _MUSCLE_BGR
    tint = np.array(colour, np.float64)
    picture[muscle > 0] = (0.75 * picture[muscle > 0] + 0.25 * tint).astype(np.uint8)
    _outline(picture, breast, _BREAST_BGR)
    _outline(picture, muscle, colour)
    return encode_png(picture)


def measurements_json(result: PreprocessedView, view: str, config: PreprocessConfig) -> bytes:
    """Return the measurements of a result as JSON text, keys in a fixed order."""
    document = {
        "status": result.status,
        "view": view,
        "method": config.method,
        "pectoral_area_fraction": result.pectoral_area_fraction,
        "breast_area_fraction": result.breast_area_fraction,
        "doubt": result.doubt,
        "figures": dataclasses.asdict(result.measurements),
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def preprocess_pixels_to_files(
    pixels: NDArray[Any],
    view: str,
    config: PreprocessConfig,
    out_dir: str | os.PathLike[str],
    stem: str,
    mask_shape: tuple[int, int] | None = None,
    as_in_file: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> PreprocessedView:
    """Preprocess a view and write ``STEM.png``, ``STEM.pectoral.png``, ``STEM.overlay.png`` and ``STEM.json``.

    Args:
        pixels: uint8 or uint16 [H, W], grey, bright = dense.
        view: One of ``schema.features.VIEWS``.
        config: Method and geometry of the result.
        out_dir: Folder for the files; created if it does not exist.
        stem: Name of the files without their ending.
        mask_shape: Rows and columns of the muscle mask, if ``pixels`` were reduced from a larger picture. Default: the
            shape of ``pixels``.
        as_in_file: Function that turns a mask back to the orientation of the file, if ``pixels`` were turned. Default:
            the mask is not turned.

    Returns:
        The result that was written.

    Raises:
        PreprocessError: Pixels, or view, are not valid.
        OSError: A file cannot be written.
    """
    result = preprocess_view(pixels, view, config)
    mask = 255 * result.pectoral_mask.astype(np.uint8)
    if mask_shape is not None and mask.shape != mask_shape:
        smooth = cv2.resize(mask, (mask_shape[1], mask_shape[0]), interpolation=cv2.INTER_LINEAR)
        mask = np.where(smooth > 127, 255, 0).astype(np.uint8)
    mask = mask if as_in_file is None else as_in_file(mask)
    folder = Path(out_dir)
    write_whole(folder / f"{stem}.png", encode_png(result.image))
    write_whole(folder / f"{stem}.pectoral.png", encode_png(mask))
    write_whole(folder / f"{stem}.overlay.png", overlay_png(pixels, result))
    write_whole(folder / f"{stem}.json", measurements_json(result, view, config))
    return result
