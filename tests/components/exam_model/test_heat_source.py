"""Heat maps of earlier stages: the exported model against LayerCAM worked out in numpy, and the explainer's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from components.common.views import View
from components.exam_ensemble.ensemble import load_exam_model, packed_functions, view_functions
from components.exam_model.heat_source import GRAD_CAM, HeatMapConfig
from components.exam_model.signatures import ExamModel, ExamSettings, export
from components.grad_cam_explainer.networks import load_networks, maps_of, network_input
from components.trainer.config import NetworkConfig
from components.trainer.network import build_network
from components.transform.config import ImageConfig
from schema.features import DENSITY_CLASSES, VIEWS

pytestmark = pytest.mark.slow

IMAGE = ImageConfig(size=64)
SMALL = NetworkConfig(width=0.0625, blocks=2)
STAGES: tuple[tuple[int, ...], ...] = ((4,), (3, 5))


@pytest.fixture(scope="module")
def network() -> keras.Model:
    network = build_network(IMAGE, SMALL, seed=3)
    random = np.random.default_rng(0)
    network.set_weights([w + random.uniform(0.1, 0.5, w.shape) if w.ndim == 1 else w for w in network.get_weights()])
    return network


@pytest.fixture(scope="module")
def file(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("heat") / "ALL.keras")
    network.save(path)
    return path


def layer_cam_of_the_paper(network: keras.Model, image: np.ndarray, stage: int, target: int) -> np.ndarray:
    """LayerCAM of one stage in numpy, channel by channel; the gradient is of the whole rest of the network."""
    features, head = network.get_layer("features"), network.get_layer("head")
    layer = features.get_layer(f"conv{stage}_{SMALL.blocks}_add").output
    activations = keras.Model(features.inputs, layer)(image[None])
    rest = keras.Model(layer, features.output) if stage < 5 else lambda tensor: tensor
    with tf.GradientTape() as tape:
        tape.watch(activations)
        score = head(rest(activations))[0, target]
    gradient, activation = tape.gradient(score, activations).numpy()[0], activations.numpy()[0]
    total = np.zeros(activation.shape[:2])
    for channel in range(activation.shape[2]):
        weight = np.where(gradient[:, :, channel] > 0, gradient[:, :, channel], 0.0)
        total += weight * activation[:, :, channel]
    return np.where(total > 0, total, 0.0)


def heat_of_the_paper(network: keras.Model, image: np.ndarray, stages: tuple[int, ...], target: int) -> np.ndarray:
    maps = [layer_cam_of_the_paper(network, image, stage, target) for stage in stages]
    binomial = np.array([0.25, 0.5, 0.25])
    maps = [
        cv2.sepFilter2D(one, -1, binomial, binomial, borderType=cv2.BORDER_REFLECT) if stage < 5 else one
        for stage, one in zip(stages, maps, strict=True)
    ]
    if len(maps) > 1:
        maps = [cv2.resize(one / max(one.max(), 1e-12), maps[0].shape[::-1]) for one in maps]
    whole = cv2.resize(np.mean(maps, axis=0), (IMAGE.size, IMAGE.size), interpolation=cv2.INTER_LINEAR)
    return whole / max(whole.max(), 1e-12)


@pytest.mark.parametrize("stages", STAGES)
def test_the_exported_map_is_that_of_the_paper_and_of_the_explainer(
    stages: tuple[Any, ...], network: keras.Model, file: str, texture_png: Callable[..., bytes], tmp_path: Path
) -> None:
    heat_map = HeatMapConfig(method="layer_cam", stages=stages)
    model = load_exam_model(dict.fromkeys(VIEWS, file), IMAGE, ExamSettings("{}", mirrored=True, heat_map=heat_map))
    export(model, str(tmp_path / "model"))
    pngs = [texture_png(seed) for seed in range(4)]
    answer = tf.saved_model.load(str(tmp_path / "model")).signatures["gradcam"](
        image_bytes=tf.constant(pngs), view=tf.constant(VIEWS), target_class=tf.constant(list(DENSITY_CLASSES))
    )
    assert set(answer["heatmap_method"].numpy()) == {heat_map.name.encode()}
    views = [View(png, view, "e", "A") for png, view in zip(pngs, VIEWS, strict=True)]
    inputs = network_input(views, IMAGE, mirrored=True)
    [parts] = load_networks([file], heat_map)
    cells = maps_of(parts, inputs, np.arange(4))
    assert cells.shape == (4, heat_map.side(64), heat_map.side(64)) == (4, 64 >> stages[0], 64 >> stages[0])
    for number, view in enumerate(VIEWS):
        expected = heat_of_the_paper(network, np.asarray(inputs[number]), stages, number)
        assert expected.max() == 1.0, "there is heat to compare"
        own = cv2.resize(cells[number], (64, 64), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(own / own.max(), expected, atol=1e-4)
        served = answer["heatmap"][number].numpy()
        np.testing.assert_allclose(served[:, ::-1] if view.endswith("_R") else served, expected, atol=1e-4)
    np.testing.assert_allclose(answer["probabilities"], tf.nn.softmax(network(inputs)), atol=1e-5)


def test_what_does_not_fit_is_refused(network: keras.Model, exam_networks: dict[str, keras.Model]) -> None:
    with pytest.raises(ValidationError, match="grad_cam reads stage 5 only"):
        HeatMapConfig(stages=(4,))
    for stages in ((), (5, 4), (4, 4), (2,)):
        with pytest.raises(ValidationError, match="stages"):
            HeatMapConfig.model_validate({"method": "layer_cam", "stages": stages})
    with pytest.raises(ValueError, match=r"The network has no stage 4 for its heat maps: change ensemble.heat_map"):
        packed_functions(exam_networks["CC_R"], (4,))
    cut = dict.fromkeys(VIEWS, view_functions(network))
    with pytest.raises(ValueError, match=r"cut behind stages \[\(5,\)\]. Expected: \(4,\)"):
        ExamModel(cut, IMAGE, ExamSettings("{}", heat_map=HeatMapConfig(method="layer_cam", stages=(4,))))


def test_maps_are_named() -> None:
    assert GRAD_CAM.name == "Grad-CAM, stage 5 of 5"
    assert HeatMapConfig(method="layer_cam", stages=(3, 4)).name == "LayerCAM, stages 3 and 4 of 5"
