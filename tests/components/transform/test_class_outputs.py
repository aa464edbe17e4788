"""Probabilities, scores and grades from the outputs of softmax and cumulative heads, against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components.transform.class_outputs import (
    class_log_probabilities,
    class_probabilities,
    class_scores,
    head_of,
    likeliest_classes,
    output_count,
)

ANY_LOGITS = st.floats(-1e4, 1e4, width=32)


def falling(seed: int) -> np.ndarray:
    """Return logits of P(y > k) that fall with k, as those of a real ordinal model."""
    return -np.sort(-np.random.default_rng(seed).normal(0, 3, (50, 3)), axis=1).astype(np.float32)


def test_falling_thresholds_give_the_logistic_ordinal_model() -> None:
    """P(class) of the proportional-odds model: differences of the logistic distribution at its cut points."""
    outputs = falling(1)
    edges = np.concatenate([np.full((50, 1), -np.inf), -outputs.astype(float), np.full((50, 1), np.inf)], axis=1)
    expected = np.diff(scipy.stats.logistic.cdf(edges), axis=1)
    np.testing.assert_allclose(class_probabilities(tf.constant(outputs)), expected, atol=1e-6)
    np.testing.assert_array_equal(likeliest_classes(tf.constant(outputs)), expected.argmax(axis=1))
    assert set(expected.argmax(axis=1)) == {0, 1, 2, 3}


def test_rising_thresholds_count_as_no_probability_between_them() -> None:
    outputs = np.array([[0.0, 2.0, -1.0]], np.float32)  # P(y > A) = .5 and P(y > B) = .88 leave nothing for B
    above = scipy.special.expit(outputs[0].astype(float))
    shares = np.array([1 - above[0], 0.0, above[1] - above[2], above[2]])
    np.testing.assert_allclose(class_probabilities(tf.constant(outputs))[0], shares / shares.sum(), rtol=1e-6)
    assert class_log_probabilities(tf.constant(outputs)).numpy()[0, 1] == pytest.approx(np.log(1e-7))


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.sampled_from([3, 4])), elements=ANY_LOGITS))
def test_any_outputs_give_a_distribution_and_finite_gradients(outputs: np.ndarray) -> None:
    logits = tf.constant(outputs)
    found = class_probabilities(logits).numpy()
    assert found.shape == (len(outputs), 4)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    chosen = likeliest_classes(logits).numpy()
    np.testing.assert_allclose(found[np.arange(len(found)), chosen], found.max(axis=1), atol=1e-7)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        scores = class_scores(logits)
        total = tf.reduce_sum(scores * tf.one_hot(chosen, 4))
    gradient = tape.gradient(total, logits).numpy()
    assert np.abs(gradient).max() == 1.0
    if outputs.shape[1] == 3:
        assert class_log_probabilities(logits).numpy().min() >= np.log(1e-7) - 1e-4
        np.testing.assert_array_equal(gradient, np.where(chosen[:, None] > np.arange(3), 1.0, -1.0))


def test_softmax_outputs_are_what_they_were() -> None:
    outputs = np.random.default_rng(0).normal(0, 4, (20, 4)).astype(np.float32)
    logits = tf.constant(outputs)
    np.testing.assert_array_equal(class_probabilities(logits), tf.nn.softmax(logits))
    np.testing.assert_array_equal(class_scores(logits), outputs)
    np.testing.assert_allclose(class_log_probabilities(logits), scipy.special.log_softmax(outputs, axis=1), rtol=1e-5)
    half = tf.constant(outputs, tf.float16)
    assert class_log_probabilities(half).dtype == tf.float32


def test_half_precision_thresholds_are_computed_in_single_precision() -> None:
    half = tf.constant([[9.0, 8.9, -12.0]], tf.float16)
    found = class_probabilities(half)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, class_probabilities(tf.cast(half, tf.float32)))


def test_a_small_probability_of_the_lowest_class_is_exact() -> None:
    found = class_probabilities(tf.constant([[20.0, 20.0, 20.0], [-20.0, -20.0, -20.0]])).numpy()
    assert found[0, 0] == pytest.approx(scipy.special.expit(-20.0), rel=1e-5)
    assert found[1, 3] == pytest.approx(scipy.special.expit(-20.0), rel=1e-5)


def test_the_number_of_outputs_names_the_head() -> None:
    assert (head_of(output_count("softmax")), head_of(output_count("cumulative"))) == ("softmax", "cumulative")
    with pytest.raises(ValueError, match=r"4 outputs \(softmax head\) or 3 \(cumulative head\). Received: 5"):
        class_probabilities(tf.zeros((1, 5)))
