"""Results of tf.Transform, run by Beam, on a small data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.transform.preprocessing import (
    AGE_SCALED,
    IMAGE_DEVIATION,
    IMAGE_MEAN,
    LABEL,
    SYSTEM_INDEX,
    VIEW_INDEX,
    index_of,
)
from schema import features as f
from tests.pictures import decode_picture

if TYPE_CHECKING:
    from tests.components.conftest import SmallDataSet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def by_image(small_data_set: SmallDataSet) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each raw row with its transformed values."""
    transformed = {row[f.IMAGE]: row for row in small_data_set.transformed}
    return [(row, transformed[row[f.IMAGE]]) for row in small_data_set.rows]


def test_labels_and_views_are_indices_in_the_contracts_order(by_image: list[tuple[dict, dict]]) -> None:
    assert len(by_image) == 20
    for raw, done in by_image:
        assert f.DENSITY_CLASSES[done[LABEL]] == raw[f.DENSITY].decode()
        assert f.VIEWS[done[VIEW_INDEX]] == raw[f.VIEW].decode()
        assert done[f.EXAM_ID] == raw[f.EXAM_ID]


def test_systems_are_numbered_by_frequency(small_data_set: SmallDataSet, by_image: list[tuple[dict, dict]]) -> None:
    output = tft.TFTransformOutput(small_data_set.transform_folder)
    vocabulary = output.vocabulary_by_name("acquisition_systems")
    assert vocabulary == [b"GE Senograph DS ADS 53.40", b"IMS Giotto Image SDL"]
    for raw, done in by_image:
        assert vocabulary[done[SYSTEM_INDEX]] == raw[f.ACQUISITION_SYSTEM]


def test_ages_are_z_scores_of_the_known_ones_and_unknown_is_zero(by_image: list[tuple[dict, dict]]) -> None:
    known = np.array([raw[f.PATIENT_AGE] for raw, _ in by_image if raw[f.PATIENT_AGE] >= 0], np.float64)
    for raw, done in by_image:
        age = raw[f.PATIENT_AGE]
        expected = (age - known.mean()) / known.std() if age >= 0 else 0.0
        assert done[AGE_SCALED] == pytest.approx(expected, abs=1e-4)


def test_moments_are_those_of_all_pixels(by_image: list[tuple[dict, dict]]) -> None:
    images = [decode_picture(raw[f.IMAGE], cv2.IMREAD_GRAYSCALE) for raw, _ in by_image]
    for _, done in by_image:
        assert done[IMAGE_MEAN] == pytest.approx(np.mean(images), rel=1e-4)
        assert done[IMAGE_DEVIATION] == pytest.approx(np.std(images), rel=1e-3)


def test_the_saved_graph_puts_an_unseen_system_in_the_last_bucket(small_data_set: SmallDataSet) -> None:
    output = tft.TFTransformOutput(small_data_set.transform_folder)
    row = {**small_data_set.rows[0], f.ACQUISITION_SYSTEM: b"Acme X-1"}
    dtypes = {name: spec.dtype for name, spec in output.raw_feature_spec().items()}
    done = output.transform_features_layer()({name: tf.constant([row[name]], dtypes[name]) for name in dtypes})
    assert done[SYSTEM_INDEX].numpy().tolist() == [2]


def test_a_name_that_is_not_there_has_no_index() -> None:
    values = tf.constant(["D", "E", "", "A"])
    assert index_of(values, f.DENSITY_CLASSES).numpy().tolist() == [3, -1, -1, 0]
