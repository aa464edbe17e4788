"""Builds the exam model from trained Keras networks."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from components.transform.config import ImageConfig
from schema.features import VIEWS
from serving.signatures import ExamModel, ViewFunctions


def view_functions(network: keras.Model) -> ViewFunctions:
    """Takes a view network apart.

    The weights are packed in one variable and the parts are traced once, as functions that every signature calls:
    hundreds of variables captured by dozens of nested functions make an export and its loading take a minute.

    Args:
        network: As :func:`components.trainer.network.build_network` makes it, with layers ``features`` and ``head``.

    Returns:
        The parts as inference functions of the packed weights.
    """
    parts = (network.get_layer("features"), network.get_layer("head"))
    values = [np.asarray(value, np.float32) for part in parts for value in _weights(part)]
    packed = tf.Variable(np.concatenate([value.ravel() for value in values]), trainable=False, name="weights")
    shapes = [value.shape for value in values]
    boundary = len(_weights(parts[0]))

    def unpacked() -> list[tf.Tensor]:
        pieces = tf.split(packed, [int(np.prod(shape)) for shape in shapes])
        return [tf.reshape(piece, shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def call(part: keras.Model, weights: list[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        trainable = len(part.trainable_variables)
        return part.stateless_call(weights[:trainable], weights[trainable:], inputs, training=False)[0]

    @tf.function(input_signature=[tf.TensorSpec(parts[0].input_shape)], autograph=False)
    def run_features(images: tf.Tensor) -> tf.Tensor:
        return call(parts[0], unpacked()[:boundary], images)

    @tf.function(input_signature=[tf.TensorSpec(parts[1].input_shape)], autograph=False)
    def run_head(activations: tf.Tensor) -> tf.Tensor:
        return call(parts[1], unpacked()[boundary:], activations)

    return ViewFunctions(run_features, run_head, packed)


def _weights(part: keras.Model) -> list[np.ndarray]:
    """Gives a part's variables in the order that ``stateless_call`` takes them, with the unused state of dropout."""
    variables = [*part.trainable_variables, *part.non_trainable_variables]
    return [variable.numpy() for variable in variables]


def load_exam_model(
    network_files: Mapping[str, str],
    image: ImageConfig,
    preprocessing: str = "",
    minimum_views: int = 1,
    mirrored: bool = False,
) -> ExamModel:
    """Loads the networks and combines them.

    Args:
        network_files: Path of the ``.keras`` file of each view; views of the same file share one network.
        image: Input of every network.
        preprocessing: The preprocessing recipe as JSON, which the model carries.
        minimum_views: Exams of fewer views get no grade.
        mirrored: The networks know left breasts, and see right ones flipped.

    Returns:
        The exam model, not calibrated.

    Raises:
        ValueError: A view is missing, or a network takes another input than the configuration says.
    """
    loaded: dict[str, ViewFunctions] = {}
    expected = (None, image.size, image.size, image.channels)
    for view in VIEWS:
        if view not in network_files or network_files[view] in loaded:
            continue
        network = keras.models.load_model(network_files[view], compile=False)
        if network.input_shape != expected:
            raise ValueError(f"Network {view} takes {network.input_shape}. Expected: {expected}")
        loaded[network_files[view]] = view_functions(network)
    networks = {view: loaded[file] for view, file in network_files.items()}
    return ExamModel(networks, image, preprocessing, minimum_views=minimum_views, mirrored=mirrored)
