"""Optimisation of the weights: loss, learning-rate schedule, optimiser, and moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from components.trainer.config import TrainConfig
from schema.features import DENSITY_CLASSES

_CLASSES = len(DENSITY_CLASSES)
# Row k: the neighbouring classes of class k, equally.
_NEIGHBOURS = ((0.0, 1.0, 0.0, 0.0), (0.5, 0.0, 0.5, 0.0), (0.0, 0.5, 0.0, 0.5), (0.0, 0.0, 1.0, 0.0))


def distribution_of(labels: tf.Tensor) -> tf.Tensor:
    """Return the distribution of the classes that labels mean.

    Args:
        labels: int64 [N], indices in DENSITY_CLASSES; or, of soft labels, float32 [N, 4], already the distribution.

    Returns:
        float32 [N, 4].
    """
    return tf.one_hot(labels, _CLASSES) if labels.dtype.is_integer else labels


def targets_of(labels: tf.Tensor, config: TrainConfig) -> tf.Tensor:
    """Return the target distribution of each label.

    Args:
        labels: As in :func:`distribution_of`.
        config: ``loss`` and ``label_smoothing``.

    Returns:
        float32 [N, 4]; each row has the sum 1. ``label_smoothing`` moves this share from the label to all classes
        equally, or to the neighbouring classes with an ordinal loss: readers who disagree mostly differ by one class.
    """
    given = distribution_of(labels)
    if config.loss == "cross_entropy":
        others = tf.fill(tf.shape(given), 1.0 / _CLASSES)
    else:
        others = tf.matmul(given, tf.constant(_NEIGHBOURS))
    return given * (1.0 - config.label_smoothing) + others * config.label_smoothing


def threshold_targets(labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Return the targets of P(y > A), P(y > B) and P(y > C): labels of :func:`distribution_of` to float32 [N, 3].

    ``smoothing`` moves this share of each target to 1/2, as ``BinaryCrossentropy`` of Keras does.
    """
    above = tf.cumsum(distribution_of(labels), axis=1, reverse=True)[:, 1:]
    return above * (1.0 - smoothing) + 0.5 * smoothing


def per_example_loss(logits: tf.Tensor, labels: tf.Tensor, config: TrainConfig) -> tf.Tensor:
    """Compute the training loss of each example, before class weights.

    Args:
        logits: [N, 4], or [N, 3] of a cumulative head; any floating type.
        labels: As in :func:`distribution_of`.
        config: ``head``, ``loss`` and ``label_smoothing``.

    Returns:
        float32 [N]. ``cross_entropy`` and ``soft_ordinal``: cross-entropy to the targets. ``squared_emd``: the squared
        distance between the cumulative distributions of prediction and target (Hou, Yu, Samaras, Squared Earth Mover's
        Distance-based Loss for Training Deep Neural Networks, 2016, arXiv 1611.05916). With a cumulative head, the sum
        of the binary cross-entropies of the three thresholds.
    """
    logits = tf.cast(logits, tf.float32)  # half precision is too coarse for sums of exponentials
    if config.head == "cumulative":
        targets = threshold_targets(labels, config.label_smoothing)
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=1)
    targets = targets_of(labels, config)
    if config.loss == "squared_emd":
        difference = tf.cumsum(tf.nn.softmax(logits) - targets, axis=1)
        return tf.reduce_sum(tf.square(difference), axis=1)
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def learning_rate(config: TrainConfig, epoch: float, validation_losses: Sequence[float]) -> float:
    """Return the learning rate. It depends only on the arguments, so that a resumed training continues in the same way.

    Args:
        config: Schedule and its parameters.
        epoch: Number of finished epochs, from 0; fractional within an epoch, so that ``cosine`` changes in each step.
        validation_losses: Validation loss of each finished epoch.

    Returns:
        Learning rate. ``plateau`` follows ReduceLROnPlateau of Keras: after ``plateau_patience`` epochs without a lower
        loss, it is multiplied by ``plateau_factor``, but never falls below ``minimum_learning_rate``.
    """
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "cosine":
        ramp = 0.1 + 0.9 * epoch / config.warmup_epochs if epoch < config.warmup_epochs else 1.0
        return config.learning_rate * ramp * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
    rate, best, waited = config.learning_rate, math.inf, 0
    for loss in validation_losses:
        if loss < best - 1e-4:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= config.plateau_patience:
            rate = max(rate * config.plateau_factor, min(rate, config.minimum_learning_rate))
            waited = 0
    return rate


_NOT_DECAYED = ["gamma", "beta", "bias"]  # weight decay is for kernels


class DecayedSGD(keras.optimizers.SGD):
    """SGD with the ``decay`` of Keras before version 2.11: each step divides the learning rate by 1 + decay * steps.

    The schedules of Keras cannot do this, because the plateau schedule sets the learning rate between epochs, and the
    decay applies in addition.
    """

    def __init__(self, learning_rate: float, decay: float, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.decay = decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        steps = keras.ops.cast(self.iterations, learning_rate.dtype)
        super().update_step(gradient, variable, learning_rate / (1.0 + self.decay * steps))

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of an equal optimiser."""
        result: dict[str, Any] = super().get_config() | {"decay": self.decay}
        return result


def make_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """Return the optimiser, not built yet.

    Args:
        config: ``optimizer`` and its parameters. The training loop sets the learning rate.

    Returns:
        SGD or Adam. ``weight_decay`` is decoupled (AdamW: Loshchilov, Hutter, 2019, arXiv 1711.05101) and does not
        apply to biases and batch normalisation.
    """
    if config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(config.learning_rate, weight_decay=config.weight_decay or None)
    else:
        optimizer = DecayedSGD(
            config.learning_rate,
            config.decay,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay or None,
        )
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer


class WeightAverage(tf.Module):
    """Exponential moving average of all floating-point weights of a network, with the batch normalisation statistics.

    The averages are evaluated and saved in place of the last weights. Create this module in the scope of the strategy,
    after the network. ``tf.train.Checkpoint(average=...)`` saves the averages, which are variables of the module.

    Source: Polyak, Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM J. Control Optim. 30, 1992.
    """

    def __init__(self, network: keras.Model, decay: float):
        """Start from the weights of the network.

        Args:
            network: The network that is trained.
            decay: Weight of the past in each step, below 1. The first steps use a smaller weight,
                (1 + step) / (10 + step), so that the random initial weights lose their influence quickly.
        """
        super().__init__(name="weight_average")
        self._decay = decay
        averaged: Sequence[keras.Variable] = [v for v in network.variables if tf.as_dtype(v.dtype).is_floating]
        self._current = [variable.value for variable in averaged]
        # Replicas have equal weights, so each averages its own copy without communication.
        self.averages = [
            tf.Variable(variable.value, trainable=False, name=f"average_{number}")
            for number, variable in enumerate(averaged)
        ]

    def update(self, step: tf.Tensor) -> None:
        """Update the averages after a step; call it in the replica function, after ``apply_gradients``.

        Args:
            step: Integer scalar, number of finished steps (``optimizer.iterations``).
        """
        done = tf.cast(step, tf.float32)
        share = 1.0 - tf.minimum(self._decay, (1.0 + done) / (10.0 + done))
        for average, current in zip(self.averages, self._current, strict=True):
            average.assign(average + tf.cast(share, average.dtype) * (current - average))

    def swap(self) -> None:
        """Exchange the weights of the network and the averages; a second call restores them."""
        for average, current in zip(self.averages, self._current, strict=True):
            mean, last = tf.identity(average), tf.identity(current)
            current.assign(mean)
            average.assign(last)
