"""The mixed classifier: the view networks and the texture model, averaged for every view.

The probabilities of a view are mixed, and the grade of an exam is the mean of its views, as without the texture model.
So everything that combines views (``exam_grades``, ``components.statistics.combination``) is right for both, and this
module is the only place that knows how a view is mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from components.texture.arrays import TextureArrays
from components.texture.classifier import TextureClassifier
from components.texture.energy import band_energy
from components.texture.view_vector import exam_means, view_vectors
from components.transform.images import decode_images


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted texture model and its share of the mixed classifier.

    Attributes:
        arrays: The texture model.
        weight: Weight of its probabilities, above 0 and below 1; the networks have the rest.
    """

    arrays: TextureArrays
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.weight < 1:
            raise ValueError(f"The weight of the texture model must be above 0 and below 1. Received: {self.weight}")


class TextureOfViews(NamedTuple):
    """What the texture model says of views.

    Attributes:
        vectors: float32 [N, D].
        probabilities: float32 [N, 4].
    """

    vectors: tf.Tensor
    probabilities: tf.Tensor


class Mixer(tf.Module):
    """Mixes the probabilities of networks and texture model."""

    def __init__(self, mixture: Mixture):
        """Create the mixer; the arrays of the texture model become variables."""
        super().__init__(name="mixture")
        classifier = TextureClassifier(mixture.arrays)
        self._classifier = classifier
        self._weight = mixture.weight

        def texture_of(image_bytes: tf.Tensor, views: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            vectors = view_vectors(decode_images(image_bytes, classifier.side), views)
            return vectors, classifier.probabilities(vectors)

        # Traced once for all signatures. Not an attribute, because it would be saved a second time.
        spec = [tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32)]
        function = tf.function(texture_of, input_signature=spec, autograph=False)
        self._texture_of: Callable[[], Callable[..., tuple[tf.Tensor, tf.Tensor]]] = lambda: function

    def energy(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """Return where the texture model measured structure, float32 [N, S, S], see :func:`band_energy`.

        Args:
            image_bytes: string [N], 8-bit PNG, preprocessed.
        """
        return band_energy(decode_images(image_bytes, self._classifier.side), self._classifier.usual_energy())

    def measure(self, image_bytes: tf.Tensor, views: tf.Tensor) -> TextureOfViews:
        """Grade views by their texture.

        Args:
            image_bytes: string [N], 8-bit PNG, preprocessed.
            views: int32 [N], index in VIEWS.
        """
        return TextureOfViews(*self._texture_of()(image_bytes, views))

    def mix(self, networks: tf.Tensor, texture: TextureOfViews) -> tf.Tensor:
        """Return the mixed probabilities, float32 [N, 4]."""
        return (1 - self._weight) * networks + self._weight * texture.probabilities

    def preference(self, texture: TextureOfViews) -> tf.Tensor:
        """Return what makes the networks' probabilities those of the mixture when it is added, but for a factor."""
        return self._weight / (1 - self._weight) * texture.probabilities

    def exam_outputs(
        self, networks: tf.Tensor, texture: TextureOfViews, views: tf.Tensor, rows: tf.Tensor, graded: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return the parts behind the grades of exams, and their most telling features.

        Args:
            networks: The networks' probabilities, float32 [N, 4].
            texture: Result of :meth:`measure`.
            views: int32 [N], index in VIEWS.
            rows: int32 [N], the exam of each image.
            graded: The exams' calibrated probabilities, float32 [E, 4]; zeros without a grade.

        Returns:
            network_probabilities and texture_probabilities, float32 [E, 4], before calibration; telling_features,
            string [E, 5], telling_percentiles and telling_contributions, float32 [E, 5], see
            :meth:`components.texture.classifier.TextureClassifier.telling`. Without a grade, all are empty or 0.
        """
        exams = tf.shape(graded)[0]
        there = tf.reduce_any(graded > 0, axis=1, keepdims=True)
        classes = tf.argmax(graded, axis=1, output_type=tf.int32)
        names, percentiles, contributions = self._classifier.telling(texture.vectors, views, rows, classes)
        numbers = {
            "network_probabilities": exam_means(networks, views, rows, exams),
            "texture_probabilities": exam_means(texture.probabilities, views, rows, exams),
            "telling_percentiles": percentiles,
            "telling_contributions": contributions,
        }
        shown = {name: tf.where(there, value, 0.0) for name, value in numbers.items()}
        return {**shown, "telling_features": tf.where(there, names, "")}
