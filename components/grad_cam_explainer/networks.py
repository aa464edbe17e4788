"""Access to the network of one view: its heat maps, the outputs of its blocks, and random weights.

The maps come from the Keras network and not from the ``gradcam`` signature of the exam model, so they can check it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, groupby

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.views import View
from components.exam_model.activation_maps import heat_maps
from components.exam_model.heat_source import GRAD_CAM, HeatMapConfig, stage_end
from components.transform.class_outputs import class_scores, likeliest_classes
from components.transform.config import ImageConfig
from components.transform.images import decode_images, normalise
from schema.features import laterality_of


@dataclass(frozen=True, eq=False)
class NetworkParts:
    """A network of :func:`components.trainer.network.build_network`.

    Attributes:
        features: float32 [N, size, size, C] to the last block's sum, float32 [N, h, w, K].
        head: The sum to logits, float32 [N, 4] or [N, 3].
        heat_map: Method and stages of its heat maps.
    """

    features: keras.Model
    head: keras.Model
    heat_map: HeatMapConfig = GRAD_CAM

    @cached_property
    def logits_and_maps(self) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Function from inputs and classes, int64 [N], to logits and heat maps: a graph that is traced only once.

        Called layer by layer, a network of 41 convolutions takes 300 ms for eight small images; the graph takes 20 ms.
        """
        stages = self.heat_map.stages
        ends = [stage_end(self.features, stage) for stage in stages]
        forward = keras.Model(self.features.inputs, [*ends, self.features.output])
        # None: the stage ends where the head begins.
        tails = [None if end is self.features.output else keras.Model(end, self.features.output) for end in ends]

        def run(inputs: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            *of_stages, last = forward(inputs, training=False)
            gradients = []
            for activations, tail in zip(of_stages, tails, strict=True):
                with tf.GradientTape() as tape:
                    tape.watch(activations)
                    logits = self.head(tail(activations, training=False) if tail else activations, training=False)
                    score = tf.reduce_sum(tf.gather(class_scores(logits), classes, batch_dims=1))
                gradients.append(tape.gradient(score, activations))
            return self.head(last, training=False), heat_maps(self.heat_map, of_stages, gradients)

        spec = [tf.TensorSpec(self.features.input_shape), tf.TensorSpec([None], tf.int64)]
        result: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]] = tf.function(
            run, input_signature=spec, autograph=False
        )
        return result


def load_networks(paths: Iterable[str], heat_map: HeatMapConfig = GRAD_CAM) -> Iterator[NetworkParts]:
    """Load networks of one architecture one after the other; each replaces the weights of the one before.

    Only one network is in memory, and it is built and traced only once.

    Args:
        paths: ``.keras`` files of networks with layers ``features`` and ``head``.
        heat_map: Method and stages of their heat maps.

    Yields:
        The same parts each time, with the weights of the next file.

    Raises:
        ValueError: A network has another architecture than the first one.
    """
    network: keras.Model | None = None
    for path in paths:
        if network is None:
            network = keras.models.load_model(path, compile=False)
            parts = NetworkParts(network.get_layer("features"), network.get_layer("head"), heat_map)
        else:
            network.load_weights(path)
        yield parts


def network_input(views: Sequence[View], image: ImageConfig, *, mirrored: bool) -> tf.Tensor:
    """Return the input of a network for some views.

    Args:
        views: Views of the network.
        image: Size, channels and normalisation.
        mirrored: True if the network sees right breasts mirrored.

    Returns:
        float32 [N, size, size, C].
    """
    inputs = normalise(decode_images(tf.constant([view.image for view in views]), image.size), image)
    if mirrored:
        right = tf.constant([laterality_of(view.view) == "R" for view in views])
        inputs = tf.where(right[:, tf.newaxis, tf.newaxis, tf.newaxis], tf.reverse(inputs, [2]), inputs)
    return inputs


def maps_of(parts: NetworkParts, inputs: tf.Tensor, classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Compute the heat maps of the scores of classes.

    The score is the logit of the class; see :func:`components.transform.class_outputs.class_scores`.

    Args:
        parts: The network.
        inputs: float32 [N, size, size, C].
        classes: int64 [N], index of the target class.

    Returns:
        float32 [N, h, w], 0 or more, one cell per position of the first stage of the map.
    """
    result: NDArray[np.float32] = parts.logits_and_maps(inputs, tf.constant(classes, tf.int64))[1].numpy()
    return result


def predicted_classes(parts: NetworkParts, inputs: tf.Tensor) -> NDArray[np.int64]:
    """Return the index of the predicted class of each input, int64 [N]."""
    logits, _ = parts.logits_and_maps(inputs, tf.zeros(len(inputs), tf.int64))
    return np.asarray(likeliest_classes(logits))


def block_layers(features: keras.Model, count: int) -> list[str]:
    """Return the output layers of the first blocks: the first activation, then the sums of the residual blocks.

    Args:
        features: The convolutional part.
        count: Number of blocks.

    Returns:
        At most ``count`` layer names, from the input on.
    """
    activations = [layer.name for layer in features.layers if isinstance(layer, keras.layers.LeakyReLU)]
    sums = [layer.name for layer in features.layers if isinstance(layer, keras.layers.Add)]
    return [*activations[:1], *sums][:count]


def block_outputs(features: keras.Model, names: Sequence[str], inputs: tf.Tensor) -> list[NDArray[np.float32]]:
    """Compute the feature maps of some layers: float32 [N, h, w, K] each."""
    outputs = {name: features.get_layer(name).output for name in names}
    found = keras.Model(features.inputs, outputs)(inputs, training=False)
    return [np.asarray(found[name]) for name in names]


def _randomise(layer: keras.layers.Layer, seeds: Iterator[int]) -> None:
    """Draw new weights of a layer from its own initialisers, each with the next seed."""
    for variable in layer.weights:
        initializer = getattr(layer, f"{variable.name}_initializer")
        settings = initializer.get_config()
        if "seed" in settings:
            settings["seed"] = next(seeds)
        variable.assign(type(initializer).from_config(settings)(variable.shape, variable.dtype))


def randomised_from_the_head(parts: NetworkParts, seed: int) -> Iterator[str]:
    """Randomise a network in place, stage by stage from the head towards the input.

    Source: Adebayo et al., Sanity Checks for Saliency Maps, 2018, arXiv 1810.03292, section 3 ("cascading").

    Args:
        parts: The network; its weights are overwritten.
        seed: Seed of the first new variable; each further variable uses the next seed.

    Yields:
        The name of the stage that was just randomised: ``logits``, ``conv5``, ..., ``conv1``.
    """
    seeds = count(seed)
    layers = [layer for part in (parts.head, parts.features) for layer in reversed(part.layers) if layer.weights]
    for stage, members in groupby(layers, key=lambda layer: layer.name.split("_")[0]):
        for layer in members:
            _randomise(layer, seeds)
        yield stage
