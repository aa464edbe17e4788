"""The exam model: four view networks in one SavedModel, with every signature of the serving contract.

Only stock TensorFlow operations: the export loads in an unmodified TensorFlow Serving, without this package or Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf

from components.transform.config import ImageConfig
from components.transform.images import decode_images, normalise
from schema import features as f

_CLASSES: Final = len(f.DENSITY_CLASSES)
_HEAT_OPACITY: Final = 0.45
_OVERLAY_COMPRESSION: Final = 1  # six times faster than the default, and little larger


@dataclass(frozen=True)
class ViewFunctions:
    """One view's network as plain TensorFlow functions.

    Attributes:
        features: float32 [N, size, size, C] to the last block's sum, float32 [N, h, w, K].
        head: The sum to logits, float32 [N, 4].
        weights: The variable that the two read.
    """

    features: Callable[[tf.Tensor], tf.Tensor]
    head: Callable[[tf.Tensor], tf.Tensor]
    weights: tf.Variable


def _heat_colours() -> np.ndarray:
    """Blue to red through cyan and yellow ("jet"): float32 [256, 3], 0..255."""
    x = np.linspace(0.0, 1.0, 256)
    channels = [1.5 - np.abs(4.0 * x - centre) for centre in (3.0, 2.0, 1.0)]
    return (np.clip(np.stack(channels, axis=1), 0.0, 1.0) * 255.0).astype(np.float32)


def overlay(images: tf.Tensor, heatmaps: tf.Tensor) -> tf.Tensor:
    """Blends heat maps over grey images and encodes them.

    Args:
        images: uint8 [N, H, W, 1].
        heatmaps: float32 [N, H, W], 0..1. The warmer, the more opaque; the background stays black.

    Returns:
        string [N], colour PNG.
    """
    colours = tf.gather(tf.constant(_heat_colours()), tf.cast(tf.round(heatmaps * 255.0), tf.int32))
    grey = tf.cast(images, tf.float32)
    opacity = tf.where(images > 0, _HEAT_OPACITY * (0.35 + 0.65 * heatmaps[..., tf.newaxis]), 0.0)
    blended = tf.cast(tf.round(grey * (1.0 - opacity) + colours * opacity), tf.uint8)
    return tf.map_fn(
        lambda image: tf.io.encode_png(image, compression=_OVERLAY_COMPRESSION),
        blended,
        fn_output_signature=tf.TensorSpec((), tf.string),
    )


class ExamModel(tf.Module):
    """Grades views and exams, and explains views with Grad-CAM.

    Source of Grad-CAM: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization, 2019, arXiv 1610.02391. The scores are logits (softmax left out), read at the last block's sum.
    """

    def __init__(self, networks: Mapping[str, ViewFunctions], image: ImageConfig, preprocessing: str = ""):
        """Makes the model.

        Args:
            networks: One view network for each of ``schema.features.VIEWS``.
            image: Input of every network.
            preprocessing: The preprocessing recipe as JSON, which ``predict_exam`` hands to its clients.

        Raises:
            ValueError: A view's network is missing.
        """
        super().__init__(name="exam_model")
        missing = [view for view in f.VIEWS if view not in networks]
        if missing:
            raise ValueError(f"The exam model needs a network for each view. Missing: {missing}")
        self._image = image
        self._preprocessing = preprocessing
        self._classes = tf.constant(f.DENSITY_CLASSES)
        # Attributes of a tf.Module are saved; the Keras models behind the functions must not be.
        self._weights = [networks[view].weights for view in f.VIEWS]
        self._networks: Callable[[], list[ViewFunctions]] = lambda: [networks[view] for view in f.VIEWS]

    def _checked_views(self, view: tf.Tensor, image_bytes: tf.Tensor) -> tf.Tensor:
        """Maps view names to indices, int32 [N]; fails on an unknown one and on a batch of uneven lengths."""
        matches = tf.equal(view[:, tf.newaxis], tf.constant(f.VIEWS)[tf.newaxis, :])
        allowed = ", ".join(f.VIEWS)
        checks = [
            tf.debugging.assert_equal(
                tf.shape(view)[0],
                tf.shape(image_bytes)[0],
                message="Each input needs one entry an image: they differ in length.",
            ),
            tf.debugging.assert_equal(
                tf.reduce_all(tf.reduce_any(matches, axis=1)),
                True,
                message=f"Unknown view: it must be one of {allowed}.",
            ),
        ]
        with tf.control_dependencies([check for check in checks if check is not None]):
            return tf.argmax(tf.cast(matches, tf.int32), axis=1, output_type=tf.int32)

    def _by_view(
        self,
        images: tf.Tensor,
        views: tf.Tensor,
        function: Callable[[ViewFunctions, tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]],
        empty: tuple[tf.TensorSpec, ...],
    ) -> tuple[tf.Tensor, ...]:
        """Sends each image through its view's network and puts the results back in order.

        oneDNN's convolution fails on zero rows, so a network without images is not run.
        """
        indices, parts = [], []
        for number, network in enumerate(self._networks()):
            rows = tf.cast(tf.where(tf.equal(views, number))[:, 0], tf.int32)
            part = tf.cond(
                tf.size(rows) > 0,
                lambda network=network, rows=rows: function(network, tf.gather(images, rows), rows),
                lambda: tuple(tf.zeros((0, *spec.shape[1:]), spec.dtype) for spec in empty),
            )
            indices.append(rows)
            parts.append(part)
        order = tf.argsort(tf.concat(indices, axis=0))
        return tuple(tf.gather(tf.concat(column, axis=0), order) for column in zip(*parts, strict=True))

    def _named(self, probabilities: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._classes, tf.argmax(probabilities, axis=1))

    def _probabilities(self, image_bytes: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
        views = self._checked_views(view, image_bytes)
        images = decode_images(image_bytes, self._image.size)

        def forward(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            del rows
            return (tf.nn.softmax(network.head(network.features(normalise(part, self._image)))),)

        return self._by_view(images, views, forward, (tf.TensorSpec((None, _CLASSES)),))[0]

    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grades serialized tf.Examples of preprocessed views: probabilities [N, 4] and density [N]."""
        parsed = tf.io.parse_example(
            examples,
            {f.IMAGE: tf.io.FixedLenFeature((), tf.string), f.VIEW: tf.io.FixedLenFeature((), tf.string)},
        )
        probabilities = self._probabilities(parsed[f.IMAGE], parsed[f.VIEW])
        return {"probabilities": probabilities, "density": self._named(probabilities)}

    def predict_view(self, image_bytes: tf.Tensor, view: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grades preprocessed views given as PNG bytes: probabilities [N, 4] and density [N]."""
        probabilities = self._probabilities(image_bytes, view)
        return {"probabilities": probabilities, "density": self._named(probabilities)}

    def predict_exam(self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grades exams: the mean of the views that are there, for each breast and for all.

        Returns, in the order in which the exams first appear: exam_id [E], probabilities [E, 4], density [E],
        right_probabilities [E, 4] and left_probabilities [E, 4] (zeros where a side has no view), view_count [E], and
        preprocessing [E]: the recipe that the images must come from, as JSON.
        Several images of one view count as one: their mean.
        """
        same_length = tf.debugging.assert_equal(
            tf.shape(exam_id)[0],
            tf.shape(image_bytes)[0],
            message="Each input needs one entry an image: they differ in length.",
        )
        with tf.control_dependencies([same_length] if same_length is not None else []):
            exams, rows = tf.unique(exam_id)
        probabilities = self._probabilities(image_bytes, view)
        count = tf.size(exams)
        slots = len(f.VIEWS)
        keys = rows * slots + self._checked_views(view, image_bytes)
        by_view = tf.math.unsorted_segment_mean(probabilities, keys, count * slots)
        there = tf.math.unsorted_segment_sum(tf.ones_like(keys, tf.float32), keys, count * slots) > 0
        by_view = tf.reshape(by_view, (count, slots, _CLASSES))
        there = tf.reshape(tf.cast(there, tf.float32), (count, slots))

        def mean_of(views: tuple[str, ...]) -> tf.Tensor:
            mask = tf.constant([1.0 if name in views else 0.0 for name in f.VIEWS]) * there
            return tf.math.divide_no_nan(
                tf.reduce_sum(by_view * mask[..., tf.newaxis], axis=1),
                tf.reduce_sum(mask, axis=1, keepdims=True),
            )

        sides = {side: tuple(v for v in f.VIEWS if f.laterality_of(v) == side) for side in ("R", "L")}
        combined = mean_of(f.VIEWS)
        return {
            "exam_id": exams,
            "probabilities": combined,
            "density": self._named(combined),
            "right_probabilities": mean_of(sides["R"]),
            "left_probabilities": mean_of(sides["L"]),
            "view_count": tf.cast(tf.reduce_sum(there, axis=1), tf.int32),
            "preprocessing": tf.fill([count], self._preprocessing),
        }

    def gradcam(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grades views and shows where the evidence for a class lies.

        Args:
            image_bytes: string [N], 8-bit PNG, preprocessed.
            view: string [N].
            target_class: string [N] or [1] for all: A, B, C or D; empty means the predicted class.

        Returns:
            probabilities [N, 4], density [N], heatmap float32 [N, H, W] in 0..1, overlay_png string [N].
        """
        views = self._checked_views(view, image_bytes)
        images = decode_images(image_bytes, self._image.size)
        target_class = tf.broadcast_to(target_class, tf.shape(view))
        matches = tf.equal(target_class[:, tf.newaxis], self._classes[tf.newaxis, :])
        known = tf.logical_or(tf.reduce_any(matches, axis=1), tf.equal(target_class, ""))
        valid = tf.debugging.assert_equal(
            tf.reduce_all(known),
            True,
            message=f"Unknown target_class: it must be empty or one of {', '.join(f.DENSITY_CLASSES)}.",
        )
        with tf.control_dependencies([valid] if valid is not None else []):
            chosen = tf.cast(matches, tf.float32)

        def explain(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            activations = network.features(normalise(part, self._image))
            with tf.GradientTape() as tape:
                tape.watch(activations)
                logits = network.head(activations)
                asked = tf.gather(chosen, rows)
                predicted = tf.one_hot(tf.argmax(logits, axis=1), _CLASSES)
                wanted = tf.where(tf.reduce_any(asked > 0, axis=1, keepdims=True), asked, predicted)
                score = tf.reduce_sum(logits * wanted)
            weights = tf.reduce_mean(tape.gradient(score, activations), axis=(1, 2), keepdims=True)
            cam = tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))
            return tf.nn.softmax(logits), cam

        side = -(-self._image.size // 32)
        specs = (tf.TensorSpec((None, _CLASSES)), tf.TensorSpec((None, side, side)))
        probabilities, cam = self._by_view(images, views, explain, specs)
        heat = tf.image.resize(cam[..., tf.newaxis], (self._image.size, self._image.size))[..., 0]
        heat = tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True))
        heat = tf.clip_by_value(heat, 0.0, 1.0)
        return {
            "probabilities": probabilities,
            "density": self._named(probabilities),
            "heatmap": heat,
            "overlay_png": overlay(images, heat),
        }

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Traces the serving signatures; every input is a string vector.

        They are no attributes of the module: those would be traced and saved a second time.
        """
        inputs = {
            "serving_default": ("examples",),
            "predict_view": ("image_bytes", "view"),
            "predict_exam": ("image_bytes", "view", "exam_id"),
            "gradcam": ("image_bytes", "view", "target_class"),
        }
        return {
            name: tf.function(
                getattr(self, name),
                input_signature=[tf.TensorSpec([None], tf.string, name=given) for given in names],
                autograph=False,
            ).get_concrete_function()
            for name, names in inputs.items()
        }


def export(model: ExamModel, folder: str) -> None:
    """Writes the SavedModel with its signatures.

    Args:
        model: The exam model.
        folder: Folder to write to.
    """
    tf.saved_model.save(model, folder, signatures=model.signatures())
