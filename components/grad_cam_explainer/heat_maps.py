"""Heat maps from the exam model's own ``gradcam`` signature: what is judged is what is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.views import View
from components.exam_model.overlays import overlay
from components.transform.images import decode_images

PREDICTED: Final = "predicted"


@dataclass(frozen=True)
class HeatMaps:
    """What the signature gives for N views.

    Attributes:
        probabilities: float32 [N, 4].
        density: Class given to each view.
        heatmaps: float32 [N, H, W], 0..1.
    """

    probabilities: NDArray[np.float32]
    density: tuple[str, ...]
    heatmaps: NDArray[np.float32]


class Explainer:
    """A loaded exam model."""

    def __init__(self, model_dir: str):
        """Loads the model.

        Args:
            model_dir: SavedModel with the signature ``gradcam``.
        """
        self._model = tf.saved_model.load(model_dir)  # holds the variables that the signature reads
        strings = tf.TensorSpec([None], tf.string)
        self._gradcam = tf.function(self._without_overlays, input_signature=[strings] * 3, autograph=False)

    def _without_overlays(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> list[tf.Tensor]:
        """Leaves the overlays out, and TensorFlow their drawing: few views of a split are drawn."""
        found = self._model.signatures["gradcam"](image_bytes=image_bytes, view=view, target_class=target_class)
        return [found["probabilities"], found["density"], found["heatmap"]]

    def heat_maps(self, views: Sequence[View], target_class: str) -> HeatMaps:
        """Explains views.

        Args:
            views: At least one.
            target_class: ``predicted`` or a density class.

        Returns:
            Their heat maps.

        Raises:
            tf.errors.InvalidArgumentError: An image is no PNG, or a view is unknown.
        """
        probabilities, density, heatmaps = self._gradcam(
            tf.constant([view.image for view in views]),
            tf.constant([view.view for view in views]),
            tf.constant(["" if target_class == PREDICTED else target_class] * len(views)),
        )
        return HeatMaps(probabilities.numpy(), tuple(name.decode() for name in density.numpy()), heatmaps.numpy())

    def overlays(self, views: Sequence[View], target_class: str) -> tuple[bytes, ...]:
        """Draws the heat maps of views as the served model does: colour PNG of each."""
        heatmaps = self.heat_maps(views, target_class).heatmaps
        images = decode_images(tf.constant([view.image for view in views]), heatmaps.shape[1])
        return tuple(overlay(images, tf.constant(heatmaps)).numpy())
