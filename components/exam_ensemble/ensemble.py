"""Builds the exam model from trained Keras networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from components.exam_model.signatures import ExamModel
from components.exam_model.view_networks import ViewFunctions
from components.transform.config import ImageConfig
from schema.features import VIEWS


@dataclass(frozen=True)
class PackedFunctions:
    """A network as functions of its packed weights, which networks of one architecture share.

    Attributes:
        features: Weights, float32 [P], and images, float32 [N, size, size, C], to the last block's sum.
        head: Weights, float32 [P], and the sum to logits, float32 [N, 4].
        shapes: Of the weights that are packed, in their order.
    """

    features: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    head: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    shapes: tuple[tuple[int, ...], ...]


def packed_functions(network: keras.Model) -> PackedFunctions:
    """Traces the parts of a network, as inference functions of its packed weights.

    Args:
        network: As :func:`components.trainer.network.build_network` makes it, with layers ``features`` and ``head``.
    """
    parts = _parts(network)
    shapes = tuple(tuple(variable.shape) for part in parts for variable in _variables(part))
    sizes = [int(np.prod(shape)) for shape in shapes]
    boundary = len(_variables(parts[0]))

    def unpacked(packed: tf.Tensor) -> list[tf.Tensor]:
        return [tf.reshape(piece, shape) for piece, shape in zip(tf.split(packed, sizes), shapes, strict=True)]

    def call(part: keras.Model, weights: list[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        trainable = len(part.trainable_variables)
        return part.stateless_call(weights[:trainable], weights[trainable:], inputs, training=False)[0]

    weights_spec = tf.TensorSpec([sum(sizes)])

    @tf.function(input_signature=[weights_spec, tf.TensorSpec(parts[0].input_shape)], autograph=False)
    def run_features(packed: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        return call(parts[0], unpacked(packed)[:boundary], images)

    @tf.function(input_signature=[weights_spec, tf.TensorSpec(parts[1].input_shape)], autograph=False)
    def run_head(packed: tf.Tensor, activations: tf.Tensor) -> tf.Tensor:
        return call(parts[1], unpacked(packed)[boundary:], activations)

    return PackedFunctions(run_features, run_head, shapes)


def view_functions(network: keras.Model, shared: PackedFunctions | None = None) -> ViewFunctions:
    """Binds a network's weights to the functions of its architecture.

    The weights are packed in one variable, and four networks share the functions, each traced once: hundreds of
    variables captured by dozens of nested functions make an export and its loading take a minute, and a copy of the
    functions for each network still makes them take three times as long.

    Args:
        network: As :func:`components.trainer.network.build_network` makes it.
        shared: Functions of a network of the same architecture; its own where None.

    Raises:
        ValueError: The network's weights have other shapes than the functions take.
    """
    functions = shared or packed_functions(network)
    values = [np.asarray(variable.numpy(), np.float32) for part in _parts(network) for variable in _variables(part)]
    if tuple(value.shape for value in values) != functions.shapes:
        raise ValueError(
            f"The view networks must be of one architecture. Received: {len(values)} weights, where the first network"
            f" has {len(functions.shapes)}, or weights of other shapes."
        )
    packed = tf.Variable(np.concatenate([value.ravel() for value in values]), trainable=False, name="weights")

    def features(images: tf.Tensor) -> tf.Tensor:
        return functions.features(tf.convert_to_tensor(packed), images)

    def head(activations: tf.Tensor) -> tf.Tensor:
        return functions.head(tf.convert_to_tensor(packed), activations)

    return ViewFunctions(features, head, packed)


def _parts(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    return network.get_layer("features"), network.get_layer("head")


def _variables(part: keras.Model) -> list[keras.Variable]:
    """Gives a part's variables in the order that ``stateless_call`` takes them, with the unused state of dropout."""
    return [*part.trainable_variables, *part.non_trainable_variables]


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
        ValueError: A view is missing, a network takes another input than the configuration says, or the networks are
            not of one architecture.
    """
    loaded: dict[str, ViewFunctions] = {}
    shared: PackedFunctions | None = None
    expected = (None, image.size, image.size, image.channels)
    for view in VIEWS:
        if view not in network_files or network_files[view] in loaded:
            continue
        network = keras.models.load_model(network_files[view], compile=False)
        if network.input_shape != expected:
            raise ValueError(f"Network {view} takes {network.input_shape}. Expected: {expected}")
        shared = shared or packed_functions(network)
        loaded[network_files[view]] = view_functions(network, shared)
    networks = {view: loaded[file] for view, file in network_files.items()}
    return ExamModel(networks, image, preprocessing, minimum_views=minimum_views, mirrored=mirrored)
