"""Weights of a pushed exam model, loaded into a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.exam_ensemble.ensemble import view_functions
from components.exam_model.signatures import ExamModel, ExamSettings, export
from components.trainer.checkpoint import pushed_weights
from components.trainer.config import NetworkConfig
from components.trainer.network import build_network
from components.transform.config import ImageConfig
from schema.features import VIEWS

pytestmark = pytest.mark.slow

IMAGE = ImageConfig(size=32)
NARROW = NetworkConfig(width=0.0625, blocks=1)


def test_a_pushed_models_weights_fit_a_network_of_its_size_alone(tmp_path: Path) -> None:
    network = build_network(IMAGE, NARROW, seed=5)
    random = np.random.default_rng(0)
    network.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in network.get_weights()])
    shared, second = view_functions(network), view_functions(build_network(IMAGE, NARROW, seed=6))
    functions = dict.fromkeys(VIEWS, shared) | {"MLO_R": second, "MLO_L": second}
    export(ExamModel(functions, IMAGE, ExamSettings(mirrored=True)), str(tmp_path))

    fresh = build_network(IMAGE, NARROW, seed=7)
    before = fresh.get_weights()
    found = pushed_weights(str(tmp_path), ("CC_R", "CC_L"), fresh)
    assert found is not None
    for weight, expected in zip(found, network.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    for weight, expected in zip(fresh.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    mlo = pushed_weights(str(tmp_path), ("MLO_R", "MLO_L"), fresh)
    assert mlo is not None
    assert any((a != b).any() for a, b in zip(mlo, network.get_weights(), strict=True))
    for changed in ({"width": 0.125}, {"blocks": 2}):
        other = build_network(IMAGE, NARROW.model_copy(update=changed))
        assert pushed_weights(str(tmp_path), ("CC_R", "CC_L"), other) is None
    ordinal = build_network(IMAGE, NARROW, head="cumulative")
    assert pushed_weights(str(tmp_path), ("CC_R", "CC_L"), ordinal) is None
    for other_sides in (("CC_R",), ("CC_L",), VIEWS):
        assert pushed_weights(str(tmp_path), other_sides, fresh) is None


def test_one_network_for_all_views_starts_from_one_with_the_same_head(tmp_path: Path) -> None:
    network = build_network(IMAGE, NARROW, seed=5, head="cumulative")
    export(ExamModel(dict.fromkeys(VIEWS, view_functions(network)), IMAGE, ExamSettings(mirrored=True)), str(tmp_path))
    found = pushed_weights(str(tmp_path), VIEWS, build_network(IMAGE, NARROW, seed=6, head="cumulative"))
    assert found is not None
    for weight, expected in zip(found, network.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert pushed_weights(str(tmp_path), VIEWS, build_network(IMAGE, NARROW, seed=6)) is None
    assert pushed_weights(str(tmp_path), ("CC_R", "CC_L"), network) is None
