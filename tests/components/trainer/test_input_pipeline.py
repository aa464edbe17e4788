"""Batches of the views of a network: their records, their order, repeatability by seed, shares of the replicas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.common.shards import read_shard, write_shard
from components.common.soft_labels import with_shares
from components.trainer.config import TrainConfig
from components.trainer.input_pipeline import PADDING, Batches, ViewData, array_batches, batches, read_records
from components.transform.config import ImageConfig
from schema import features as f
from tests.pictures import decode_picture

if TYPE_CHECKING:
    from tests.components.conftest import SmallDataSet

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(image=ImageConfig(size=64), batch_size=2, epochs=2, seed=4)


@pytest.fixture(scope="module")
def data(small_data_set: SmallDataSet) -> ViewData:
    return ViewData(small_data_set.files, ("MLO_R",), tft.TFTransformOutput(small_data_set.transform_folder))


Rows = list[tuple[np.ndarray, np.ndarray]]


def stream(given: Batches, first_epoch: int = 0, worker: int = 0, workers: int = 1) -> Rows:
    """Read all batches from an epoch on, as one of several workers with one replica each."""
    context = tf.distribute.InputContext(workers, worker, workers)
    return [(images.numpy(), labels.numpy()) for images, labels in given.stream(first_epoch, context)]


def assert_equal(first: Rows, second: Rows) -> None:
    assert len(first) == len(second)
    for (images, labels), (others, other_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(labels, other_labels)
        np.testing.assert_array_equal(images, others)


def test_evaluation_gives_the_views_records_in_order_and_unaltered(
    small_data_set: SmallDataSet, data: ViewData
) -> None:
    rows = [row for row in small_data_set.rows if row[f.VIEW] == b"MLO_R"]
    labels = [f.DENSITY_CLASSES.index(row[f.DENSITY].decode()) for row in rows]
    records = read_records(data)
    assert list(records.labels) == labels
    assert records.encoded_bytes == sum(len(row[f.IMAGE]) for row in rows)
    found = batches(data, CONFIG, training=False)
    assert (found.count, found.steps) == (5, 3)
    both = stream(found)
    assert_equal(both[:3], both[3:])
    assert np.concatenate([y for _, y in both[:3]]).tolist() == [*labels, PADDING]
    for image, row in zip(np.concatenate([x for x, _ in both[:3]]), rows, strict=False):
        grey = decode_picture(row[f.IMAGE], cv2.IMREAD_GRAYSCALE)
        np.testing.assert_allclose(image[..., 0], grey / 255.0, atol=1e-6)


@pytest.mark.parametrize(("sides", "network", "images"), [("mirrored", "CC", 10), ("one", "ALL", 20)])
def test_a_network_for_both_sides_sees_right_breasts_mirrored(
    small_data_set: SmallDataSet, data: ViewData, sides: Any, network: str, images: int
) -> None:
    sided = TrainConfig(sides=sides)
    views = sided.views_by_network[network]
    rows = [row for row in small_data_set.rows if row[f.VIEW].decode() in views]
    both = replace(data, views=views, mirrored=sided.mirrors_right)
    found = np.concatenate([x for x, _ in stream(batches(both, CONFIG, training=False), first_epoch=1)])
    assert len(found) == len(rows) == images
    for image, row in zip(found, rows, strict=True):
        grey = decode_picture(row[f.IMAGE], cv2.IMREAD_GRAYSCALE) / 255.0
        np.testing.assert_allclose(image[..., 0], grey[:, ::-1] if row[f.VIEW].endswith(b"_R") else grey, atol=1e-6)
    assert read_records(both).fingerprint != read_records(replace(both, mirrored=False)).fingerprint


@pytest.mark.parametrize(("cache", "memory"), [(False, 2**30), (True, 0), (False, 10_000)])
def test_training_is_equal_under_the_seed_whatever_ran_before(data: ViewData, cache: bool, memory: int) -> None:
    config = CONFIG.model_copy(update={"cache_images": cache})
    records = read_records(data)
    given = batches(data, config, training=True, records=records, memory=memory)
    keras.utils.set_random_seed(99)  # as the training of another view leaves it
    first = stream(given)
    keras.utils.set_random_seed(7)
    assert_equal(first, stream(given))
    assert len(first) == 2 * 3
    labels = sorted(records.labels)
    for epoch in (first[:3], first[3:]):
        rows = np.concatenate([y for _, y in epoch]).tolist()
        assert sorted(rows[:5]) == labels, "each image once"
        assert rows[5] == rows[0], "the last batch is filled from the beginning"
    assert not np.array_equal(first[0][0], first[3][0]), "each epoch is drawn anew"
    # A resumed training goes on as if it had not been stopped.
    assert_equal(first[3:], stream(given, first_epoch=1))


def test_another_seed_gives_other_images(data: ViewData) -> None:
    ours = stream(batches(data, CONFIG, training=True))
    others = stream(batches(data, CONFIG.model_copy(update={"seed": 5}), training=True))
    assert not np.array_equal(ours[0][0], others[0][0])


@pytest.mark.parametrize("training", [True, False])
def test_workers_see_together_what_one_worker_would(training: bool) -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (10, 64, 64, 1)).astype(np.uint8), np.arange(10) % 4
    given = array_batches(images, labels, CONFIG.model_copy(update={"batch_size": 4}), training=training)
    alone = stream(given)
    parts = [stream(given, worker=worker, workers=2) for worker in range(2)]
    together = [(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])) for a, b in zip(*parts, strict=True)]
    assert_equal(alone, together)


def test_shuffling_reaches_the_whole_split() -> None:
    images = np.zeros((200, 32, 32, 1), np.uint8)
    config = TrainConfig(image=ImageConfig(size=32), batch_size=10, epochs=1)
    given = array_batches(images, np.arange(200), config, training=True)
    order = np.concatenate([labels for _, labels in stream(given)])
    assert sorted(order) == list(range(200))
    assert abs(np.corrcoef(order, np.arange(200))[0, 1]) < 0.2


def test_a_split_without_shards_has_no_records(data: ViewData) -> None:
    assert read_records(replace(data, files=())).labels == ()


def test_soft_labels_reach_training_batches_and_leave_evaluation(data: ViewData, tmp_path: Path) -> None:
    changed = []
    for number, file in enumerate(data.files):
        records = []
        for record in read_shard(file):
            example = tf.train.Example.FromString(record)
            feature = example.features.feature
            if feature[f.EXAM_ID].bytes_list.value[0] == b"exam1":
                feature[f.READERS].bytes_list.value[:] = [b"1", b"2", b"3", b"4"]
                feature[f.READINGS].bytes_list.value[:] = [b"A", b"B", b"B", b"B"]
            records.append(with_shares(example.SerializeToString()))
        changed.append(str(tmp_path / "Split-train" / f"{number}.gz"))
        write_shard(changed[-1], records)
    soft = replace(data, files=tuple(changed))
    hard, found = read_records(data), read_records(soft)
    assert (found.are_soft, hard.are_soft) == (True, False)
    assert found.labels == hard.labels
    assert found.fingerprint != hard.fingerprint
    training = batches(soft, CONFIG.model_copy(update={"epochs": 1}), training=True)
    shares = np.concatenate([labels for _, labels in stream(training)])[:5]
    assert shares.dtype == np.float32
    expected = [*np.eye(4, dtype=np.float32)[list(hard.labels)]]
    row = int(np.flatnonzero([0.25 in share for share in shares]).item())
    assert shares[row].tolist() == [0.25, 0.75, 0.0, 0.0]
    others = np.delete(shares, row, axis=0)
    assert sorted(others.tolist()) in [sorted(np.delete(expected, one, axis=0).tolist()) for one in range(5)]
    both = [np.concatenate([y for _, y in stream(batches(one, CONFIG, training=False))]) for one in (data, soft)]
    assert both[0].dtype == both[1].dtype == np.int64
    assert both[0].tolist() == both[1].tolist()
