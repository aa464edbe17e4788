"""The texture features of TensorFlow equal those of scikit-image, scipy and numpy."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.exam_model.preparation import prepare_file
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from components.texture.features import FEATURES, texture_features
from schema.features import VIEWS
from tests.components.texture.pictures import drawn_breast
from tests.components.texture.reference import reference_features

SIDE = 128
LEFT = VIEWS.index("CC_L")
BROWSE = Path("../shared/data/ddsm_browse")
Measure = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def measure() -> Measure:
    spec = [tf.TensorSpec([None, SIDE, SIDE, 1], tf.uint8), tf.TensorSpec([None], tf.int32)]
    features = tf.function(texture_features, input_signature=spec, autograph=False)

    def run(pictures: Sequence[np.ndarray], views: Sequence[str] | None = None) -> np.ndarray:
        rows = [LEFT] * len(pictures) if views is None else [VIEWS.index(view) for view in views]
        images = np.array(pictures, np.uint8).reshape(-1, SIDE, SIDE, 1)
        return features(images, np.array(rows, np.int32)).numpy()

    return run


def assert_equal_features(found: np.ndarray, expected: np.ndarray) -> None:
    """A difference counts against the size of the feature, or against 1 where it is smaller."""
    difference = np.abs(found - expected) / np.maximum(np.abs(expected), 1)
    worst = int(difference.argmax())
    assert difference[worst] < 1e-4, f"{FEATURES[worst]}: {found[worst]} is not {expected[worst]}"


@pytest.mark.parametrize("density", [0.05, 0.5, 1.2])
def test_every_feature_equals_that_of_other_peoples_code(measure: Measure, density: float) -> None:
    picture = drawn_breast(SIDE, 3, density)
    expected = reference_features(picture)
    assert expected.shape == (len(FEATURES),)
    assert_equal_features(measure([picture])[0], expected)


def odd_pictures() -> dict[str, np.ndarray]:
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    thin = np.zeros((SIDE, SIDE), np.uint8)
    thin[:, :3] = 200
    dark = np.random.default_rng(2).integers(0, 5, (SIDE, SIDE)).astype(np.uint8)
    small = np.pad(drawn_breast(96, 5)[:, :80], ((0, 32), (0, 48)))
    return {"noise": noise, "thin": thin, "dark": dark, "small": small}


@pytest.mark.parametrize("name", odd_pictures())
def test_odd_pictures_equal_the_reference(measure: Measure, name: str) -> None:
    picture = odd_pictures()[name]
    assert_equal_features(measure([picture])[0], reference_features(picture))


@pytest.mark.parametrize("grey", [0, 1, 100, 255])
def test_a_flat_picture_gives_finite_features_equal_to_the_reference(measure: Measure, grey: int) -> None:
    picture = np.full((SIDE, SIDE), grey, np.uint8)
    found = measure([picture])[0]
    assert np.isfinite(found).all()
    assert_equal_features(found, reference_features(picture))
    named = dict(zip(FEATURES, found, strict=True))
    assert named["grey/mean"] == pytest.approx(grey, rel=1e-6)
    assert named["grey/area"] == (1 if grey else 0)


def test_one_bright_pixel_gives_finite_features(measure: Measure) -> None:
    picture = np.zeros((SIDE, SIDE), np.uint8)
    picture[60, 0] = 255
    assert_equal_features(measure([picture])[0], reference_features(picture))


def test_a_right_breast_is_measured_as_its_mirror_image(measure: Measure) -> None:
    picture = drawn_breast(SIDE, 4)
    found = measure([picture, picture[:, ::-1]], ["MLO_L", "MLO_R"])
    np.testing.assert_array_equal(found[0], found[1])


def test_the_batch_does_not_change_a_feature(measure: Measure) -> None:
    pictures = [drawn_breast(SIDE, seed) for seed in range(5)]
    together = measure(pictures)
    alone = np.concatenate([measure([picture]) for picture in pictures])
    np.testing.assert_array_equal(together, alone)


def test_no_picture_gives_no_row(measure: Measure) -> None:
    assert measure([]).shape == (0, len(FEATURES))


def test_bands_separate_structures_by_size(measure: Measure) -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    fine, coarse = (
        (128 + 60 * np.sin(2 * np.pi * columns / period)).astype(np.uint8) + 0 * rows.astype(np.uint8)
        for period in (4, 40)
    )
    found = [dict(zip(FEATURES, row, strict=True)) for row in measure([fine, coarse])]
    assert found[0]["band_0_1/deviation"] > 5 * found[0]["band_4_8/deviation"]
    assert found[1]["band_4_8/deviation"] > 5 * found[1]["band_0_1/deviation"]


def test_the_names_are_unique() -> None:
    assert len(set(FEATURES)) == len(FEATURES) == 157


@pytest.mark.skipif(not BROWSE.is_dir(), reason="needs ../shared/data/ddsm_browse")
def test_real_exams_equal_the_reference(measure: Measure) -> None:
    with (BROWSE / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::143]  # eight views
    recipe = PreprocessingRecipe(preprocess=PreprocessConfig(output_size=SIDE, keep_aspect=False))
    views = [row["view"] for row in rows]
    pictures = [
        prepare_file(BROWSE / row["file"], view, recipe).result.image for row, view in zip(rows, views, strict=True)
    ]
    for view, picture, found in zip(views, pictures, measure(pictures, views), strict=True):
        assert_equal_features(found, reference_features(picture[:, ::-1] if view.endswith("R") else picture))
