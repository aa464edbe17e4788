"""The training loop: one loop for every tf.distribute strategy.

Keras 3's ``fit`` does not run under MultiWorkerMirroredStrategy, so the loop is written out, and the same one runs on
one device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.trainer.config import TrainConfig
from components.trainer.network import build_network
from components.trainer.schedule import learning_rate
from schema.features import DENSITY_CLASSES


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch.

    Attributes:
        epoch: From 1.
        loss: Mean training loss.
        accuracy: Training accuracy, on augmented images.
        val_loss: Mean cross-entropy on the eval split.
        val_accuracy: Accuracy on the eval split.
        learning_rate: Learning rate of the epoch.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float

    def to_dict(self) -> dict[str, float]:
        """Returns the figures by name."""
        return asdict(self)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with the weights of its best epoch.

    Attributes:
        network: Logits model; see :func:`components.trainer.network.build_network`.
        epochs: Figures of every epoch.
        best_epoch: The epoch whose weights are kept, from 1: the highest validation accuracy, then the lowest loss.
    """

    network: keras.Model
    epochs: tuple[Epoch, ...]
    best_epoch: int


def class_weights(labels: Sequence[int], config: TrainConfig) -> np.ndarray:
    """Computes the weight of each class.

    Args:
        labels: Indices in DENSITY_CLASSES of the training split.
        config: ``balanced`` or ``none``.

    Returns:
        float32 [4]; the mean over the labels is 1. A class without images weighs nothing.
    """
    counts = np.bincount(labels, minlength=len(DENSITY_CLASSES)).astype(np.float32)
    if config.class_weights == "none":
        return np.ones_like(counts)
    present = counts > 0
    weights = np.where(present, counts.sum() / (np.maximum(counts, 1) * present.sum()), 0.0)
    return weights.astype(np.float32)


def make_strategy(config: TrainConfig) -> tf.distribute.Strategy:
    """Makes the tf.distribute strategy that the configuration names."""
    if config.strategy == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    if config.optimizer == "adam":
        return keras.optimizers.Adam(config.learning_rate)
    return keras.optimizers.SGD(config.learning_rate, momentum=config.momentum)


def train(
    training: tf.data.Dataset,
    validation: tf.data.Dataset,
    weights: np.ndarray,
    config: TrainConfig,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> TrainedNetwork:
    """Trains the network of one view.

    Args:
        training: Batches of (float32 [N, size, size, C], int64 [N]), shuffled and augmented.
        validation: The same of the eval split, unaltered.
        weights: float32 [4], weight of each class.
        config: Network, optimiser, schedule and seed.
        on_epoch: Called after each epoch.

    Returns:
        The network with the weights of its best validation epoch.

    Raises:
        FloatingPointError: The loss is no longer finite.
    """
    strategy = make_strategy(config)
    classes = len(DENSITY_CLASSES)
    with strategy.scope():
        network = build_network(config.image, config.network, config.seed)
        optimizer = _optimizer(config)
        optimizer.build(network.trainable_variables)
    weights_by_class = tf.constant(weights)

    def train_replica(images: tf.Tensor, labels: tf.Tensor, global_batch: tf.Tensor) -> tuple[Any, Any]:
        targets = tf.one_hot(labels, classes)
        targets = targets * (1.0 - config.label_smoothing) + config.label_smoothing / classes
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(losses * tf.gather(weights_by_class, labels)) / global_batch
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss * global_batch, _hits(logits, labels)

    def test_replica(images: tf.Tensor, labels: tf.Tensor) -> tuple[Any, Any]:
        logits = network(images, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_sum(losses), _hits(logits, labels)

    size, channels = config.image.size, config.image.channels
    batch_spec = (tf.TensorSpec((None, size, size, channels)), tf.TensorSpec((None,), tf.int64))

    def over_replicas(function: Callable[..., tuple[Any, Any]], *args: Any) -> tuple[tf.Tensor, tf.Tensor]:
        loss, hits = strategy.run(function, args)
        total = tf.distribute.ReduceOp.SUM
        return strategy.reduce(total, loss, axis=None), strategy.reduce(total, hits, axis=None)

    one_device = strategy.num_replicas_in_sync == 1
    # One trace serves the last, smaller batch too.
    signature = batch_spec if one_device else None

    @tf.function(input_signature=signature, reduce_retracing=True)
    def train_step(images: Any, labels: Any) -> tuple[tf.Tensor, tf.Tensor]:
        local = tf.cast(
            strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda y: tf.shape(y)[0], (labels,)), axis=None),
            tf.float32,
        )
        return over_replicas(train_replica, images, labels, local)

    @tf.function(input_signature=signature, reduce_retracing=True)
    def test_step(images: Any, labels: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return over_replicas(test_replica, images, labels)

    if not one_device:
        training = strategy.experimental_distribute_dataset(training)
        validation = strategy.experimental_distribute_dataset(validation)
    epochs: list[Epoch] = []
    best: list[np.ndarray] = []
    for index in range(config.epochs):
        optimizer.learning_rate.assign(learning_rate(config, index, [e.val_loss for e in epochs]))
        loss, accuracy = _run(train_step, training)
        val_loss, val_accuracy = _run(test_step, validation)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The training loss is {loss} in epoch {index + 1}: lower trainer.learning_rate"
                f" (now {config.learning_rate})."
            )
        epoch = Epoch(index + 1, loss, accuracy, val_loss, val_accuracy, float(optimizer.learning_rate))
        if not epochs or _rank(epoch) > max(_rank(e) for e in epochs):
            best = [np.array(value) for value in network.get_weights()]
        epochs.append(epoch)
        on_epoch(epoch)
    network.set_weights(best)
    return TrainedNetwork(network, tuple(epochs), max(epochs, key=_rank).epoch)


def _rank(epoch: Epoch) -> tuple[float, float]:
    return (round(epoch.val_accuracy, 6), -epoch.val_loss)


def _hits(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))


def _run(step: Callable[..., tuple[tf.Tensor, tf.Tensor]], data: Any) -> tuple[float, float]:
    """Runs a step over all batches: mean loss and accuracy."""
    losses, hits, count = 0.0, 0.0, 0
    for images, labels in data:
        loss, hit = step(images, labels)
        losses, hits = losses + float(loss), hits + float(hit)
        count += sum(int(tf.shape(part)[0]) for part in tf.nest.flatten(labels))
    return losses / max(count, 1), hits / max(count, 1)
