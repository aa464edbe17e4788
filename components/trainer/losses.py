"""The loss of each example, from logits and the density class."""

from __future__ import annotations

import tensorflow as tf

from components.trainer.config import TrainConfig
from schema.features import DENSITY_CLASSES

_CLASSES = len(DENSITY_CLASSES)


def targets_of(labels: tf.Tensor, config: TrainConfig) -> tf.Tensor:
    """Makes the distribution that the network learns for each label.

    Args:
        labels: int64 [N], indices in DENSITY_CLASSES.
        config: ``loss`` and ``label_smoothing``.

    Returns:
        float32 [N, 4], each row of sum 1. ``label_smoothing`` is taken from the label and given to all classes alike
        or, with an ordinal loss, to its neighbours: readers who differ mostly differ by one class.
    """
    hard = tf.one_hot(labels, _CLASSES)
    if config.loss == "cross_entropy":
        others = tf.fill(tf.shape(hard), 1.0 / _CLASSES)
    else:
        distance = tf.abs(tf.range(_CLASSES, dtype=labels.dtype)[tf.newaxis] - labels[:, tf.newaxis])
        neighbours = tf.cast(tf.equal(distance, 1), tf.float32)
        others = neighbours / tf.reduce_sum(neighbours, axis=1, keepdims=True)
    return hard * (1.0 - config.label_smoothing) + others * config.label_smoothing


def per_example_loss(logits: tf.Tensor, labels: tf.Tensor, config: TrainConfig) -> tf.Tensor:
    """Computes the training loss of each example, before class weights.

    Args:
        logits: [N, 4], any floating type.
        labels: int64 [N], indices in DENSITY_CLASSES.
        config: ``loss`` and ``label_smoothing``.

    Returns:
        float32 [N]. ``cross_entropy`` and ``soft_ordinal``: cross-entropy to the targets. ``squared_emd``: the squared
        distance between the cumulative distributions of prediction and target (Hou, Yu, Samaras, Squared Earth Mover's
        Distance-based Loss for Training Deep Neural Networks, 2016, arXiv 1611.05916).
    """
    logits = tf.cast(logits, tf.float32)  # half precision is too coarse for sums of exponentials
    targets = targets_of(labels, config)
    if config.loss == "squared_emd":
        difference = tf.cumsum(tf.nn.softmax(logits) - targets, axis=1)
        return tf.reduce_sum(tf.square(difference), axis=1)
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)
