"""The exam model: the view networks in one SavedModel, with every signature of the serving contract.

It has only stock TensorFlow operations: an unmodified TensorFlow Serving loads it, without this package or Keras.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from components.common.fingerprint import code_fingerprint
from components.exam_model.batching import BatchingConfig
from components.exam_model.exam_grades import density_names, grade_exams
from components.exam_model.mixture import Mixer, Mixture, TextureOfViews
from components.exam_model.overlays import overlay
from components.exam_model.png_check import checked_pngs
from components.exam_model.view_networks import BatchedNetworks, Networks, ViewFunctions, ViewNetworks
from components.transform.config import ImageConfig
from components.transform.images import decode_images
from schema import features as f
from schema.training_systems import NO_TRAINING


@dataclass(frozen=True)
class ExamSettings:
    """Settings of an exam model.

    Attributes:
        preprocessing: The preprocessing recipe as JSON; ``predict_exam`` returns it to clients.
        training_systems: The acquisition systems of the training exams as JSON; ``predict_exam`` returns them, so that
            clients can compare an exam with them.
        temperature: Calibrates exams and breasts after combination; 1 changes nothing.
        minimum_views: Exams with fewer views get no grade, 1..4.
        mirrored: The networks are trained on left breasts: images of right breasts and their heat maps are flipped.
        batching: Combines the images of several requests; None runs each request separately.
        mixture: Texture model that is mixed with the networks; None for the networks only.

    Raises:
        ValueError: A number is out of range.
    """

    preprocessing: str = ""
    training_systems: str = NO_TRAINING.model_dump_json()
    temperature: float = 1.0
    minimum_views: int = 1
    mirrored: bool = False
    batching: BatchingConfig | None = None
    mixture: Mixture | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 1 <= self.minimum_views <= len(f.VIEWS):
            raise ValueError(
                f"temperature must be above 0 and minimum_views 1 to {len(f.VIEWS)}. Received:"
                f" temperature={self.temperature}, minimum_views={self.minimum_views}"
            )


class ExamModel(tf.Module):
    """Grades views and exams, and explains views with Grad-CAM.

    Source of Grad-CAM: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization, 2019, arXiv 1610.02391, at the sum of the last block. The score of a class is its logit; of a
    cumulative head it is a sum of logits, see :func:`components.transform.class_outputs.class_scores`.
    """

    def __init__(self, networks: Mapping[str, ViewFunctions], image: ImageConfig, settings: ExamSettings | None = None):
        """Create the model.

        Args:
            networks: Network of each of ``schema.features.VIEWS``; a shared network is saved once.
            image: Input of every network.
            settings: Settings; None for the default values.

        Raises:
            ValueError: A view's network is missing.
        """
        super().__init__(name="exam_model")
        settings = settings or ExamSettings()
        missing = [view for view in f.VIEWS if view not in networks]
        if missing:
            raise ValueError(f"The exam model needs a network for each view. Missing: {missing}")
        self._image = image
        self._settings = settings
        self._classes = tf.constant(f.DENSITY_CLASSES)
        plain = ViewNetworks(networks, image, settings.mirrored)
        # Attributes of a tf.Module are saved; the Keras models behind the functions must not be. A warm start reads
        # this list from the SavedModel: a variable a network, in the order of VIEWS.
        self._weights = plain.weights
        self._mixer = Mixer(settings.mixture) if settings.mixture else None
        served: Networks = plain
        if settings.batching is not None:
            name = hashlib.sha256(f"{plain.identity()} {settings} {code_fingerprint(__name__)}".encode()).hexdigest()
            served = BatchedNetworks(plain, image.size, settings.batching, name)
        self._networks: Callable[[], Networks] = lambda: served
        self._with: Callable[[ExamSettings], ExamModel] = lambda other: ExamModel(networks, image, other)

    @property
    def image(self) -> ImageConfig:
        """Input of every network."""
        return self._image

    @property
    def settings(self) -> ExamSettings:
        """Settings of the model."""
        return self._settings

    def changed(self, **settings: Any) -> ExamModel:
        """Return the same networks with other settings, see :class:`ExamSettings`."""
        return self._with(replace(self._settings, **settings))

    def _checked_views(self, view: tf.Tensor, image_bytes: tf.Tensor) -> tf.Tensor:
        """Return the indices of view names, int32 [N]; fails on an unknown view and on inputs of unequal length."""
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

    def _decoded(self, image_bytes: tf.Tensor) -> tf.Tensor:
        return decode_images(checked_pngs(image_bytes, self._image.size), self._image.size)

    def _network_probabilities(self, image_bytes: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        return self._networks().probabilities(self._decoded(image_bytes), views)

    def _texture(self, image_bytes: tf.Tensor, views: tf.Tensor) -> TextureOfViews | None:
        if self._mixer is None:
            return None
        return self._mixer.measure(checked_pngs(image_bytes, self._image.size), views)

    def _mixed(self, networks: tf.Tensor, texture: TextureOfViews | None) -> tf.Tensor:
        """Return the probabilities of views, float32 [N, 4], from those of the networks."""
        return networks if self._mixer is None or texture is None else self._mixer.mix(networks, texture)

    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade serialized tf.Examples of preprocessed views: probabilities [N, 4] and density [N]."""
        parsed = tf.io.parse_example(
            examples,
            {f.IMAGE: tf.io.FixedLenFeature((), tf.string), f.VIEW: tf.io.FixedLenFeature((), tf.string)},
        )
        return self.predict_view(parsed[f.IMAGE], parsed[f.VIEW])

    def predict_view(self, image_bytes: tf.Tensor, view: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade preprocessed views given as PNG bytes: probabilities [N, 4] and density [N]."""
        views = self._checked_views(view, image_bytes)
        probabilities = self._mixed(self._network_probabilities(image_bytes, views), self._texture(image_bytes, views))
        return {"probabilities": probabilities, "density": density_names(probabilities)}

    def predict_exam(self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade exams: the mean of the present views, per breast and for all, then calibrated.

        Returns, in the order in which the exams first appear: exam_id [E], the outputs of
        :func:`components.exam_model.exam_grades.grade_exams`, preprocessing [E]: the required recipe of the images, and
        training_systems [E]: the acquisition systems of the training exams; both as JSON. A mixed classifier adds the
        outputs of :meth:`components.exam_model.mixture.Mixer.exam_outputs`.
        """
        exams, rows = _exams_of(exam_id, image_bytes)
        views = self._checked_views(view, image_bytes)
        networks = self._network_probabilities(image_bytes, views)
        return self._graded(networks, self._texture(image_bytes, views), views, exams, rows)

    def _graded(
        self, networks: tf.Tensor, texture: TextureOfViews | None, views: tf.Tensor, exams: tf.Tensor, rows: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        count, settings = tf.size(exams), self._settings
        probabilities = self._mixed(networks, texture)
        graded = grade_exams(probabilities, views, rows, count, settings.temperature, settings.minimum_views)
        if self._mixer is not None and texture is not None:
            graded |= self._mixer.exam_outputs(networks, texture, views, rows, graded["probabilities"])
        return {
            "exam_id": exams,
            **graded,
            "preprocessing": tf.fill([count], self._settings.preprocessing),
            "training_systems": tf.fill([count], self._settings.training_systems),
        }

    def gradcam(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade views and compute heat maps of the evidence for a class.

        Args:
            image_bytes: string [N], 8-bit PNG, preprocessed.
            view: string [N].
            target_class: string [N] or [1] for all: A, B, C or D; empty means the predicted class.

        Returns:
            probabilities [N, 4], density [N], heatmap float32 [N, H, W] in 0..1, overlay_png_bytes string [N].
        """
        networks, texture, maps = self._explained(image_bytes, self._checked_views(view, image_bytes), target_class)
        probabilities = self._mixed(networks, texture)
        return {"probabilities": probabilities, "density": density_names(probabilities), **maps}

    def explain_exam(
        self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor, target_class: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Grade exams and explain their views, in one forward pass.

        Args:
            image_bytes: string [N], 8-bit PNG, preprocessed.
            view: string [N].
            exam_id: string [N].
            target_class: string [N] or [1] for all: A, B, C or D; empty means the class predicted for the view.

        Returns:
            Per exam the outputs of :meth:`predict_exam`; per image view_probabilities [N, 4], view_density [N], heatmap
            float32 [N, H, W] in 0..1 and overlay_png_bytes string [N].
        """
        exams, rows = _exams_of(exam_id, image_bytes)
        views = self._checked_views(view, image_bytes)
        networks, texture, maps = self._explained(image_bytes, views, target_class)
        probabilities = self._mixed(networks, texture)
        return {
            **self._graded(networks, texture, views, exams, rows),
            "view_probabilities": probabilities,
            "view_density": density_names(probabilities),
            **maps,
        }

    def _explained(
        self, image_bytes: tf.Tensor, views: tf.Tensor, target_class: tf.Tensor
    ) -> tuple[tf.Tensor, TextureOfViews | None, dict[str, tf.Tensor]]:
        """Return the networks' probabilities [N, 4], the texture, and heatmap and overlay_png_bytes of each image."""
        images, texture = self._decoded(image_bytes), self._texture(image_bytes, views)
        preference = self._preference(target_class, views, texture)
        networks, maps = self._networks().explained(images, views, preference)
        heat = tf.image.resize(maps[..., tf.newaxis], (self._image.size, self._image.size))[..., 0]
        heat = tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True))
        heat = tf.clip_by_value(heat, 0.0, 1.0)
        return networks, texture, {"heatmap": heat, "overlay_png_bytes": overlay(images, heat)}

    def _preference(self, target_class: tf.Tensor, views: tf.Tensor, texture: TextureOfViews | None) -> tf.Tensor:
        """Return what makes a network explain the requested class, or the class that is predicted for the view.

        Returns:
            float32 [N, 4], see :meth:`components.exam_model.view_networks.ViewNetworks.explained`. Fails on an unknown
            class.
        """
        target_class = tf.broadcast_to(target_class, tf.shape(views))
        matches = tf.equal(target_class[:, tf.newaxis], self._classes[tf.newaxis, :])
        known = tf.logical_or(tf.reduce_any(matches, axis=1), tf.equal(target_class, ""))
        valid = tf.debugging.assert_equal(
            tf.reduce_all(known),
            True,
            message=f"Unknown target_class: it must be empty or one of {', '.join(f.DENSITY_CLASSES)}.",
        )
        with tf.control_dependencies([valid] if valid is not None else []):
            asked = 2.0 * tf.cast(matches, tf.float32)  # more than any probability
        if self._mixer is None or texture is None:
            return asked
        return tf.where(tf.reduce_any(matches, axis=1, keepdims=True), asked, self._mixer.preference(texture))

    def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """Return the serving signatures; every input is a string vector.

        They are not attributes of the module, because attributes would be traced and saved a second time.
        """
        predicted = tf.constant([""])

        # A tensor as default is written to the signature: a request may omit the target class.
        def gradcam(
            image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor = predicted
        ) -> dict[str, tf.Tensor]:
            return self.gradcam(image_bytes, view, target_class)

        def explain_exam(
            image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor, target_class: tf.Tensor = predicted
        ) -> dict[str, tf.Tensor]:
            return self.explain_exam(image_bytes, view, exam_id, target_class)

        functions: dict[str, tuple[Callable[..., dict[str, tf.Tensor]], tuple[str, ...]]] = {
            "serving_default": (self.serving_default, ("examples",)),
            "predict_view": (self.predict_view, ("image_bytes", "view")),
            "predict_exam": (self.predict_exam, ("image_bytes", "view", "exam_id")),
            "gradcam": (gradcam, ("image_bytes", "view", "target_class")),
            "explain_exam": (explain_exam, ("image_bytes", "view", "exam_id", "target_class")),
        }
        return {
            name: tf.function(
                function,
                input_signature=[tf.TensorSpec([None], tf.string, name=given) for given in names],
                autograph=False,
            )
            for name, (function, names) in functions.items()
        }


def _exams_of(exam_id: tf.Tensor, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the exams, string [E], in the order of their first image, and the exam of each image, int32 [N]."""
    same_length = tf.debugging.assert_equal(
        tf.shape(exam_id)[0],
        tf.shape(image_bytes)[0],
        message="Each input needs one entry an image: they differ in length.",
    )
    with tf.control_dependencies([same_length] if same_length is not None else []):
        exams, rows = tf.unique(exam_id)
    return exams, rows


def export(model: ExamModel, folder: str) -> None:
    """Write the SavedModel with its signatures.

    Args:
        model: The exam model.
        folder: Folder to write to.
    """
    tf.saved_model.save(model, folder, signatures=model.signatures())
