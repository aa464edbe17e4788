"""An exponential moving average of a network's weights, which is judged and kept in place of the last weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf


class WeightAverage(tf.Module):
    """Averages of every floating weight of a network, moving statistics of batch normalisation among them.

    Make it in the strategy's scope, after the network. The averages are variables of the module, so that
    ``tf.train.Checkpoint(average=...)`` keeps them.

    Source: Polyak, Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM J. Control Optim. 30, 1992.
    """

    def __init__(self, network: keras.Model, decay: float):
        """Starts from the network's weights.

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
        """Takes in the weights after a step; call it in the replica's function, after ``apply_gradients``.

        Args:
            step: Integer scalar, steps done (``optimizer.iterations``).
        """
        done = tf.cast(step, tf.float32)
        share = 1.0 - tf.minimum(self._decay, (1.0 + done) / (10.0 + done))
        for average, current in zip(self.averages, self._current, strict=True):
            average.assign(average + tf.cast(share, average.dtype) * (current - average))

    def swap(self) -> None:
        """Exchanges the network's weights and the averages; a second call puts them back."""
        for average, current in zip(self.averages, self._current, strict=True):
            mean, last = tf.identity(average), tf.identity(current)
            current.assign(mean)
            average.assign(last)
