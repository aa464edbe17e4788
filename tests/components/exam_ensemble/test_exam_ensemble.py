"""Trained Keras networks taken apart and put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from components.exam_ensemble.ensemble import load_exam_model, packed_functions, view_functions
from components.exam_model.signatures import ExamModel
from components.trainer.config import NetworkConfig
from components.trainer.network import build_network
from components.transform.config import ImageConfig
from schema.features import VIEWS

pytestmark = pytest.mark.slow

NARROW = NetworkConfig(width=0.0625, blocks=2)  # a stage has a block of either kind, as with three


def test_the_real_networks_parts_equal_the_network() -> None:
    network = build_network(ImageConfig(size=32), NARROW, seed=2)
    random = np.random.default_rng(0)
    network.set_weights(  # moving statistics as after a training, and no two weights alike
        [w + random.uniform(0.1, 0.5, w.shape) if w.ndim == 1 else w for w in network.get_weights()]
    )
    parts = view_functions(network, packed_functions(network))
    images = random.uniform(0, 1, (3, 32, 32, 1)).astype(np.float32)
    activations, statistics = parts.features(images)
    np.testing.assert_allclose(
        activations, network.get_layer("features").predict_on_batch(images), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(parts.to_logits(activations)[0], network.predict_on_batch(images), rtol=1e-4, atol=1e-4)
    inner = network.get_layer("features")
    layers = keras.Model(inner.inputs, [inner.get_layer(f"conv{stage}_2_add").output for stage in (2, 3)])
    found = [np.asarray(layer) for layer in layers(images)]
    expected = [part for layer in found for part in (layer.mean((1, 2)), layer.std((1, 2)))]
    np.testing.assert_allclose(statistics, np.concatenate(expected, axis=1), rtol=1e-3, atol=1e-4)
    assert parts.statistics == statistics.shape[1]


def test_networks_of_one_architecture_share_functions_and_keep_their_weights() -> None:
    networks = [build_network(ImageConfig(size=32), NARROW, seed) for seed in (1, 2)]
    shared = packed_functions(networks[0])
    images = np.random.default_rng(3).uniform(0, 1, (2, 32, 32, 1)).astype(np.float32)
    for network in networks:
        parts = view_functions(network, shared)
        np.testing.assert_allclose(
            parts.to_logits(parts.features(images)[0])[0], network.predict_on_batch(images), rtol=1e-4, atol=1e-4
        )
    with pytest.raises(ValueError, match="one architecture"):
        view_functions(build_network(ImageConfig(size=32), NARROW.model_copy(update={"width": 0.125})), shared)


def saved(networks: dict[str, keras.Model], folder: Path) -> dict[str, str]:
    files = {view: str(folder / f"{view}.keras") for view in networks}
    for view, network in networks.items():
        network.save(files[view])
    return files


def test_a_missing_view_is_named(exam_networks: dict[str, Any], tmp_path: Path) -> None:
    files = saved({view: exam_networks[view] for view in VIEWS if view != "MLO_L"}, tmp_path)
    with pytest.raises(ValueError, match=r"Missing: \['MLO_L'\]"):
        load_exam_model(files, ImageConfig(size=64))
    with pytest.raises(ValueError, match="Missing"):
        ExamModel({}, ImageConfig(size=64))


def test_a_network_of_another_input_is_refused(exam_networks: dict[str, Any], tmp_path: Path) -> None:
    files = saved({"CC_R": exam_networks["CC_R"]}, tmp_path)
    with pytest.raises(ValueError, match=r"Network CC_R takes \(None, 64, 64, 1\)\. Expected: \(None, 64, 64, 3\)"):
        load_exam_model(files, ImageConfig(size=64, channels=3))
