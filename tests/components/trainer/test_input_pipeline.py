"""Batches of one view: which records, what order, equal under equal seeds."""

from __future__ import annotations

from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.config import TrainConfig
from components.trainer.input_pipeline import ViewData, batches, labels_of
from components.transform.config import ImageConfig
from schema import features as f

CONFIG = TrainConfig(image=ImageConfig(size=64), batch_size=2, seed=4)


@pytest.fixture(scope="module")
def data(small_data_set: Any) -> ViewData:
    return ViewData(small_data_set.files, "MLO_R", tft.TFTransformOutput(small_data_set.transform_folder))


def epoch(dataset: tf.data.Dataset) -> tuple[np.ndarray, list[int]]:
    parts = [(images.numpy(), labels.numpy()) for images, labels in dataset]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]).tolist()


def test_evaluation_gives_the_views_records_in_order_and_unaltered(small_data_set: Any, data: ViewData) -> None:
    rows = [row for row in small_data_set.rows if row[f.VIEW] == b"MLO_R"]
    labels = [f.DENSITY_CLASSES.index(row[f.DENSITY].decode()) for row in rows]
    assert labels_of(data) == labels
    dataset = batches(data, CONFIG, training=False)
    assert [len(y) for _, y in dataset] == [2, 2, 1]
    images, found = epoch(dataset)
    assert found == labels
    for image, row in zip(images, rows, strict=True):
        grey = cv2.imdecode(np.frombuffer(row[f.IMAGE], np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_allclose(image[..., 0], grey / 255.0, atol=1e-6)


@pytest.mark.parametrize("cache", [False, True])
def test_training_is_equal_under_the_seed_whatever_ran_before(data: ViewData, cache: bool) -> None:
    config = CONFIG.model_copy(update={"cache_images": cache})
    keras.utils.set_random_seed(99)  # as the training of another view leaves it
    dataset = batches(data, config, training=True)
    first = [epoch(dataset) for _ in range(2)]
    keras.utils.set_random_seed(7)
    dataset = batches(data, config, training=True)
    second = [epoch(dataset) for _ in range(2)]
    for (images, labels), (again, labels_again) in zip(first, second, strict=True):
        assert labels == labels_again
        np.testing.assert_array_equal(images, again)
    assert sorted(first[0][1]) == sorted(labels_of(data))
    assert not np.array_equal(first[0][0], first[1][0]), "each epoch is drawn anew"


def test_another_seed_gives_other_images(data: ViewData) -> None:
    ours, _ = epoch(batches(data, CONFIG, training=True))
    others, _ = epoch(batches(data, CONFIG.model_copy(update={"seed": 5}), training=True))
    assert not np.array_equal(ours, others)
