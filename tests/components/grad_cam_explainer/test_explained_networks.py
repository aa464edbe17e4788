"""Inspection of the networks: Grad-CAM compared with the served one, feature maps, and maps of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from components.common.views import View
from components.grad_cam_explainer.heat_maps import Explainer
from components.grad_cam_explainer.inspection import (
    compare_with_randomised,
    draw_feature_maps,
    liveliest_filters,
    mean_similarities,
)
from components.grad_cam_explainer.networks import (
    NetworkParts,
    block_layers,
    load_networks,
    maps_of,
    network_input,
    predicted_classes,
)
from components.trainer.config import NetworkConfig
from components.trainer.network import build_head, build_network
from components.transform.config import ImageConfig
from schema import features as f
from tests.pictures import decode_picture

pytestmark = pytest.mark.slow

SIZE = 64


def parts_of(network: Any) -> NetworkParts:
    return NetworkParts(network.get_layer("features"), network.get_layer("head"))


def test_the_served_heat_map_is_the_networks_own(
    exported_exam_model: Path, exam_networks: dict[str, Any], texture_png: Callable[..., bytes]
) -> None:
    explainer = Explainer(str(exported_exam_model))
    networks = {view: parts_of(network) for view, network in exam_networks.items()}
    views = [View(texture_png(seed), view, "e", "A") for seed, view in enumerate(f.VIEWS)]
    for target in ("predicted", "A", "D"):
        served = explainer.heat_maps(views, target)
        for view, heatmap, density in zip(views, served.heatmaps, served.density, strict=True):
            parts = networks[view.view]
            inputs = network_input([view], ImageConfig(size=SIZE), mirrored=False)
            predicted = predicted_classes(parts, inputs)
            assert f.DENSITY_CLASSES[predicted[0]] == density
            asked = predicted if target == "predicted" else np.array([f.DENSITY_CLASSES.index(target)])
            cam = maps_of(parts, inputs, asked)[0]
            heat = cv2.resize(cam, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
            np.testing.assert_allclose(heatmap, heat / max(float(heat.max()), 1e-12), atol=1e-4)
    answer = tf.saved_model.load(str(exported_exam_model)).signatures["gradcam"](
        image_bytes=tf.constant([view.image for view in views]),
        view=tf.constant([view.view for view in views]),
        target_class=tf.constant(["B"]),
    )
    drawn = [pictures["overlay"] for pictures in explainer.pictures(views, "B")]
    assert drawn == list(answer["overlay_png_bytes"].numpy()), "drawn as it is served"


def test_networks_loaded_in_one_place_are_those_of_their_files(
    exam_networks: dict[str, Any], texture_png: Callable[..., bytes], tmp_path: Path
) -> None:
    for view, network in exam_networks.items():
        network.save(tmp_path / f"{view}.keras")
    inputs = network_input([View(texture_png(1), "CC_R", "e", "A")], ImageConfig(size=SIZE), mirrored=False)
    order = [*f.VIEWS, f.VIEWS[0]]
    loaded = load_networks(str(tmp_path / f"{view}.keras") for view in order)
    for view, parts in zip(order, loaded, strict=True):
        logits, _ = parts.logits_and_maps(inputs, tf.constant([0], tf.int64))
        np.testing.assert_allclose(logits, exam_networks[view](inputs, training=False), rtol=1e-4, atol=1e-4)
        for weight in parts.features.weights:
            weight.assign(np.zeros(weight.shape))
    build_network(ImageConfig(size=SIZE), NetworkConfig(width=0.1)).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=r"Layer|layer|weight|variable"):
        list(load_networks(str(tmp_path / f"{name}.keras") for name in ("CC_R", "other")))


def test_right_breasts_are_mirrored_for_a_network_of_both_sides(texture_png: Callable[..., bytes]) -> None:
    views = [View(texture_png(1), view, "e", "A") for view in ("CC_R", "CC_L")]
    plain, mirrored = (network_input(views, ImageConfig(size=SIZE), mirrored=m).numpy() for m in (False, True))
    np.testing.assert_array_equal(mirrored[0], plain[0][:, ::-1])
    np.testing.assert_array_equal(mirrored[1], plain[1])


@pytest.fixture(scope="module")
def stripes() -> tuple[np.ndarray, np.ndarray]:
    """Return noise with a striped patch; the direction of the stripes is the class."""
    random = np.random.default_rng(5)
    labels = np.arange(64) % 4
    rows, columns = np.mgrid[:24, :24]
    images = random.normal(0.0, 0.1, (64, SIZE, SIZE, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        top, left = random.integers(0, SIZE - 24, 2)
        across = (rows, columns, rows + columns, rows - columns)[label]
        image[top : top + 24, left : left + 24, 0] += np.sign(np.sin(across * np.pi / 3 + 0.1))
    return images, labels


@pytest.fixture(scope="module")
def trained(stripes: tuple[np.ndarray, np.ndarray]) -> NetworkParts:
    """Return a tiny network that was trained on these images."""
    images, labels = stripes
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Conv2D(8, 5, 2, padding="same", name="one_conv")(inputs)
    x = keras.layers.Conv2D(16, 5, 4, padding="same", name="two_conv")(keras.layers.LeakyReLU(0.3)(x))
    features = keras.Model(inputs, x, name="features")
    head = build_head(features, NetworkConfig(dropout=0.0), seed=3)
    optimizer = keras.optimizers.Adam(0.01)
    variables = [*features.trainable_variables, *head.trainable_variables]
    optimizer.build(variables)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, head(features(images)))
            loss = tf.reduce_mean(losses)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    for _ in range(60):
        loss = step()
    assert float(loss) < 0.1
    return NetworkParts(features, head)


def test_heat_maps_change_when_weights_are_randomised(
    trained: NetworkParts, stripes: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs, exams = tf.constant(stripes[0][:24]), [f"{n:02d}" for n in range(24)]
    weights = [part.get_weights() for part in (trained.features, trained.head)]
    found = compare_with_randomised(trained, inputs, exams)
    for part, before in zip((trained.features, trained.head), weights, strict=True):
        assert not any(np.allclose(a, b) for a, b in zip(before, part.get_weights(), strict=True) if b.any())
        part.set_weights(before)
    figures = mean_similarities(found)
    assert [figure["stage"] for figure in figures] == ["logits", "two", "one"]
    for figure in figures:
        assert figure["n"] == figure["exams"] == 24
        assert abs(figure["mean"]) < 0.35, figure
        assert figure["ci95"][1] < 0.45, figure
    assert compare_with_randomised(trained, inputs, exams) == found, "the seed decides"
    for part, before in zip((trained.features, trained.head), weights, strict=True):
        part.set_weights(before)


def test_the_first_blocks_of_the_real_network_are_named() -> None:
    features = build_network(ImageConfig(size=SIZE), NetworkConfig(width=0.1)).get_layer("features")
    assert block_layers(features, 3) == ["conv1_relu", "conv2_1_add", "conv2_2_add"]
    assert len(block_layers(features, 99)) == 13


def test_the_liveliest_filters_are_drawn_a_row_a_class() -> None:
    maps = np.zeros((2, 4, 4, 12), np.float32)
    maps[:, ::2, :, 5] = 1.0
    maps[1, :, ::2, 9] = 3.0
    assert liveliest_filters(maps, 2) == [5, 9]
    images = [np.full((SIZE, SIZE), grey, np.uint8) for grey in (50, 200)]
    picture, filters = draw_feature_maps(["A", "D"], images, maps)
    sheet = decode_picture(picture, cv2.IMREAD_COLOR)
    assert {5, 9} < set(filters)
    assert sheet.shape == (26 + 2 * 116, 26 + 8 * 116, 3)
    assert sheet[80, 80].tolist() == [50] * 3
    assert sheet[200, 80].tolist() == [200] * 3
