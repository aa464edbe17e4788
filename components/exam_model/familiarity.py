"""How much an exam is like the training exams, as a TensorFlow graph.

The networks turn any picture into probabilities, also a photograph. So each network also gets the distribution of its
own features in the training views: means and standard deviations of the channels after its second and third stage. The
last stage is the wrong place, because it has learnt to ignore what does not matter for the grade.

* The **distance** of a view is the Mahalanobis distance of these features from the training views (standardised, shrunk
  covariance), divided by the distance that the view threshold allows.
* The **distance of an exam** is the mean of its views, several images of one view counting as one.
* **Familiarity** is threshold / distance: 1 or more is like the training exams, less than 1 is not. It does not say
  whether the grade is right: within the training systems it does not predict errors.

Thresholds are conformal quantiles of exams that no network was trained on
(``components.exam_ensemble.familiarity``).

Source: Lee, Lee, Lee and Shin, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks, NeurIPS 2018, arXiv 1807.03888.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf
from numpy.typing import NDArray

from components.exam_model.heat_source import last_sums
from schema import features as f

_STAGES: Final = (2, 3)
NOT_AVAILABLE: Final = -1.0
LARGEST: Final = 100.0
_SLOTS: Final = len(f.VIEWS)


@dataclass(frozen=True, eq=False)
class FeatureDistribution:
    """The features of a network's training views.

    Attributes:
        mean: float32 [P].
        projection: float32 [P, P]; the norm of ``(features - mean) @ projection`` is the distance, 1 at the threshold
            of a view.
    """

    mean: NDArray[Any]
    projection: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the exam model knows about its training exams.

    Attributes:
        networks: Distribution for each distinct network, in the order of their first view in VIEWS.
        exam_thresholds: Largest distance of a familiar exam with one, two, three and four views.
    """

    networks: tuple[FeatureDistribution, ...]
    exam_thresholds: tuple[float, ...] = (1.0,) * _SLOTS


class DistanceFunction(tf.Module):
    """The distance of a view's features from the training views, with its numbers as variables of the SavedModel."""

    def __init__(self, distribution: FeatureDistribution) -> None:
        """Create the variables."""
        super().__init__()
        self.mean = tf.Variable(distribution.mean, trainable=False, dtype=tf.float32)
        self.projection = tf.Variable(distribution.projection, trainable=False, dtype=tf.float32)

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """Return the distances, float32 [N], of features, float32 [N, P]."""
        return tf.norm(tf.linalg.matmul(features - self.mean, self.projection), axis=1)


def feature_layers(names: Iterable[str]) -> tuple[str, ...]:
    """Return the layers behind the familiarity: the last sums of the second and the third stage.

    Args:
        names: Layers of the convolutional part, in any order.

    Returns:
        Two names, whatever the number of blocks of a stage; none if the network lacks a stage.
    """
    return last_sums(names, _STAGES)


def channel_statistics(activations: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return means and standard deviations of all channels of the layers' outputs.

    Args:
        activations: float32 [N, h, w, C] for each layer.

    Returns:
        float32 [N, P] with P = 2 * sum of C.
    """
    moments = [tf.nn.moments(output, axes=[1, 2]) for output in activations]
    return tf.concat([part for mean, variance in moments for part in (mean, tf.sqrt(variance))], axis=1)


def familiarity_of(distances: tf.Tensor, threshold: tf.Tensor | float) -> tf.Tensor:
    """Return threshold / distance, at most 100; float32 [N]."""
    threshold = tf.cast(threshold, tf.float32)
    return threshold / tf.maximum(distances, threshold / LARGEST)


def exam_familiarity(
    distances: tf.Tensor, views: tf.Tensor, exam_rows: tf.Tensor, exams: tf.Tensor, thresholds: Sequence[float]
) -> tf.Tensor:
    """Combine the distances of views to the familiarity of exams.

    Args:
        distances: float32 [N], 1 at the threshold of a view.
        views: int32 [N], index in VIEWS.
        exam_rows: int32 [N], the exam of each image.
        exams: int32 scalar, number of exams.
        thresholds: See :attr:`Familiarity.exam_thresholds`.

    Returns:
        float32 [E].
    """
    keys = exam_rows * _SLOTS + views
    by_view = tf.reshape(tf.math.unsorted_segment_mean(distances, keys, exams * _SLOTS), (exams, _SLOTS))
    images = tf.math.unsorted_segment_sum(tf.ones_like(distances), keys, exams * _SLOTS)
    there = tf.cast(tf.reshape(images > 0, (exams, _SLOTS)), tf.float32)
    count = tf.reduce_sum(there, axis=1)
    mean = tf.math.divide_no_nan(tf.reduce_sum(by_view * there, axis=1), count)
    allowed = tf.gather(tf.constant(thresholds, tf.float32), tf.cast(count, tf.int32) - 1)
    return familiarity_of(mean, allowed)
