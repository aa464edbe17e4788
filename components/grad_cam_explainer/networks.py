"""A view's network from the inside: its own Grad-CAM, the outputs of its blocks, and its weights made random.

Independent of the exam model's ``gradcam`` signature, and therefore a check of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.views import View
from components.transform.config import ImageConfig
from components.transform.images import decode_images, normalise
from schema.features import laterality_of


@dataclass(frozen=True)
class NetworkParts:
    """A network of :func:`components.trainer.network.build_network`.

    Attributes:
        features: float32 [N, size, size, C] to the last block's sum, float32 [N, h, w, K].
        head: The sum to logits, float32 [N, 4].
    """

    features: keras.Model
    head: keras.Model


def load_network(path: str) -> NetworkParts:
    """Loads a ``.keras`` file with layers ``features`` and ``head``."""
    network = keras.models.load_model(path, compile=False)
    return NetworkParts(network.get_layer("features"), network.get_layer("head"))


def network_input(views: Sequence[View], image: ImageConfig, *, mirrored: bool) -> tf.Tensor:
    """Makes a network's input of views.

    Args:
        views: Views of the network.
        image: Size, channels and normalisation.
        mirrored: The network sees right breasts mirrored.

    Returns:
        float32 [N, size, size, C].
    """
    inputs = normalise(decode_images(tf.constant([view.image for view in views]), image.size), image)
    if mirrored:
        right = tf.constant([laterality_of(view.view) == "R" for view in views])
        inputs = tf.where(right[:, tf.newaxis, tf.newaxis, tf.newaxis], tf.reverse(inputs, [2]), inputs)
    return inputs


def grad_cam(parts: NetworkParts, inputs: tf.Tensor, classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Computes Grad-CAM at the last block's sum, of logits.

    Source: Selvaraju et al., Grad-CAM, 2019, arXiv 1610.02391, equations 1 and 2.

    Args:
        parts: The network.
        inputs: float32 [N, size, size, C].
        classes: int64 [N], index of the class whose evidence is asked for.

    Returns:
        float32 [N, h, w], 0 or more, one cell a position of the last block, not scaled.
    """
    activations = parts.features(inputs, training=False)
    with tf.GradientTape() as tape:
        tape.watch(activations)
        score = tf.reduce_sum(tf.gather(parts.head(activations, training=False), classes, batch_dims=1))
    weights = tf.reduce_mean(tape.gradient(score, activations), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1)).numpy()


def predicted_classes(parts: NetworkParts, inputs: tf.Tensor) -> NDArray[np.int64]:
    """Gives the index of the class that each input is given, int64 [N]."""
    logits = parts.head(parts.features(inputs, training=False), training=False)
    return np.asarray(tf.argmax(logits, axis=1))


def block_layers(features: keras.Model, count: int) -> list[str]:
    """Names the outputs of the first blocks: the first activation, then the sums of the residual blocks.

    Args:
        features: The convolutional part.
        count: Blocks wanted.

    Returns:
        At most ``count`` layer names, from the input on.
    """
    activations = [layer.name for layer in features.layers if isinstance(layer, keras.layers.LeakyReLU)]
    sums = [layer.name for layer in features.layers if isinstance(layer, keras.layers.Add)]
    return [*activations[:1], *sums][:count]


def block_outputs(features: keras.Model, names: Sequence[str], inputs: tf.Tensor) -> list[NDArray[np.float32]]:
    """Computes the feature maps of some layers: float32 [N, h, w, K] each."""
    outputs = {name: features.get_layer(name).output for name in names}
    found = keras.Model(features.inputs, outputs)(inputs, training=False)
    return [np.asarray(found[name]) for name in names]


def randomised_from_the_head(parts: NetworkParts, seed: int) -> Iterator[str]:
    """Randomises a network in place, stage by stage from the head towards the input.

    Source: Adebayo et al., Sanity Checks for Saliency Maps, 2018, arXiv 1810.03292, section 3 ("cascading").

    Args:
        parts: The network; its weights are lost.
        seed: Seed of the new weights, which the layers' own initialisers draw.

    Yields:
        The name of the stage that has become random, after it has: ``logits``, ``conv5``, ..., ``conv1``.
    """
    keras.utils.set_random_seed(seed)
    layers = [
        (trained, fresh)
        for part in (parts.head, parts.features)
        for trained, fresh in reversed(list(zip(part.layers, keras.models.clone_model(part).layers, strict=True)))
        if trained.weights
    ]
    for stage, members in groupby(layers, key=lambda pair: pair[0].name.split("_")[0]):
        for trained, fresh in members:
            # Not all variables of the two: a dropout's seed is one, and says nothing.
            trained.set_weights(fresh.get_weights())
        yield stage
