"""The network and its export as a frozen graph of plain operations, which OpenCV's DNN module reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.preprocessing.network import BLOCK, CHANNELS, GRID

# Filters by level; each level has half the resolution of the one before.
FILTERS: Final = (12, 24, 32, 48)
INPUT_SHAPE: Final = (GRID[0] // BLOCK, GRID[1] // BLOCK, CHANNELS * BLOCK**2)
_OUTPUTS: Final = BLOCK**2

Kernel = tuple[NDArray[np.float32], NDArray[np.float32]]


def build_unet() -> tf.keras.Model:
    """Build the U-Net: blocks of 2 x 2 cells [64, 48, 12] in, their logits [64, 48, 4] out; 97,000 parameters.

    Source: O. Ronneberger et al., U-Net, MICCAI 2015, with batch normalisation.
    """
    layers = tf.keras.layers

    def convolved(values: Any, filters: int, size: int = 3) -> Any:
        values = layers.Conv2D(filters, size, padding="same", use_bias=False)(values)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(values))

    inputs = layers.Input(INPUT_SHAPE)
    values = convolved(convolved(inputs, FILTERS[0]), FILTERS[0])
    skipped = []
    for filters in FILTERS[1:]:
        skipped.append(values)
        values = layers.MaxPooling2D()(values)
        values = convolved(convolved(values, filters), filters)
    for filters, skip in zip(FILTERS[-2::-1], skipped[::-1], strict=True):
        values = layers.UpSampling2D()(convolved(values, filters, 1))
        values = convolved(layers.Concatenate()([values, skip]), filters)
    return tf.keras.Model(inputs, layers.Conv2D(_OUTPUTS, 1)(values))


def _kernels(model: tf.keras.Model) -> Iterator[Kernel]:
    """Yield kernels and biases in the order of the layers, with batch normalisation folded in."""
    normalisations = {
        id(layer.input): layer for layer in model.layers if isinstance(layer, tf.keras.layers.BatchNormalization)
    }
    for layer in model.layers:
        if not isinstance(layer, tf.keras.layers.Conv2D):
            continue
        kernel, normalisation = layer.kernel.numpy(), normalisations.get(id(layer.output))
        if normalisation is None:
            yield kernel, layer.bias.numpy()
        else:
            scale = normalisation.gamma.numpy() / np.sqrt(normalisation.moving_variance.numpy() + normalisation.epsilon)
            yield kernel * scale, normalisation.beta.numpy() - normalisation.moving_mean.numpy() * scale


def frozen_graph(model: tf.keras.Model) -> bytes:
    """Write a network as a serialized GraphDef with the nodes ``input`` and ``logits``.

    Args:
        model: What ``build_unet`` made.

    Returns:
        The same bytes for the same weights.
    """
    kernels = iter(tuple(_kernels(model)))  # read before the graph is opened, in which variables have no values
    with tf.Graph().as_default() as graph:

        def convolved(values: Any, active: bool = True) -> Any:
            kernel, bias = next(kernels)
            values = tf.nn.bias_add(tf.nn.conv2d(values, tf.constant(kernel), 1, "SAME"), tf.constant(bias))
            return tf.nn.relu(values) if active else values

        values = convolved(convolved(tf.compat.v1.placeholder(tf.float32, (1, *INPUT_SHAPE), name="input")))
        skipped = []
        for _ in FILTERS[1:]:
            skipped.append(values)
            values = convolved(convolved(tf.nn.max_pool2d(values, 2, 2, "SAME")))
        for skip in skipped[::-1]:
            size = skip.shape[1:3]
            values = tf.compat.v1.image.resize_nearest_neighbor(convolved(values), size)
            values = convolved(tf.concat([values, skip], axis=3))
        tf.identity(convolved(values, active=False), name="logits")
        return bytes(graph.as_graph_def().SerializeToString(deterministic=True))
