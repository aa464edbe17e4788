"""One network with a cumulative head for all four views: served probabilities and heat maps against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from components.common.views import View
from components.exam_ensemble.ensemble import load_exam_model, packed_functions, view_functions
from components.exam_model.signatures import ExamModel, ExamSettings, export
from components.grad_cam_explainer.networks import load_networks, maps_of, network_input, predicted_classes
from components.trainer.config import NetworkConfig
from components.trainer.network import build_head
from components.transform.config import ImageConfig
from schema.features import DENSITY_CLASSES, VIEWS
from tests.conftest import SIZE
from tests.pictures import decode_picture

pytestmark = pytest.mark.slow

IMAGE = ImageConfig(size=SIZE)
SIGNS = np.array([[-1, -1, -1], [1, -1, -1], [1, 1, -1], [1, 1, 1]])


@pytest.fixture(scope="module")
def network(exam_networks: dict[str, Any]) -> keras.Model:
    """A network of one view with another head; its thresholds fall, so that every class has a probability."""
    features = exam_networks["CC_R"].get_layer("features")
    head = build_head(features, NetworkConfig(dropout=0.2), seed=1, head="cumulative")
    outer = keras.Input((SIZE, SIZE, 1))
    made = keras.Model(outer, head(features(outer)))
    kernel = np.random.default_rng(5).normal(0.0, 0.4, head.get_layer("logits").kernel.shape)
    head.get_layer("logits").set_weights([kernel, np.array([1.0, 0.2, -0.8])])
    return made


@pytest.fixture(scope="module")
def file(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("cumulative") / "ALL.keras")
    network.save(path)
    return path


@pytest.fixture(scope="module")
def served(file: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = load_exam_model(dict.fromkeys(VIEWS, file), IMAGE, ExamSettings(mirrored=True))
    assert len(model.variables) == 1, "the network is saved once"
    folder = str(tmp_path_factory.mktemp("cumulative_model"))
    export(model, folder)
    return tf.saved_model.load(folder)


def seen_by_network(png: bytes, view: str) -> np.ndarray:
    grey = decode_picture(png, cv2.IMREAD_GRAYSCALE)
    return (grey[:, ::-1] if view.endswith("_R") else grey)[None, :, :, None] / np.float32(255)


def reference(network: keras.Model, png: bytes, view: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and Grad-CAM in numpy; the head is leaky ReLU, mean and dense layer."""
    activations = network.get_layer("features").predict_on_batch(seen_by_network(png, view))[0].astype(float)
    kernel, bias = network.get_layer("head").get_layer("logits").get_weights()
    leaky = np.where(activations > 0, activations, 0.3 * activations)
    above = scipy.special.expit(leaky.mean(axis=(0, 1)) @ kernel + bias)
    shares = np.maximum([1 - above[0], above[0] - above[1], above[1] - above[2], above[2]], 0)
    probabilities = shares / shares.sum()
    chosen = DENSITY_CLASSES.index(target) if target else int(probabilities.argmax())
    gradient = np.where(activations > 0, 1.0, 0.3) * (kernel @ SIGNS[chosen]) / activations[..., 0].size
    cam = np.maximum((activations * gradient.mean(axis=(0, 1))).sum(axis=-1), 0.0)
    return probabilities, cam[:, ::-1] if view.endswith("_R") else cam


def test_served_probabilities_and_heat_maps_are_the_formulas(
    served: Any, network: keras.Model, texture_png: Callable[..., bytes]
) -> None:
    views = [*VIEWS, "CC_R", "MLO_L"]
    targets = ["", "A", "B", "C", "D", ""]
    pngs = [texture_png(seed) for seed in range(6)]
    answer = served.signatures["gradcam"](
        image_bytes=tf.constant(pngs), view=tf.constant(views), target_class=tf.constant(targets)
    )
    graded = served.signatures["predict_view"](image_bytes=tf.constant(pngs), view=tf.constant(views))
    hot = 0
    for i, (png, view, target) in enumerate(zip(pngs, views, targets, strict=True)):
        probabilities, cam = reference(network, png, view, target)
        for found in (answer, graded):
            np.testing.assert_allclose(found["probabilities"][i], probabilities, atol=1e-5)
            assert found["density"][i].numpy().decode() == DENSITY_CLASSES[probabilities.argmax()]
        heat = cv2.resize(cam.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        heat = heat / heat.max() if heat.max() > 0 else heat
        np.testing.assert_allclose(answer["heatmap"][i], heat, atol=1e-4, err_msg=f"{view} {target}")
        hot += heat.max() > 0
    assert hot >= 3


def test_the_explainers_own_grad_cam_agrees(file: str, network: keras.Model, texture_png: Callable[..., bytes]) -> None:
    views = [View(texture_png(seed), view, "e", "A") for seed, view in enumerate(VIEWS)]
    [parts] = load_networks([file])
    inputs = network_input(views, IMAGE, mirrored=True)
    classes = predicted_classes(parts, inputs)
    maps = maps_of(parts, inputs, classes)
    for view, chosen, found in zip(views, classes, maps, strict=True):
        probabilities, cam = reference(network, view.image, view.view, "")
        assert chosen == probabilities.argmax()
        own = cam[:, ::-1] if view.view.endswith("_R") else cam  # the map as the network sees it
        np.testing.assert_allclose(found, own, rtol=1e-3, atol=1e-6)


def test_a_class_without_probability_still_has_a_finite_map(
    network: keras.Model, texture_png: Callable[..., bytes]
) -> None:
    head = network.get_layer("head").get_layer("logits")
    before = head.get_weights()
    head.set_weights([before[0], np.array([-30.0, 60.0, -60.0])])  # rising thresholds, saturated
    try:
        model = ExamModel(dict.fromkeys(VIEWS, view_functions(network)), IMAGE, ExamSettings(mirrored=True))
    finally:
        head.set_weights(before)
    pngs = [texture_png(seed) for seed in range(4)]
    answer = model.gradcam(tf.constant(pngs), tf.constant(VIEWS), tf.constant(list(DENSITY_CLASSES)))
    assert np.isfinite(answer["heatmap"]).all()
    assert answer["heatmap"].numpy().max() == pytest.approx(1.0)
    np.testing.assert_allclose(answer["probabilities"][:, 1], 0.0, atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(answer["probabilities"], axis=1), 1.0, atol=1e-6)


def test_networks_of_two_heads_are_refused(exam_networks: dict[str, Any], network: keras.Model) -> None:
    with pytest.raises(ValueError, match="must be of one architecture"):
        view_functions(network, packed_functions(exam_networks["CC_R"]))


def test_a_network_with_another_number_of_outputs_is_refused(exam_networks: dict[str, Any]) -> None:
    features = exam_networks["CC_R"].get_layer("features")
    inputs = keras.Input(features.output_shape[1:])
    head = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(inputs)), name="head")
    outer = keras.Input((SIZE, SIZE, 1))
    model = ExamModel(dict.fromkeys(VIEWS, view_functions(keras.Model(outer, head(features(outer))))), IMAGE)
    png = cv2.imencode(".png", np.zeros((SIZE, SIZE), np.uint8))[1].tobytes()
    with pytest.raises(ValueError, match=r"4 outputs \(softmax head\) or 3 \(cumulative head\). Received: 5"):
        model.predict_view(tf.constant([png]), tf.constant(["CC_R"]))
