"""What moves the weights: loss, learning-rate schedule, optimiser, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from components.trainer.config import TrainConfig
from schema.features import DENSITY_CLASSES

_CLASSES = len(DENSITY_CLASSES)


def targets_of(labels: tf.Tensor, config: TrainConfig) -> tf.Tensor:
    """Make the distribution that the network learns for each label.

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
    """Compute the training loss of each example, before class weights.

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


def learning_rate(config: TrainConfig, epoch: float, validation_losses: Sequence[float]) -> float:
    """Gives the learning rate at a moment from what went before, so that a resumed run continues alike.

    Args:
        config: Schedule and its numbers.
        epoch: Epochs done, from 0; a fraction within an epoch, so that ``cosine`` changes by step.
        validation_losses: Validation loss of each epoch before.

    Returns:
        Learning rate. ``plateau`` follows Keras' ReduceLROnPlateau: after ``plateau_patience`` epochs without a lower
        loss it is multiplied by ``plateau_factor``, not under ``minimum_learning_rate``.
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

    Keras' own schedules cannot do this, because the plateau schedule sets the learning rate between epochs, and the
    decay acts on top of it.
    """

    def __init__(self, learning_rate: float, decay: float, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.decay = decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable."""
        steps = keras.ops.cast(self.iterations, learning_rate.dtype)
        super().update_step(gradient, variable, learning_rate / (1.0 + self.decay * steps))

    def get_config(self) -> dict[str, Any]:
        """Return what makes an equal optimiser."""
        return super().get_config() | {"decay": self.decay}


def make_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """Make the optimiser, not yet built.

    Args:
        config: ``optimizer`` and its numbers; the loop sets the learning rate by the schedule.

    Returns:
        SGD or Adam. ``weight_decay`` is decoupled (AdamW: Loshchilov, Hutter, 2019, arXiv 1711.05101) and leaves biases
        and batch normalisation alone.
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
    """Averages of every floating weight of a network, moving statistics of batch normalisation among them.

    Make it in the strategy's scope, after the network. The averages are variables of the module, so that
    ``tf.train.Checkpoint(average=...)`` keeps them.

    Source: Polyak, Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM J. Control Optim. 30, 1992.
    """

    def __init__(self, network: keras.Model, decay: float):
        """Start from the network's weights.

        Args:
            network: The network that is trained.
            decay: Weight of the past in each step, below 1; the first steps use less, (1 + step) / (10 + step), so that
                the random start is soon forgotten.
        """
        super().__init__(name="weight_average")
        self._decay = decay
        averaged: Sequence[keras.Variable] = [v for v in network.variables if tf.as_dtype(v.dtype).is_floating]
        self._current = [variable.value for variable in averaged]
        # Replicas hold equal weights, so each averages its own copy, and none needs the others to read it.
        self.averages = [
            tf.Variable(variable.value, trainable=False, name=f"average_{number}")
            for number, variable in enumerate(averaged)
        ]

    def update(self, step: tf.Tensor) -> None:
        """Take in the weights after a step; call it in the replica's function, after ``apply_gradients``.

        Args:
            step: Integer scalar, steps done (``optimizer.iterations``).
        """
        done = tf.cast(step, tf.float32)
        share = 1.0 - tf.minimum(self._decay, (1.0 + done) / (10.0 + done))
        for average, current in zip(self.averages, self._current, strict=True):
            average.assign(average + tf.cast(share, average.dtype) * (current - average))

    def swap(self) -> None:
        """Exchange the network's weights and the averages; a second call puts them back."""
        for average, current in zip(self.averages, self._current, strict=True):
            mean, last = tf.identity(average), tf.identity(current)
            current.assign(mean)
            average.assign(last)
