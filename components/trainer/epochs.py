"""Figures of an epoch, from the confusion matrices of training and validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch.

    Attributes:
        epoch: From 1.
        loss: Mean training loss.
        accuracy: Training accuracy, on augmented images.
        val_loss: Mean cross-entropy on the eval split.
        val_accuracy: Accuracy on the eval split.
        learning_rate: Learning rate of the epoch's last step.
        val_macro_recall: Mean recall of the classes that the eval split has.
        val_quadratic_kappa: Quadratic weighted kappa on the eval split; 0 where it is undefined.
        seconds: Time taken, validation included. Equal trainings may differ in it.
        images_per_second: Training images a second. Equal trainings may differ in it.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    val_macro_recall: float = 0.0
    val_quadratic_kappa: float = 0.0
    seconds: float = field(default=0.0, compare=False)
    images_per_second: float = field(default=0.0, compare=False)

    def to_dict(self) -> dict[str, float]:
        """Returns the figures by name."""
        return asdict(self)


@dataclass(frozen=True)
class Totals:
    """Sums over the images of a split.

    Attributes:
        loss: Sum of the losses.
        confusion: float64 [4, 4], images by label (row) and predicted class.
    """

    loss: float
    confusion: np.ndarray

    @property
    def mean_loss(self) -> float:
        """Loss of an image."""
        return self.loss / max(self.confusion.sum(), 1.0)

    @property
    def accuracy(self) -> float:
        """Share of the images whose class was predicted."""
        return float(np.trace(self.confusion) / max(self.confusion.sum(), 1.0))


def macro_recall(confusion: np.ndarray) -> float:
    """Averages the recall of the classes that have images: [4, 4] to 0..1."""
    images = confusion.sum(axis=1)
    present = images > 0
    return float(np.mean(np.diag(confusion)[present] / images[present])) if present.any() else 0.0


def quadratic_kappa(confusion: np.ndarray) -> float:
    """Computes Cohen's kappa with quadratic weights.

    Args:
        confusion: [4, 4], images by label and predicted class.

    Returns:
        -1..1; 0 where labels and predictions are of one and the same class.
    """
    index = np.arange(len(confusion))
    weights = np.subtract.outer(index, index) ** 2
    total = max(confusion.sum(), 1.0)
    by_chance = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / total
    expected = (weights * by_chance).sum()
    return float(1.0 - (weights * confusion).sum() / expected) if expected > 0 else 0.0


def rank(epoch: Epoch) -> tuple[float, float]:
    """Gives what the best epoch is highest in: validation accuracy, then the lowest validation loss."""
    return round(epoch.val_accuracy, 6), -epoch.val_loss


def best_of(epochs: Sequence[Epoch]) -> Epoch:
    """Finds the best epoch, of equal ones the first."""
    return max(epochs, key=rank)


def epoch_from_dict(values: dict[str, Any]) -> Epoch:
    """Makes an epoch of what :meth:`Epoch.to_dict` gave."""
    return Epoch(**values)
