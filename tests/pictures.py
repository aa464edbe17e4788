"""Read pictures with OpenCV, independently of our own reader; what cannot be read fails the test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def read_picture(path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """Return the picture of a file; fail where OpenCV cannot read it."""
    picture = cv2.imread(str(path), flags)
    assert picture is not None, path
    return picture


def decode_picture(data: bytes, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """Return the picture of a file's bytes; fail where OpenCV cannot read it."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert picture is not None, f"{len(data)} bytes"
    return picture
