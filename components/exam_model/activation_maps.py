"""Heat maps from the activations of a network and the gradients of a score, in stock TensorFlow operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import tensorflow as tf

from components.exam_model.heat_source import LAST_STAGE, HeatMapConfig


def grad_cam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each channel by its mean gradient.

    Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2019,
    arXiv 1610.02391, equations 1 and 2.

    Args:
        activations: float32 [N, h, w, K].
        gradients: Of a score with respect to them, float32 [N, h, w, K].

    Returns:
        float32 [N, h, w], 0 or more.
    """
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))


def layer_cam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each cell of each channel by its own gradient, where it is positive.

    Source: Jiang, Zhang, Hou, Cheng, Wei, LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, IEEE
    Transactions on Image Processing 30, 2021, doi 10.1109/TIP.2021.3089943, equations 6 to 8.

    Args:
        activations: float32 [N, h, w, K].
        gradients: Of a score with respect to them, float32 [N, h, w, K].

    Returns:
        float32 [N, h, w], 0 or more.
    """
    return tf.nn.relu(tf.reduce_sum(tf.nn.relu(gradients) * activations, axis=-1))


_METHODS: Final[Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]] = {
    "grad_cam": grad_cam,
    "layer_cam": layer_cam,
}


def _without_gaps(maps: tf.Tensor) -> tf.Tensor:
    """Smooth maps, [N, h, w], by (1, 2, 1) / 4 in both directions, which takes out every second cell's excess.

    A shortcut with a stride of two passes the gradient to every second cell only: without this, maps show its grid.
    """
    padded = tf.pad(maps, [[0, 0], [1, 1], [1, 1]], "SYMMETRIC")[..., tf.newaxis]
    return tf.nn.avg_pool2d(tf.nn.avg_pool2d(padded, 2, 1, "VALID"), 2, 1, "VALID")[..., 0]


def heat_maps(config: HeatMapConfig, activations: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the maps of one stage, or the mean of several stages.

    The mean agreed better with tissue and with deletion and insertion than the largest value at each place, which the
    authors of LayerCAM take (docs/evaluation.md): a late stage says where, an early one what there.

    Maps of earlier stages are smoothed, because the stage after them begins with a stride of two.

    Args:
        config: Method and stages.
        activations: Of each stage, float32 [N, h, w, K].
        gradients: Of each stage, as the activations.

    Returns:
        float32 [N, h, w], 0 or more, with the cells of the first stage; not scaled if there is one stage only.
    """
    method = _METHODS[config.method]
    maps = [
        method(*pair) if stage == LAST_STAGE else _without_gaps(method(*pair))
        for stage, pair in zip(config.stages, zip(activations, gradients, strict=True), strict=True)
    ]
    if len(maps) == 1:
        return maps[0]
    side = maps[0].shape[1:]
    scaled = [tf.math.divide_no_nan(found, tf.reduce_max(found, axis=(1, 2), keepdims=True)) for found in maps]
    resized = [tf.image.resize(found[..., tf.newaxis], side)[..., 0] for found in scaled]
    return tf.reduce_mean(tf.stack(resized), axis=0)
