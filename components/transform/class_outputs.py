"""The meaning of a network's outputs: probabilities, scores and grades of the density classes.

A network with four outputs has a softmax head: one logit per class. A network with three outputs has a cumulative
head: the logits of P(y > A), P(y > B) and P(y > C). The number of outputs tells the two apart, so a trained network
needs no other description. Training, explanation and every serving signature call these functions.

Source of the cumulative head: Frank, Hall, A Simple Approach to Ordinal Classification, ECML 2001 (one binary
classifier per threshold, class probabilities by difference).
"""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from components.transform.config import Head
from schema.features import DENSITY_CLASSES

_CLASSES: Final = len(DENSITY_CLASSES)
_THRESHOLDS: Final = _CLASSES - 1
_SMALLEST: Final = 1e-7  # a right class of probability 0 costs 16 nats, not infinity, as in components.statistics
# Row k, column j: +1 if class k lies above threshold j.
_SIGNS: Final = tuple(tuple(1.0 if k > j else -1.0 for j in range(_THRESHOLDS)) for k in range(_CLASSES))


def output_count(head: Head) -> int:
    """Return the number of outputs of a network with this head."""
    return _CLASSES if head == "softmax" else _THRESHOLDS


def head_of(outputs: int | None) -> Head:
    """Return the head of a network with this number of outputs.

    Raises:
        ValueError: No head has this number of outputs.
    """
    if outputs == _CLASSES:
        return "softmax"
    if outputs == _THRESHOLDS:
        return "cumulative"
    raise ValueError(
        f"A network has {_CLASSES} outputs (softmax head) or {_THRESHOLDS} (cumulative head). Received: {outputs}"
    )


def class_probabilities(outputs: tf.Tensor) -> tf.Tensor:
    """Return the probabilities of the classes.

    Args:
        outputs: Outputs of a network, [N, 4] or [N, 3], any floating type.

    Returns:
        [N, 4], rows sum to 1. Softmax head: the softmax, in the type of the outputs. Cumulative head: float32, the
        differences of neighbouring P(y > k). Three separate logits need not fall from A to C, so negative differences
        count as 0 and the rest is scaled to the sum 1.
    """
    if head_of(outputs.shape[-1]) == "softmax":
        return tf.nn.softmax(outputs)
    outputs = tf.cast(outputs, tf.float32)
    above = tf.sigmoid(outputs)
    lowest = tf.sigmoid(-outputs[:, :1])  # 1 - P(y > A), exact where it is small
    differences = tf.concat([lowest, above[:, :-1] - above[:, 1:], above[:, -1:]], axis=1)
    shares = tf.nn.relu(differences)
    return shares / tf.reduce_sum(shares, axis=1, keepdims=True)  # the sum is never below 1, but for rounding


def class_log_probabilities(outputs: tf.Tensor) -> tf.Tensor:
    """Return the logarithms of :func:`class_probabilities`, float32 [N, 4]; of a cumulative head at least -16.1."""
    if head_of(outputs.shape[-1]) == "softmax":
        return tf.nn.log_softmax(tf.cast(outputs, tf.float32))
    return tf.math.log(tf.maximum(class_probabilities(outputs), _SMALLEST))


def likeliest_classes(outputs: tf.Tensor) -> tf.Tensor:
    """Return the index of the likeliest class of each row, int64 [N]; of equal probabilities the less dense class."""
    softmax = head_of(outputs.shape[-1]) == "softmax"
    return tf.argmax(outputs if softmax else class_probabilities(outputs), axis=1)


def class_scores(outputs: tf.Tensor) -> tf.Tensor:
    """Return the scores that Grad-CAM differentiates: linear in the outputs, so gradients are exact and never vanish.

    Args:
        outputs: Outputs of a network, [N, 4] or [N, 3].

    Returns:
        [N, 4]. Softmax head: the logits. Cumulative head: the sum of the three logits, each with the sign that speaks
        for the class: plus for a threshold below it, minus for one above it. For B it is z(y > A) - z(y > B) -
        z(y > C). The log-odds of the class itself would have no finite gradient where its probability is 0.
    """
    if head_of(outputs.shape[-1]) == "softmax":
        return outputs
    return tf.matmul(outputs, tf.constant(_SIGNS, outputs.dtype), transpose_b=True)
