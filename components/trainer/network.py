"""The 41-layer residual network, in two parts: features and head.

The parts meet at the output of the last addition, where Grad-CAM reads. Its gradient therefore passes only through the
head.

Source: Lizzi, Scapicchio, Laruina, Retico, Fantacci, Applied Sciences 12(1):148, 2022, doi 10.3390/app12010148.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import keras

from components.trainer.config import NetworkConfig
from components.transform.class_outputs import output_count
from components.transform.config import Head, ImageConfig

_LEAKY_SLOPE: Final = 0.3
_STAGES: Final = (
    (64, 128, 1),
    (128, 256, 2),
    (128, 256, 2),
    (128, 256, 2),
)  # inner filters, outer filters, stride

_Normalisation = Callable[[str], keras.layers.Layer]


def _filters(count: int, config: NetworkConfig) -> int:
    return max(4, round(count * config.width))


def _normalisation(config: NetworkConfig, synchronized: bool) -> _Normalisation:
    """Return a function that builds a normalisation layer with a given name."""
    return lambda name: keras.layers.BatchNormalization(
        momentum=config.batch_norm_momentum, synchronized=synchronized, name=name
    )


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str, normalisation: _Normalisation
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return normalisation(f"{name}_norm")(x)


def _activation(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.LeakyReLU(negative_slope=_LEAKY_SLOPE, name=f"{name}_relu")(x)


def _bottleneck(
    x: keras.KerasTensor, inner: int, outer: int, stride: int, name: str, normalisation: _Normalisation
) -> keras.KerasTensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != outer:
        shortcut = _convolution(x, outer, 1, stride, f"{name}_shortcut", normalisation)
    x = _activation(_convolution(x, inner, 1, 1, f"{name}_a", normalisation), f"{name}_a")
    x = _activation(_convolution(x, inner, 3, stride, f"{name}_b", normalisation), f"{name}_b")
    x = _convolution(x, outer, 1, 1, f"{name}_c", normalisation)
    return keras.layers.Add(name=f"{name}_add")([x, shortcut])


def build_features(image: ImageConfig, config: NetworkConfig, synchronized: bool = False) -> keras.Model:
    """Build the convolutional part.

    Args:
        image: Shape of the input.
        config: Widths, blocks and batch normalisation.
        synchronized: Batch normalisation over all replicas of a strategy.

    Returns:
        Model from float32 [N, size, size, channels] to the last block's sum, float32 [N, size/32, size/32, C].
    """
    normalisation = _normalisation(config, synchronized)
    inputs = keras.Input((image.size, image.size, image.channels), name="image")
    x = _activation(_convolution(inputs, _filters(64, config), 3, 2, "conv1", normalisation), "conv1")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    for stage, (inner, outer, stride) in enumerate(_STAGES, start=2):
        for block in range(config.blocks):
            if (stage, block) != (2, 0):
                x = _activation(x, f"conv{stage}_{block + 1}_input")
            x = _bottleneck(
                x,
                _filters(inner, config),
                _filters(outer, config),
                stride if block == 0 else 1,
                f"conv{stage}_{block + 1}",
                normalisation,
            )
    return keras.Model(inputs, x, name="features")


def build_head(features: keras.Model, config: NetworkConfig, seed: int, head: Head = "softmax") -> keras.Model:
    """Build the last activation, dropout, global average pooling and the dense layer, without softmax or sigmoid.

    Args:
        features: The convolutional part.
        config: Dropout rate.
        seed: Seed of the dropout.
        head: ``softmax`` for one logit per class, ``cumulative`` for one per threshold.

    Returns:
        Model from the features' output to logits, float32 [N, 4] or [N, 3]; see
        :mod:`components.transform.class_outputs`.
    """
    inputs = keras.Input(features.output_shape[1:], name="features")
    x = _activation(inputs, "last")
    if config.dropout:
        x = keras.layers.Dropout(config.dropout, seed=seed, name="dropout")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(output_count(head), name="logits")(x), name="head")


def build_network(
    image: ImageConfig, config: NetworkConfig, seed: int = 1, synchronized: bool = False, head: Head = "softmax"
) -> keras.Model:
    """Build a network: features, then head.

    Args:
        image: Shape of the input.
        config: Network configuration.
        seed: Seed of the weights and the dropout.
        synchronized: Batch normalisation over all replicas of a strategy.
        head: Kind of the outputs.

    Returns:
        Model from float32 [N, size, size, channels] to logits, float32 [N, 4] or [N, 3]; its layers ``features`` and
        ``head`` are the parts.
    """
    keras.utils.set_random_seed(seed)
    features = build_features(image, config, synchronized)
    end = build_head(features, config, seed, head)
    inputs = keras.Input(features.input_shape[1:], name="image")
    return keras.Model(inputs, end(features(inputs)), name="density_network")


def count_convolutions(network: keras.Model) -> int:
    """Count the convolutional layers of a network and of the models inside it."""
    return sum(
        count_convolutions(layer) if isinstance(layer, keras.Model) else isinstance(layer, keras.layers.Conv2D)
        for layer in network.layers
    )
