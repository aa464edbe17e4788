"""The published network: depth, size, shapes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from components.trainer.config import NetworkConfig
from components.trainer.network import build_network, count_convolutions
from components.transform.config import ImageConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def published() -> keras.Model:
    return build_network(ImageConfig(size=450), NetworkConfig())


@pytest.fixture(scope="module")
def narrow() -> keras.Model:
    return build_network(ImageConfig(size=32, channels=3), NetworkConfig(width=0.0625, dropout=0.0), seed=3)


def test_the_published_network_has_41_convolutions_and_about_two_and_a_quarter_million_parameters(
    published: keras.Model,
) -> None:
    assert count_convolutions(published) == 41
    assert published.count_params() == pytest.approx(2.25e6, rel=0.01)
    assert published.input_shape == (None, 450, 450, 1)
    assert published.get_layer("features").output_shape == (None, 15, 15, 256)
    assert published.output_shape == (None, 4)
    first = published.get_layer("features").get_layer("conv1_conv")
    assert (first.filters, first.strides) == (64, (2, 2))


def test_a_narrow_network_keeps_its_depth(narrow: keras.Model) -> None:
    assert count_convolutions(narrow) == 41
    assert narrow.count_params() < 30_000
    logits = narrow.predict_on_batch(np.zeros((2, 32, 32, 3), np.float32))
    assert logits.shape == (2, 4)
    assert narrow.get_layer("features").output_shape[1:3] == (1, 1)


@pytest.mark.parametrize(("blocks", "convolutions"), [(1, 17), (2, 29), (4, 53)])
def test_depth_is_configuration(blocks: int, convolutions: int) -> None:
    network = build_network(ImageConfig(size=32), NetworkConfig(width=0.0625, blocks=blocks))
    assert count_convolutions(network) == convolutions
    assert network.get_layer("features").output_shape[1:3] == (1, 1)


def test_a_cumulative_head_has_three_outputs_and_the_same_features() -> None:
    config = NetworkConfig(width=0.0625)
    plain = build_network(ImageConfig(size=32), config, seed=3)
    ordinal = build_network(ImageConfig(size=32), config, seed=3, head="cumulative")
    assert ordinal.output_shape == (None, 3)
    assert ordinal.get_layer("head").get_layer("logits").units == 3
    assert count_convolutions(ordinal) == 41
    parts = (network.get_layer("features").get_weights() for network in (plain, ordinal))
    for ours, theirs in zip(*parts, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_dropout_is_there_only_when_asked(published: keras.Model, narrow: keras.Model) -> None:
    assert published.get_layer("head").get_layer("dropout").rate == 0.2
    assert not [layer for layer in narrow.get_layer("head").layers if isinstance(layer, keras.layers.Dropout)]


def test_equal_seeds_give_equal_weights(narrow: keras.Model) -> None:
    config = NetworkConfig(width=0.0625, dropout=0.0)
    again = build_network(ImageConfig(size=32, channels=3), config, seed=3)
    for ours, theirs in zip(narrow.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = build_network(ImageConfig(size=32, channels=3), config, seed=4)
    assert any((a != b).any() for a, b in zip(narrow.get_weights(), other.get_weights(), strict=True))


def test_logits_are_not_squashed(narrow: keras.Model) -> None:
    images = np.random.default_rng(0).normal(0, 3, (4, 32, 32, 3)).astype(np.float32)
    assert not np.allclose(narrow.predict_on_batch(images).sum(axis=1), 1.0)


def test_strides_slope_and_shortcuts_are_as_published(published: keras.Model) -> None:
    features = published.get_layer("features")
    convolutions = [layer for layer in features.layers if isinstance(layer, keras.layers.Conv2D)]
    strided = {layer.name for layer in convolutions if layer.strides == (2, 2)}
    blocks = ("conv3_1", "conv4_1", "conv5_1")
    assert strided == {"conv1_conv", *(f"{name}_{part}_conv" for name in blocks for part in ("b", "shortcut"))}
    shortcuts = {layer.name for layer in convolutions if "shortcut" in layer.name}
    assert shortcuts == {f"{name}_shortcut_conv" for name in ("conv2_1", *blocks)}
    kernels = [layer.kernel_size for layer in convolutions]
    assert kernels.count((3, 3)) == 1 + 12  # the first layer, and the middle of each block
    assert kernels.count((1, 1)) == 12 * 2 + 4
    slopes = [layer.negative_slope for layer in features.layers if isinstance(layer, keras.layers.LeakyReLU)]
    assert slopes == [pytest.approx(0.3)] * len(slopes)
    pool = features.get_layer("pool1")
    assert (pool.pool_size, pool.strides, pool.padding) == ((3, 3), (2, 2), "same")
