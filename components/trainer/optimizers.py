"""The optimiser that a configuration asks for."""

from __future__ import annotations

from typing import Any

import keras

from components.trainer.config import TrainConfig

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
        """Changes one variable."""
        steps = keras.ops.cast(self.iterations, learning_rate.dtype)
        super().update_step(gradient, variable, learning_rate / (1.0 + self.decay * steps))

    def get_config(self) -> dict[str, Any]:
        """Returns what makes an equal optimiser."""
        return super().get_config() | {"decay": self.decay}


def make_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """Makes the optimiser, not yet built.

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
