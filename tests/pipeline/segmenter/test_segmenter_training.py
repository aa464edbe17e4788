"""Training of the segmenter: samples, augmentation and export; training itself takes too long for a test."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from components.preprocessing.network import GRID
from pipeline.segmenter.__main__ import sites, without_sites
from pipeline.segmenter.augmentation import augmented, unaltered
from pipeline.segmenter.samples import SHAPE, Sample, phantom_samples
from pipeline.segmenter.unet import INPUT_SHAPE, build_unet, frozen_graph


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return list(phantom_samples(3, 1))


def test_phantoms_become_samples_with_the_chest_wall_at_the_left(samples: list[Sample]) -> None:
    assert [sample.name.split("/")[1] for sample in samples] == ["MLO_R", "MLO_L", "CC_L"] * 3
    for sample in samples:
        assert sample.grey.shape == sample.mask.shape == sample.muscle.shape == SHAPE
        if sample.muscle.any():
            left, right = np.split(sample.muscle[: SHAPE[0] // 2], 2, axis=1)
            assert left.sum() > 3 * right.sum()
            assert (sample.muscle <= sample.mask + 0.5).all()


def test_augmentation_depends_on_the_seed_alone(samples: list[Sample]) -> None:
    def draw(seed: int) -> tuple[np.ndarray, np.ndarray] | None:
        return augmented(np.random.default_rng(seed), samples[0], 1.0)

    drawn = [draw(seed) for seed in range(12)]
    again = draw(3)
    assert drawn[3] is not None
    assert again is not None
    np.testing.assert_array_equal(drawn[3][0], again[0])
    kept = [pair for pair in drawn if pair is not None]
    assert len(kept) > 8
    for channels, muscle in kept:
        assert channels.shape == (*GRID, 3)
        assert channels.dtype == np.float32
        assert np.isfinite(channels).all()
        assert muscle.min() >= 0
        assert muscle.max() <= 1
    assert len({muscle.sum() for _, muscle in kept}) > 8


def test_plain_is_on_the_networks_grid(samples: list[Sample]) -> None:
    channels, muscle = unaltered(samples[0])
    assert channels.shape == (*GRID, 3)
    assert muscle.shape == GRID


def test_opencv_computes_what_tensorflow_does() -> None:
    model = build_unet()
    rng = np.random.default_rng(0)
    model(rng.normal(size=(4, *INPUT_SHAPE)).astype(np.float32), training=True)  # statistics other than 0 and 1
    inputs = rng.random((1, *INPUT_SHAPE), np.float32)
    data = frozen_graph(model)
    assert frozen_graph(model) == data
    net = cv2.dnn.readNetFromTensorflow(np.frombuffer(data, np.uint8))
    net.setInput(np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)))
    expected = model(inputs, training=False).numpy()
    np.testing.assert_allclose(net.forward().transpose(0, 2, 3, 1), expected, atol=1e-4)
    assert np.ptp(expected) > 0.1


def test_a_network_kept_from_a_site_sees_none_of_its_films(samples: list[Sample]) -> None:
    drawn = [replace(samples[0], name=name) for name in ("A_0002_1", "A_0003_1", "B_3620_1", "D_4502_1")]
    films = [replace(samples[2], name=name) for name in ("A_0010_1/CC_L", "D_4600_1/CC_L", "D_4601_1/MLO_R")]
    folds = sites(drawn)
    assert {name: [s.name for s in unseen] for name, (_, unseen) in folds.items()} == {
        "site_A": ["A_0002_1", "A_0003_1"],
        "site_B": ["B_3620_1"],
        "site_D": ["D_4502_1"],
    }
    for seen, unseen in folds.values():
        assert sorted(s.name for s in [*seen, *unseen]) == [s.name for s in drawn]
    assert [f.name for f in without_sites(films, folds["site_D"][1], True)] == ["A_0010_1/CC_L"]
    assert [f.name for f in without_sites(films, folds["site_B"][1], True)] == [f.name for f in films]
    assert without_sites(films, folds["site_D"][1], False) == films
