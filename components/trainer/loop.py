"""The training loop: one loop for every tf.distribute strategy.

``fit`` of Keras 3 does not run under MultiWorkerMirroredStrategy. This loop replaces it, also on one device.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.trainer.checkpoint import Checkpoints, TrainingProgress
from components.trainer.config import TrainConfig
from components.trainer.devices import StrategyError, is_chief, layers_of, make_strategy, total_over_workers
from components.trainer.epochs import Epoch, Totals, kept_epoch
from components.trainer.input_pipeline import Batches
from components.trainer.network import build_network
from components.trainer.optimization import learning_rate
from components.trainer.steps import Steps, Sums
from schema.features import DENSITY_CLASSES


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with the weights of the kept epoch.

    Attributes:
        network: Logits model; see :func:`components.trainer.network.build_network`. It is always in single precision
            and on one device.
        epochs: Metrics of every epoch.
        best_epoch: The epoch whose weights are kept, from 1, see `components.trainer.config.TrainConfig`.
    """

    network: keras.Model
    epochs: tuple[Epoch, ...]
    best_epoch: int


def class_weights(labels: Sequence[int], config: TrainConfig) -> NDArray[Any]:
    """Return the weight of each class.

    Args:
        labels: Labels of the training split, indices in DENSITY_CLASSES.
        config: ``class_weights``: ``balanced`` or ``none``.

    Returns:
        float32 [4]; the mean over the labels is 1. The weight of a class without images is 0.
    """
    counts = np.bincount(labels, minlength=len(DENSITY_CLASSES)).astype(np.float32)
    if config.class_weights == "none":
        return np.ones_like(counts)
    present = counts > 0
    weights = np.where(present, counts.sum() / (np.maximum(counts, 1) * present.sum()), 0.0)
    return weights.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Start:
    """What a training starts from.

    Attributes:
        checkpoints: Folder of the checkpoints of this training, which all workers share. If it has a checkpoint, the
            training resumes there. None saves no checkpoints.
        weights: Initial weights, in the form of ``network.get_weights()``; None for random weights.
    """

    checkpoints: str | None = None
    weights: Sequence[NDArray[Any]] | None = None


def train(
    training: Batches,
    validation: Batches,
    weights: NDArray[Any],
    config: TrainConfig,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    *,
    strategy: tf.distribute.Strategy | None = None,
    start: Start | None = None,
) -> TrainedNetwork:
    """Train one network.

    Args:
        training: Batches of the train split, shuffled and augmented.
        validation: Batches of the eval split, unaltered.
        weights: float32 [4], weight of each class.
        config: Network, optimiser, schedule and seed.
        on_epoch: Called after each epoch; a resumed training first calls it for the epochs of the checkpoint.
        strategy: Result of :func:`make_strategy`; None to make it here.
        start: Checkpoints and initial weights; None for random weights without checkpoints.

    Returns:
        The network with the weights of the kept epoch.

    Raises:
        FloatingPointError: The loss is no longer finite.
        StrategyError: The strategy cannot work on this machine, or the workers do not find the same checkpoint.
    """
    strategy = strategy or make_strategy(config, os.environ)
    start = start or Start()
    steps = Steps(config, weights, strategy, start.weights)
    progress = TrainingProgress()
    kept = None
    if start.checkpoints is not None:
        kept = Checkpoints(start.checkpoints, steps.network, steps.optimizer, steps.average, progress)
        kept.restore()
        _require_agreement(strategy, len(progress.epochs), start.checkpoints)
    for epoch in progress.epochs:
        on_epoch(epoch)
    first = len(progress.epochs)
    images, eval_images = _stream(training, first, strategy), _stream(validation, first, strategy)
    for index in range(first, config.epochs):
        began = time.monotonic()
        trained = _train_epoch(steps, images, training.steps, index, config, [e.val_loss for e in progress.epochs])
        seconds = time.monotonic() - began
        if not math.isfinite(trained.loss):
            raise FloatingPointError(
                f"The training loss is {trained.mean_loss} in epoch {index + 1}: lower pipeline.trainer.learning_rate"
                f" (now {config.learning_rate})."
            )
        with _averaged(steps):
            judged = _sums(steps.test_step(*next(eval_images)) for _ in range(validation.steps))
            weights_now = [np.array(value) for value in steps.network.get_weights()]
        epoch = Epoch(
            index + 1,
            trained.mean_loss,
            trained.accuracy,
            judged.mean_loss,
            judged.accuracy,
            float(steps.optimizer.learning_rate.numpy()),
            judged.macro_recall,
            judged.quadratic_kappa,
            time.monotonic() - began,
            training.steps * training.batch_size / seconds,
        )
        progress.epochs.append(epoch)
        if kept_epoch(progress.epochs, config.keep) is epoch:
            progress.best = weights_now
        if kept is not None and is_chief(strategy):
            kept.save(epoch.epoch)
        on_epoch(epoch)
    # The layers of the trained network may belong to a strategy, use half precision, or be synchronised.
    with layers_of("float32"):
        network = build_network(config.image, config.network, config.seed, head=config.head)
    network.set_weights(progress.best)
    return TrainedNetwork(network, tuple(progress.epochs), kept_epoch(progress.epochs, config.keep).epoch)


def _require_agreement(strategy: tf.distribute.Strategy, epochs: int, folder: str) -> None:
    """Stop if workers would resume from different epochs."""
    found = total_over_workers(strategy, epochs)
    if found != epochs * strategy.num_replicas_in_sync:
        raise StrategyError(
            f"All workers must see the same checkpoints; put the pipeline's folder on a filesystem that they share."
            f" Received: {epochs} finished epochs in {folder} here, another number on another worker."
        )


def _stream(batches: Batches, first_epoch: int, strategy: tf.distribute.Strategy) -> Iterator[Any]:
    """Return an iterator over the batches from an epoch on, split by replica."""
    return iter(strategy.distribute_datasets_from_function(lambda context: batches.stream(first_epoch, context)))


def _train_epoch(
    steps: Steps, images: Iterator[Any], count: int, epoch: int, config: TrainConfig, val_losses: Sequence[float]
) -> Totals:
    """Run the training steps of an epoch, each with its own learning rate."""

    def all_steps() -> Iterator[Sums]:
        for step in range(count):
            steps.optimizer.learning_rate.assign(learning_rate(config, epoch + step / count, val_losses))
            yield steps.train_step(*next(images))

    return _sums(all_steps())


def _sums(parts: Iterable[Sums]) -> Totals:
    """Return the sum of the results of all steps; a GPU is waited for only at the end."""
    loss, confusion = tf.zeros((), tf.float64), tf.zeros((len(DENSITY_CLASSES),) * 2, tf.float64)
    for part_loss, part_confusion in parts:
        loss += tf.cast(part_loss, tf.float64)
        confusion += tf.cast(part_confusion, tf.float64)
    return Totals(float(loss), confusion.numpy())


@contextmanager
def _averaged(steps: Steps) -> Iterator[None]:
    """Use the averaged weights, if there are any, inside the block."""
    if steps.average is None:
        yield
        return
    steps.average.swap()
    try:
        yield
    finally:
        steps.average.swap()
