"""Metrics of an epoch, from the confusion matrices of training and validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.statistics.confusion import accuracy, macro_recall, weighted_kappa


@dataclass(frozen=True)
class Epoch:
    """Metrics of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean training loss.
        accuracy: Training accuracy, on augmented images.
        val_loss: Mean cross-entropy on the eval split.
        val_accuracy: Accuracy on the eval split.
        learning_rate: Learning rate of the last step of the epoch.
        val_macro_recall: Mean recall of the classes in the eval split.
        val_quadratic_kappa: Quadratic weighted kappa on the eval split; 0 if it is undefined.
        seconds: Duration including validation; it may differ between equal trainings.
        images_per_second: Training images per second; it may differ between equal trainings.
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
        """Return the metrics by name."""
        return asdict(self)


@dataclass(frozen=True)
class Totals:
    """Sums over the images of a split.

    Attributes:
        loss: Sum of the losses.
        confusion: float64 [4, 4], images by label (row) and predicted class.
    """

    loss: float
    confusion: NDArray[Any]

    @property
    def mean_loss(self) -> float:
        """Mean loss of an image."""
        result: float = self.loss / max(self.confusion.sum(), 1.0)
        return result

    @property
    def accuracy(self) -> float:
        """Share of the images with a correct prediction."""
        return _or_zero(accuracy(self.confusion))

    @property
    def macro_recall(self) -> float:
        """Mean recall of the classes that have images."""
        return _or_zero(macro_recall(self.confusion))

    @property
    def quadratic_kappa(self) -> float:
        """Quadratic weighted kappa; 0 if the images have only one class."""
        return _or_zero(weighted_kappa(self.confusion, 2))


def _or_zero(value: NDArray[Any]) -> float:
    """Return a metric, or 0 if it is undefined, because the record of an epoch holds only numbers."""
    return float(np.nan_to_num(value))


def rank(epoch: Epoch) -> tuple[float, float]:
    """Return the sort key of the best epoch: highest validation accuracy, then lowest validation loss."""
    return round(epoch.val_accuracy, 6), -epoch.val_loss


def kept_epoch(epochs: Sequence[Epoch], keep: Literal["best", "last"]) -> Epoch:
    """Return the epoch whose weights are kept: the best one, the first if several are equal, or the last one."""
    return max(epochs, key=rank) if keep == "best" else epochs[-1]


def epoch_from_dict(values: dict[str, Any]) -> Epoch:
    """Return the epoch from the output of :meth:`Epoch.to_dict`."""
    return Epoch(**values)
