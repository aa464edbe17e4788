"""The exam model: the view networks in one SavedModel, with every signature of the serving contract.

It has only stock TensorFlow operations: an unmodified TensorFlow Serving loads it, without this package or Keras.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import tensorflow as tf

from components.common.fingerprint import code_fingerprint
from components.exam_model.batching import BatchingConfig
from components.exam_model.exam_grades import density_names, grade_exams
from components.exam_model.familiarity import (
    NOT_AVAILABLE,
    Familiarity,
    exam_familiarity,
    familiarity_of,
)
from components.exam_model.heat_source import GRAD_CAM, HeatMapConfig
from components.exam_model.inputs import asked_classes, checked_views, exams_of
from components.exam_model.mixture import Mixer, Mixture, TextureOfViews
from components.exam_model.overlays import overlay
from components.exam_model.png_check import checked_pngs
from components.exam_model.view_networks import (
    BatchedNetworks,
    Networks,
    ViewFunctions,
    ViewNetworks,
    distinct_networks,
    with_distances,
)
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
        familiarity: What the model knows about its training exams; None if it could not be fitted.
        heat_map: Method and stages of the heat maps; the networks must be cut behind the same stages.

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
    familiarity: Familiarity | None = field(default=None, repr=False)
    heat_map: HeatMapConfig = GRAD_CAM

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 1 <= self.minimum_views <= len(f.VIEWS):
            raise ValueError(
                f"temperature must be above 0 and minimum_views 1 to {len(f.VIEWS)}. Received:"
                f" temperature={self.temperature}, minimum_views={self.minimum_views}"
            )


class _GradedViews(NamedTuple):
    """What the parts of the model say of images.

    Attributes:
        networks: Probabilities by the networks, float32 [N, 4].
        distances: From the training views, float32 [N]; 0 without familiarity.
        texture: What the texture model says; None without one.
    """

    networks: tf.Tensor
    distances: tf.Tensor
    texture: TextureOfViews | None


class ExamModel(tf.Module):
    """Grades views and exams, and explains views with heat maps, see :mod:`components.exam_model.activation_maps`.

    The maps read the sum of the last block of a stage. The score of a class is its logit; of a cumulative head it is a
    sum of logits, see :func:`components.transform.class_outputs.class_scores`.
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
        fitted = networks if settings.familiarity is None else with_distances(networks, settings.familiarity)
        plain = ViewNetworks(fitted, image, settings.mirrored, settings.heat_map)
        # Attributes of a tf.Module are saved; the Keras models behind the functions must not be. A warm start reads
        # this list from the SavedModel: a variable a network, in the order of VIEWS.
        self._weights = plain.weights
        self._mixer = Mixer(settings.mixture) if settings.mixture else None
        self._distances = [network.distance for network in distinct_networks(fitted) if network.distance]
        served: Networks = plain
        if settings.batching is not None:
            name = hashlib.sha256(f"{plain.identity()} {settings} {code_fingerprint(__name__)}".encode()).hexdigest()
            served = BatchedNetworks(plain, image.size, settings.batching, name)
        self._networks: Callable[[], Networks] = lambda: served
        self._plain: Callable[[], ViewNetworks] = lambda: plain
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

    @property
    def statistics(self) -> int:
        """Number of statistics behind the distance of a view; 0 if the networks lack the layers."""
        return self._plain().statistics_size

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """Layers of these statistics."""
        return self._plain().layers

    @property
    def network_of_view(self) -> dict[str, int]:
        """Index of the network of each view among the distinct networks."""
        return self._plain().network_of_view

    def view_statistics(self, image_bytes: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
        """Return the statistics of layers to which :class:`Familiarity` is fitted, float32 [N, P]."""
        views = checked_views(view, image_bytes)
        return self._plain().statistics(self._decoded(image_bytes), views)

    def view_distances(self, image_bytes: tf.Tensor, view: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grade views, and return their distances from the training views: float32 [N, 4] and [N]."""
        graded = self._graded_views(image_bytes, checked_views(view, image_bytes))
        return self._mixed(graded), graded.distances

    def _decoded(self, image_bytes: tf.Tensor) -> tf.Tensor:
        return decode_images(checked_pngs(image_bytes, self._image.size), self._image.size)

    def _graded_views(self, image_bytes: tf.Tensor, views: tf.Tensor) -> _GradedViews:
        networks, distances = self._networks().graded(self._decoded(image_bytes), views)
        return _GradedViews(networks, distances, self._texture(image_bytes, views))

    def _answer(self, graded: _GradedViews) -> dict[str, tf.Tensor]:
        """Return the outputs of views."""
        probabilities = self._mixed(graded)
        return {
            "probabilities": probabilities,
            "density": density_names(probabilities),
            "familiarity": self._known(graded.distances, lambda: familiarity_of(graded.distances, 1.0)),
        }

    def _known(self, rows: tf.Tensor, familiarity: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Return the familiarity, or the value that says that it is not available for each of the rows."""
        return tf.fill(tf.shape(rows), NOT_AVAILABLE) if self._settings.familiarity is None else familiarity()

    def _texture(self, image_bytes: tf.Tensor, views: tf.Tensor) -> TextureOfViews | None:
        if self._mixer is None:
            return None
        return self._mixer.measure(checked_pngs(image_bytes, self._image.size), views)

    def _mixed(self, graded: _GradedViews) -> tf.Tensor:
        """Return the probabilities of views, float32 [N, 4]."""
        if self._mixer is None or graded.texture is None:
            return graded.networks
        return self._mixer.mix(graded.networks, graded.texture)

    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade serialized tf.Examples of preprocessed views, see :meth:`predict_view`."""
        parsed = tf.io.parse_example(
            examples,
            {f.IMAGE: tf.io.FixedLenFeature((), tf.string), f.VIEW: tf.io.FixedLenFeature((), tf.string)},
        )
        return self.predict_view(parsed[f.IMAGE], parsed[f.VIEW])

    def predict_view(self, image_bytes: tf.Tensor, view: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade preprocessed views given as PNG bytes: probabilities [N, 4], density [N] and familiarity [N]."""
        return self._answer(self._graded_views(image_bytes, checked_views(view, image_bytes)))

    def predict_exam(self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade exams: the mean of the present views, per breast and for all, then calibrated.

        Returns, in the order in which the exams first appear: exam_id [E], the outputs of
        :func:`components.exam_model.exam_grades.grade_exams`, preprocessing [E]: the required recipe of the images,
        training_systems [E]: the acquisition systems of the training exams; both as JSON; and familiarity [E]. A mixed
        classifier adds the outputs of :meth:`components.exam_model.mixture.Mixer.exam_outputs`.
        """
        exams, rows = exams_of(exam_id, image_bytes)
        views = checked_views(view, image_bytes)
        return self._exam_answer(self._graded_views(image_bytes, views), views, exams, rows)

    def _exam_answer(
        self, of: _GradedViews, views: tf.Tensor, exams: tf.Tensor, rows: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return the outputs of exams."""
        count, settings, known = tf.size(exams), self._settings, self._settings.familiarity
        thresholds = () if known is None else known.exam_thresholds
        graded = grade_exams(self._mixed(of), views, rows, count, settings.temperature, settings.minimum_views)
        if self._mixer is not None and of.texture is not None:
            graded |= self._mixer.exam_outputs(of.networks, of.texture, views, rows, graded["probabilities"])
        return {
            "exam_id": exams,
            **graded,
            "preprocessing": tf.fill([count], self._settings.preprocessing),
            "training_systems": tf.fill([count], self._settings.training_systems),
            "familiarity": self._known(exams, lambda: exam_familiarity(of.distances, views, rows, count, thresholds)),
        }

    def gradcam(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade views and compute heat maps of the evidence for a class.

        Args:
            image_bytes: string [N], 8-bit PNG, preprocessed.
            view: string [N].
            target_class: string [N] or [1] for all: A, B, C or D; empty means the predicted class.

        Returns:
            probabilities [N, 4], density [N], familiarity [N], heatmap float32 [N, H, W] in 0..1, heatmap_method
            string [N], overlay_png_bytes string [N]; of a mixed classifier texture_map float32 [N, H, W] in 0..1, see
            :func:`components.texture.energy.band_energy`.
        """
        views = checked_views(view, image_bytes)
        graded, maps = self._explained(image_bytes, views, target_class)
        return {**self._answer(graded), **maps}

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
            Per exam the outputs of :meth:`predict_exam`; per image view_probabilities [N, 4], view_density [N],
            view_familiarity [N], heatmap float32 [N, H, W] in 0..1, heatmap_method and overlay_png_bytes
            string [N], and texture_map as of :meth:`gradcam`.
        """
        exams, rows = exams_of(exam_id, image_bytes)
        views = checked_views(view, image_bytes)
        graded, maps = self._explained(image_bytes, views, target_class)
        return {
            **self._exam_answer(graded, views, exams, rows),
            **{f"view_{name}": value for name, value in self._answer(graded).items()},
            **maps,
        }

    def _explained(
        self, image_bytes: tf.Tensor, views: tf.Tensor, target_class: tf.Tensor
    ) -> tuple[_GradedViews, dict[str, tf.Tensor]]:
        """Return the graded images, and the maps of each by name of the output."""
        images, texture = self._decoded(image_bytes), self._texture(image_bytes, views)
        preference = self._preference(target_class, views, texture)
        networks, distances, maps = self._networks().explained(images, views, preference)
        heat = self._scaled(maps)
        graded = _GradedViews(networks, distances, texture)
        answer = {
            "heatmap": heat,
            "heatmap_method": tf.fill(tf.shape(views), self._settings.heat_map.name),
            "overlay_png_bytes": overlay(images, heat),
        }
        if self._mixer is not None:
            answer["texture_map"] = self._scaled(self._mixer.energy(image_bytes))
        return graded, answer

    def _scaled(self, maps: tf.Tensor) -> tf.Tensor:
        """Resize maps, [N, h, w], 0 or more, to the images, and divide each by its maximum."""
        whole = tf.image.resize(maps[..., tf.newaxis], (self._image.size, self._image.size))[..., 0]
        largest = tf.reduce_max(whole, axis=(1, 2), keepdims=True)
        return tf.clip_by_value(tf.math.divide_no_nan(whole, largest), 0.0, 1.0)

    def _preference(self, target_class: tf.Tensor, views: tf.Tensor, texture: TextureOfViews | None) -> tf.Tensor:
        """Return what makes a network explain the requested class, or the class that is predicted for the view.

        Returns:
            float32 [N, 4], see :meth:`components.exam_model.view_networks.ViewNetworks.explained`. Fails on an unknown
            class.
        """
        matches = asked_classes(target_class, views)
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


def export(model: ExamModel, folder: str) -> None:
    """Write the SavedModel with its signatures.

    Args:
        model: The exam model.
        folder: Folder to write to.
    """
    tf.saved_model.save(model, folder, signatures=model.signatures())
