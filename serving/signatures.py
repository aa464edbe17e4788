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
from serving.exam_grades import density_names, grade_exams

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

    def __init__(
        self,
        networks: Mapping[str, ViewFunctions],
        image: ImageConfig,
        preprocessing: str = "",
        temperature: float = 1.0,
        minimum_views: int = 1,
        mirrored: bool = False,
    ):
        """Makes the model.

        Args:
            networks: The network of each of ``schema.features.VIEWS``; views may share one, which is saved once.
            image: Input of every network.
            preprocessing: The preprocessing recipe as JSON, which ``predict_exam`` hands to its clients.
            temperature: Calibrates exams and breasts after combination; 1 leaves them as they are.
            minimum_views: Exams of fewer views get no grade, 1..4.
            mirrored: The networks know left breasts: images of right ones are flipped before them, and heat maps back.

        Raises:
            ValueError: A view's network is missing, or a number is out of range.
        """
        super().__init__(name="exam_model")
        missing = [view for view in f.VIEWS if view not in networks]
        if missing:
            raise ValueError(f"The exam model needs a network for each view. Missing: {missing}")
        if not temperature > 0 or not 1 <= minimum_views <= len(f.VIEWS):
            raise ValueError(
                f"temperature must be above 0 and minimum_views 1 to {len(f.VIEWS)}. Received:"
                f" temperature={temperature}, minimum_views={minimum_views}"
            )
        self._image = image
        self._preprocessing = preprocessing
        self._classes = tf.constant(f.DENSITY_CLASSES)
        self._temperature = temperature
        self._minimum_views = minimum_views
        self._with_temperature: Callable[[float], ExamModel] = lambda other: ExamModel(
            networks, image, preprocessing, other, minimum_views, mirrored
        )
        self._mirrored = mirrored
        distinct = {id(networks[view]): networks[view] for view in f.VIEWS}
        self._network_of_view = [list(distinct).index(id(networks[view])) for view in f.VIEWS]
        # Attributes of a tf.Module are saved; the Keras models behind the functions must not be. A warm start reads
        # this list from the SavedModel: a variable a network, in the order of VIEWS.
        self._weights = [network.weights for network in distinct.values()]
        self._networks: Callable[[], list[ViewFunctions]] = lambda: list(distinct.values())

    def with_temperature(self, temperature: float) -> ExamModel:
        """Gives the same model, calibrated by another temperature."""
        return self._with_temperature(temperature)

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
        numbers = tf.gather(tf.constant(self._network_of_view), views)
        for number, network in enumerate(self._networks()):
            rows = tf.cast(tf.where(tf.equal(numbers, number))[:, 0], tf.int32)
            part = tf.cond(
                tf.size(rows) > 0,
                lambda network=network, rows=rows: function(network, tf.gather(images, rows), rows),
                lambda: tuple(tf.zeros((0, *spec.shape[1:]), spec.dtype) for spec in empty),
            )
            indices.append(rows)
            parts.append(part)
        order = tf.argsort(tf.concat(indices, axis=0))
        return tuple(tf.gather(tf.concat(column, axis=0), order) for column in zip(*parts, strict=True))

    def _turned(self, pictures: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Flips the pictures of right breasts, [N, H, W, ...], where the networks are mirrored; undoes itself."""
        if not self._mirrored:
            return pictures
        right = tf.gather(tf.constant([f.laterality_of(view) == "R" for view in f.VIEWS]), views)
        right = tf.reshape(right, [-1] + [1] * (len(pictures.shape) - 1))
        return tf.where(right, tf.reverse(pictures, axis=[2]), pictures)

    def _probabilities(self, image_bytes: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        images = self._turned(decode_images(image_bytes, self._image.size), views)

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
        return self.predict_view(parsed[f.IMAGE], parsed[f.VIEW])

    def predict_view(self, image_bytes: tf.Tensor, view: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grades preprocessed views given as PNG bytes: probabilities [N, 4] and density [N]."""
        probabilities = self._probabilities(image_bytes, self._checked_views(view, image_bytes))
        return {"probabilities": probabilities, "density": density_names(probabilities)}

    def predict_exam(self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grades exams: the mean of the views that are there, for each breast and for all, then calibrated.

        Returns, in the order in which the exams first appear: exam_id [E], what
        :func:`serving.exam_grades.grade_exams` gives, and preprocessing [E]: the recipe that the images must come
        from, as JSON.
        """
        same_length = tf.debugging.assert_equal(
            tf.shape(exam_id)[0],
            tf.shape(image_bytes)[0],
            message="Each input needs one entry an image: they differ in length.",
        )
        with tf.control_dependencies([same_length] if same_length is not None else []):
            exams, rows = tf.unique(exam_id)
        views = self._checked_views(view, image_bytes)
        probabilities = self._probabilities(image_bytes, views)
        count = tf.size(exams)
        return {
            "exam_id": exams,
            **grade_exams(probabilities, views, rows, count, self._temperature, self._minimum_views),
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
        probabilities, cam = self._by_view(self._turned(images, views), views, explain, specs)
        cam = self._turned(cam, views)
        heat = tf.image.resize(cam[..., tf.newaxis], (self._image.size, self._image.size))[..., 0]
        heat = tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True))
        heat = tf.clip_by_value(heat, 0.0, 1.0)
        return {
            "probabilities": probabilities,
            "density": density_names(probabilities),
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
