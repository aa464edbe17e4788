"""Losses against scikit-learn and against sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import tensorflow as tf

from components.trainer.config import TrainConfig
from components.trainer.optimization import per_example_loss, targets_of

LOGITS = np.random.default_rng(0).normal(0, 2, (20, 4)).astype(np.float32)
LABELS = np.arange(20, dtype=np.int64) % 4


def losses(config: TrainConfig, dtype: tf.DType = tf.float32) -> np.ndarray:
    return per_example_loss(tf.constant(LOGITS, dtype), tf.constant(LABELS), config).numpy()


def test_plain_cross_entropy_is_scikit_learns() -> None:
    ours = losses(TrainConfig())
    assert ours.shape == (20,)
    theirs = sklearn.metrics.log_loss(LABELS, scipy.special.softmax(LOGITS.astype(float), axis=1))
    assert ours.mean() == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "rows"),
    [
        ("cross_entropy", [[0.925, 0.025, 0.025, 0.025], [0.025, 0.925, 0.025, 0.025]]),
        ("soft_ordinal", [[0.9, 0.1, 0.0, 0.0], [0.05, 0.9, 0.05, 0.0]]),
        ("squared_emd", [[0.9, 0.1, 0.0, 0.0], [0.05, 0.9, 0.05, 0.0]]),
    ],
)
def test_smoothing_goes_to_all_classes_or_to_neighbours(loss: str, rows: list[list[float]]) -> None:
    config = TrainConfig(loss=loss, label_smoothing=0.1)
    targets = targets_of(tf.constant(LABELS), config).numpy()
    np.testing.assert_allclose(targets[:2], rows, rtol=1e-6)
    np.testing.assert_allclose(targets[2:4], np.array(rows)[::-1, ::-1], rtol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-6)


def test_smoothed_cross_entropy_is_the_sum_written_out() -> None:
    config = TrainConfig(loss="soft_ordinal", label_smoothing=0.2)
    targets = targets_of(tf.constant(LABELS), config).numpy()
    expected = -(targets * scipy.special.log_softmax(LOGITS.astype(float), axis=1)).sum(axis=1)
    np.testing.assert_allclose(losses(config), expected, rtol=1e-5)


def test_squared_emd_punishes_distance() -> None:
    config = TrainConfig(loss="squared_emd")
    sure = np.where(np.eye(4) > 0, 50.0, 0.0).astype(np.float32)  # one row sure of each class
    values = per_example_loss(tf.constant(sure), tf.zeros(4, tf.int64), config).numpy()
    np.testing.assert_allclose(values, [0, 1, 2, 3], atol=1e-5)


def test_half_precision_logits_lose_nothing_in_the_loss() -> None:
    half = LOGITS.astype(np.float16)
    ours = per_example_loss(tf.constant(half), tf.constant(LABELS), TrainConfig())
    assert ours.dtype == tf.float32
    full = per_example_loss(tf.constant(half.astype(np.float32)), tf.constant(LABELS), TrainConfig())
    np.testing.assert_array_equal(ours, full)
