"""Files of the command ``preprocess``: picture, muscle mask and figures of one view."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from components.common.files import write_whole
from components.common.png import encode_png
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.overlay import overlay_png
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.result import PreprocessedView

OUTPUT_ENDINGS: Final = (".png", ".pectoral.png", ".overlay.png", ".json")


def figures_json(result: PreprocessedView, view: str, config: PreprocessConfig) -> bytes:
    """The figures of a result as JSON text, keys in a fixed order."""
    document = {
        "status": result.status,
        "view": view,
        "method": config.method,
        "pectoral_area_fraction": result.pectoral_area_fraction,
        "breast_area_fraction": result.breast_area_fraction,
        "doubt": result.doubt,
        "figures": dataclasses.asdict(result.figures),
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def preprocess_pixels_to_files(
    pixels: np.ndarray,
    view: str,
    config: PreprocessConfig,
    out_dir: str | os.PathLike[str],
    stem: str,
    mask_shape: tuple[int, int] | None = None,
    as_in_file: Callable[[np.ndarray], np.ndarray] | None = None,
) -> PreprocessedView:
    """Preprocesses a view and writes ``STEM.png``, ``STEM.pectoral.png``, ``STEM.overlay.png`` and ``STEM.json``.

    Args:
        pixels: uint8 or uint16 [H, W], grey, bright = dense.
        view: One of ``schema.features.VIEWS``.
        config: Method and geometry of the result.
        out_dir: Folder for the files; made where it is missing.
        stem: Name of the files without their ending.
        mask_shape: Rows and columns of the muscle mask: those of the picture that ``pixels`` were reduced from; default
            is their own.
        as_in_file: Turns a mask as the file lies, where ``pixels`` were turned; default: they lie as the file.

    Returns:
        The result that was written.

    Raises:
        PreprocessError: Pixels or view are of the wrong kind.
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
    write_whole(folder / f"{stem}.json", figures_json(result, view, config))
    return result
