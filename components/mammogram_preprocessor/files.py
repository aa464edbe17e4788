"""Files of the command ``preprocess``: picture, muscle mask and figures of one view."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from components.mammogram_preprocessor.config import PreprocessConfig
from components.mammogram_preprocessor.overlay import encode_png
from components.mammogram_preprocessor.preprocess import preprocess_view
from components.mammogram_preprocessor.result import PreprocessedView


def _write_atomically(path: Path, data: bytes) -> None:
    """Writes beside the target and renames, so that no reader ever sees half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
    pixels: np.ndarray, view: str, config: PreprocessConfig, out_dir: str | os.PathLike[str], stem: str
) -> PreprocessedView:
    """Preprocesses a view and writes ``STEM.png``, ``STEM.pectoral.png`` and ``STEM.json``.

    Args:
        pixels: uint8 or uint16 [H, W], grey, bright = dense.
        view: One of ``schema.features.VIEWS``.
        config: Method and geometry of the result.
        out_dir: Folder for the files; made where it is missing.
        stem: Name of the files without their ending.

    Returns:
        The result that was written.

    Raises:
        PreprocessError: Pixels or view are of the wrong kind.
        OSError: A file cannot be written.
    """
    result = preprocess_view(pixels, view, config)
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / f"{stem}.png", encode_png(result.image))
    _write_atomically(folder / f"{stem}.pectoral.png", encode_png(255 * result.pectoral_mask.astype(np.uint8)))
    _write_atomically(folder / f"{stem}.json", figures_json(result, view, config))
    return result
