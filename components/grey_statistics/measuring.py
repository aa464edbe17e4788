"""Measure stored views for the baseline of grey statistics."""

from __future__ import annotations

import cv2
import numpy as np

from components.common.views import View
from components.grey_statistics.classifier import ViewStatistics
from components.grey_statistics.features import grey_statistics


class PictureError(ValueError):
    """A stored picture cannot be decoded."""


def measure_view(view: View) -> ViewStatistics:
    """Return the grey statistics of a view.

    Args:
        view: Preprocessed view; its regions tell breast from muscle if it has any.

    Returns:
        The statistics, 0.3 KB.

    Raises:
        PictureError: The stored picture is not a PNG.
    """
    picture = cv2.imdecode(np.frombuffer(view.image, np.uint8), cv2.IMREAD_GRAYSCALE) if view.image else None
    if picture is None:
        raise PictureError(f"A picture of exam {view.exam_id}, view {view.view}, is not a PNG: preprocess it again.")
    regions = cv2.imdecode(np.frombuffer(view.regions, np.uint8), cv2.IMREAD_GRAYSCALE) if view.regions else None
    if regions is not None and regions.shape != picture.shape:
        regions = None
    return ViewStatistics(view.exam_id, view.view, grey_statistics(picture, regions))
