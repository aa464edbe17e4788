"""Learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.trainer.config import TrainConfig


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
