"""The training and the evaluation step of a network, for every tf.distribute strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.trainer.config import TrainConfig
from components.trainer.devices import compiles, dtype_policy, gpu_capabilities, layers_of, scaled
from components.trainer.network import build_network
from components.trainer.optimization import WeightAverage, distribution_of, make_optimizer, per_example_loss
from components.transform.class_outputs import class_log_probabilities, likeliest_classes
from schema.features import DENSITY_CLASSES

_CLASSES = len(DENSITY_CLASSES)
_SUM = tf.distribute.ReduceOp.SUM

Sums = tuple[tf.Tensor, tf.Tensor]  # sum of the losses; images by label and predicted class, float32 [4, 4]


def _confusion(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Count images by label and predicted class; rows with negative labels do not count, soft ones count in parts."""
    predicted = tf.one_hot(likeliest_classes(logits), _CLASSES)
    return tf.matmul(distribution_of(labels), predicted, transpose_a=True)


class Steps:
    """A network in training: its variables, and its training and evaluation steps.

    Attributes:
        network: Logits model, float32 [N, size, size, C] to [N, 4] or [N, 3].
        optimizer: Its optimiser, built.
        average: Average of the weights; None if the configuration has none.
        train_step: Function from the (images, labels) of a batch per replica to its sums; it updates the weights.
        test_step: The same without an update; the loss is the cross-entropy of the class probabilities.
    """

    def __init__(
        self,
        config: TrainConfig,
        weights: NDArray[Any],
        strategy: tf.distribute.Strategy,
        start: Sequence[NDArray[Any]] | None = None,
    ):
        """Build network and optimiser in the scope of the strategy; the first calls trace the steps.

        Args:
            config: Network, loss, optimiser, precision, XLA and seed.
            weights: float32 [4], weight of each class.
            strategy: Strategy that owns the replicas.
            start: Initial weights, in the form of ``network.get_weights()``; None for random weights.
        """
        self._config = config
        self._strategy = strategy
        self._weights = tf.constant(weights)
        capabilities, replicas = gpu_capabilities(), strategy.num_replicas_in_sync
        policy = dtype_policy(config, capabilities)
        with strategy.scope(), layers_of(policy):
            # Without synchronisation, each replica would normalise with its own part of the batch and own statistics.
            self.network = build_network(config.image, config.network, config.seed, replicas > 1, config.head)
            if start is not None:
                self.network.set_weights(list(start))
            self.optimizer = scaled(make_optimizer(config), policy)
            self.optimizer.build(self.network.trainable_variables)
            self.average = WeightAverage(self.network, config.ema_decay) if config.ema_decay else None
        compiled = compiles(config, capabilities, replicas)
        self.train_step = self._over_replicas(self._train, compiled)
        self.test_step = self._over_replicas(self._test, compiled)

    def _over_replicas(self, function: Callable[[Any, Any], Sums], compiled: bool) -> Callable[[Any, Any], Sums]:
        @tf.function(jit_compile=compiled, reduce_retracing=True)
        def step(images: Any, labels: Any) -> Sums:
            loss, confusion = self._strategy.run(function, (images, labels))
            return self._strategy.reduce(_SUM, loss, axis=None), self._strategy.reduce(_SUM, confusion, axis=None)

        result: Callable[[Any, Any], Sums] = step
        return result

    def _train(self, images: tf.Tensor, labels: tf.Tensor) -> Sums:
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            losses = per_example_loss(logits, labels, self._config) * self._weights_of(labels)
            total = tf.reduce_sum(losses)
            loss = self.optimizer.scale_loss(total / self._config.batch_size)
        gradients = tape.gradient(loss, variables)
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _overflow_for_all(gradients)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if self.average is not None:
            self.average.update(self.optimizer.iterations)
        return total, _confusion(labels, logits)

    def _weights_of(self, labels: tf.Tensor) -> tf.Tensor:
        """Return the weight of each example, float32 [N]; of a soft label the mean over its distribution."""
        if labels.dtype.is_integer:
            return tf.gather(self._weights, labels)
        return tf.linalg.matvec(labels, self._weights)

    def _test(self, images: tf.Tensor, labels: tf.Tensor) -> Sums:
        logits = tf.cast(self.network(images, training=False), tf.float32)
        loss = -tf.reduce_sum(tf.one_hot(labels, _CLASSES) * class_log_probabilities(logits))
        return loss, _confusion(labels, logits)


def _overflow_for_all(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Turn a float16 overflow of one replica into an overflow of all, because all must skip the same step."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    context = tf.distribute.get_replica_context()
    overflows = context.all_reduce(_SUM, tf.where(finite, 0.0, 1.0))
    return [gradient + tf.where(overflows > 0, np.nan, 0.0) for gradient in gradients]
