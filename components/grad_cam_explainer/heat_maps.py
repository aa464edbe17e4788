"""Heat maps from the exam model's own ``gradcam`` signature: what is judged is what is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.views import View

PREDICTED: Final = "predicted"


@dataclass(frozen=True)
class HeatMaps:
    """What the signature gives for N views.

    Attributes:
        probabilities: float32 [N, 4].
        density: Class given to each view.
        heatmaps: float32 [N, H, W], 0..1.
        overlays: PNG bytes of each.
    """

    probabilities: NDArray[np.float32]
    density: tuple[str, ...]
    heatmaps: NDArray[np.float32]
    overlays: tuple[bytes, ...]


class Explainer:
    """A loaded exam model."""

    def __init__(self, model_dir: str):
        """Loads the model.

        Args:
            model_dir: SavedModel with the signature ``gradcam``.
        """
        self._model = tf.saved_model.load(model_dir)  # holds the variables that the signature reads
        self._gradcam: Callable[..., dict[str, tf.Tensor]] = self._model.signatures["gradcam"]

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
        found = self._gradcam(
            image_bytes=tf.constant([view.image for view in views]),
            view=tf.constant([view.view for view in views]),
            target_class=tf.constant(["" if target_class == PREDICTED else target_class] * len(views)),
        )
        return HeatMaps(
            found["probabilities"].numpy(),
            tuple(name.decode() for name in found["density"].numpy()),
            found["heatmap"].numpy(),
            tuple(found["overlay_png"].numpy()),
        )
