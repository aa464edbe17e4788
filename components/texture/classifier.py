"""The fitted texture model in stock TensorFlow operations."""

from __future__ import annotations

import tensorflow as tf

from components.texture.arrays import MOST_DEVIATIONS, TextureArrays
from components.texture.config import TELLING
from components.texture.energy import BAND_FEATURES
from components.texture.view_vector import VECTOR, exam_means


class TextureClassifier(tf.Module):
    """Grades the vectors of views: the mean of the trees' and of the logistic regression's probabilities."""

    def __init__(self, arrays: TextureArrays):
        """Create the classifier; its arrays become variables, which are saved once.

        Args:
            arrays: The fitted model.
        """
        super().__init__(name="texture")
        self.side = int(arrays.side)
        self._depth = arrays.depth
        self._trees = len(arrays.feature)
        names = ("feature", "threshold", "left", "right", "leaf", "mean", "scale", "coefficients", "intercept")
        self._values = {
            name: tf.Variable(getattr(arrays, name), trainable=False, name=name) for name in (*names, "percentiles")
        }

    def probabilities(self, vectors: tf.Tensor) -> tf.Tensor:
        """Grade views.

        Args:
            vectors: float32 [N, D], in the order of VECTOR.

        Returns:
            float32 [N, 4].
        """
        return (self._forest(vectors) + tf.nn.softmax(self._logits(self._standardised(vectors)))) / 2

    def telling(
        self, vectors: tf.Tensor, views: tf.Tensor, exam_rows: tf.Tensor, classes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return what speaks most for or against the grade of an exam in the linear part.

        The contribution of a feature is its term in the logit of the class, less its mean term over all classes: above
        0 it speaks for the class. The percentile is the place of the exam's mean among those of the training exams.

        Args:
            vectors: float32 [N, D].
            views: int32 [N], index in VIEWS.
            exam_rows: int32 [N], the exam of each image.
            classes: int32 [E], index of the class.

        Returns:
            Names, string [E, 5]; percentiles, float32 [E, 5], 0..100; contributions, float32 [E, 5], logits. The
            largest absolute contribution comes first.
        """
        exams = tf.size(classes)
        means = exam_means(vectors, views, exam_rows, exams)
        standardised = exam_means(self._standardised(vectors), views, exam_rows, exams)
        coefficients = tf.convert_to_tensor(self._values["coefficients"])
        relative = coefficients - tf.reduce_mean(coefficients, axis=0, keepdims=True)
        contributions = standardised * tf.gather(relative, classes)
        _, chosen = tf.math.top_k(tf.abs(contributions), TELLING)
        values = tf.gather(means, chosen, batch_dims=1)[..., tf.newaxis]
        table = tf.gather(tf.convert_to_tensor(self._values["percentiles"]), chosen)
        below = tf.reduce_sum(tf.cast(table < values, tf.float32), axis=-1)
        upto = tf.reduce_sum(tf.cast(table <= values, tf.float32), axis=-1)
        place = tf.clip_by_value((below + upto - 1.0) / 2, 0.0, table.shape[-1] - 1.0)
        return tf.gather(tf.constant(VECTOR), chosen), place, tf.gather(contributions, chosen, batch_dims=1)

    def usual_energy(self) -> tf.Tensor:
        """Return the mean energy of each band in the training views, float32 [B]."""
        return tf.gather(tf.convert_to_tensor(self._values["mean"]), BAND_FEATURES)

    def _standardised(self, vectors: tf.Tensor) -> tf.Tensor:
        standardised = (vectors - self._values["mean"]) / self._values["scale"]
        return tf.clip_by_value(standardised, -MOST_DEVIATIONS, MOST_DEVIATIONS)

    def _logits(self, standardised: tf.Tensor) -> tf.Tensor:
        return tf.matmul(standardised, self._values["coefficients"], transpose_b=True) + self._values["intercept"]

    def _forest(self, vectors: tf.Tensor) -> tf.Tensor:
        """Walk through all trees at once: one gather of nodes a level, float32 [N, 4]."""
        named = {name: tf.convert_to_tensor(value) for name, value in self._values.items()}
        trees = tf.broadcast_to(tf.range(self._trees)[tf.newaxis, :], (tf.shape(vectors)[0], self._trees))
        node = tf.zeros_like(trees)
        for _ in range(self._depth):
            place = tf.stack([trees, node], axis=-1)
            wanted = tf.gather_nd(named["feature"], place)
            value = tf.gather(vectors, tf.maximum(wanted, 0), batch_dims=1)
            goes_left = value <= tf.gather_nd(named["threshold"], place)
            node = tf.where(goes_left, tf.gather_nd(named["left"], place), tf.gather_nd(named["right"], place))
        return tf.reduce_mean(tf.gather_nd(named["leaf"], tf.stack([trees, node], axis=-1)), axis=1)
