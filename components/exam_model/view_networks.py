"""Run images through the networks of their views: one request at a time, or several in one batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import tensorflow as tf

from components.exam_model.activation_maps import heat_maps
from components.exam_model.batching import BatchingConfig
from components.exam_model.familiarity import DistanceFunction, Familiarity
from components.exam_model.heat_source import HeatMapConfig
from components.exam_model.png_check import LARGEST_REQUEST
from components.transform.class_outputs import class_probabilities, class_scores
from components.transform.config import ImageConfig
from components.transform.images import normalise
from schema import features as f

_CLASSES: Final = len(f.DENSITY_CLASSES)


@dataclass(frozen=True, eq=False)
class ViewFunctions:
    """The network of one view as plain TensorFlow functions.

    Attributes:
        features: From images, float32 [N, size, size, C], to the activations of the first stage of the heat map,
            float32 [N, h, w, K], and the statistics of earlier layers, float32 [N, P], see
            ``familiarity.channel_statistics``.
        parts: From the activations of each stage of the heat map to those of the next one; the last goes to logits,
            float32 [N, 4], or [N, 3] of a cumulative head.
        stages: Stages of the heat map.
        weights: The variable that all read.
        statistics: Number of these statistics; 0 if the network lacks the layers.
        layers: These layers.
        distance: From the statistics to the distance from the training views; None if it is not fitted.
    """

    features: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    parts: tuple[Callable[[tf.Tensor], tf.Tensor], ...]
    stages: tuple[int, ...]
    weights: tf.Variable
    statistics: int = 0
    layers: tuple[str, ...] = ()
    distance: DistanceFunction | None = None

    def to_logits(self, activations: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the logits, and the activations of each stage of the heat map, the first of which is given."""
        of_stages = [activations]
        for part in self.parts[:-1]:
            of_stages.append(part(of_stages[-1]))
        return self.parts[-1](of_stages[-1]), of_stages

    def distances(self, statistics: tf.Tensor) -> tf.Tensor:
        """Return the distances from the training views, float32 [N]; zeros if they are not fitted."""
        return tf.zeros(tf.shape(statistics)[0]) if self.distance is None else self.distance(statistics)


def distinct_networks(networks: Mapping[str, ViewFunctions]) -> list[ViewFunctions]:
    """Return each network once, in the order of its first view in VIEWS."""
    return list({id(networks[view]): networks[view] for view in f.VIEWS}.values())


def with_distances(networks: Mapping[str, ViewFunctions], known: Familiarity) -> dict[str, ViewFunctions]:
    """Return the networks with the distances of their features from the training views; shared ones stay shared."""
    distinct = distinct_networks(networks)
    fitted = {
        id(network): replace(network, distance=DistanceFunction(distribution))
        for network, distribution in zip(distinct, known.networks, strict=True)
    }
    return {view: fitted[id(network)] for view, network in networks.items()}


class Networks(Protocol):
    """Networks that grade and explain images, each with the network of its view."""

    def graded(self, images: tf.Tensor, views: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grade images; see `ViewNetworks`."""
        ...

    def explained(
        self, images: tf.Tensor, views: tf.Tensor, preference: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Grade images and explain them; see `ViewNetworks`."""
        ...


class ViewNetworks:
    """The networks of the four views."""

    def __init__(
        self, networks: Mapping[str, ViewFunctions], image: ImageConfig, mirrored: bool, heat_map: HeatMapConfig
    ):
        """Create the networks.

        Args:
            networks: Network of each of ``schema.features.VIEWS``; views may share one.
            image: Input of every network.
            mirrored: They are trained on left breasts: images of right breasts and their maps are flipped.
            heat_map: Method and stages of the heat maps.

        Raises:
            ValueError: A network is cut behind other stages.
        """
        if cut := {network.stages for network in networks.values()} - {heat_map.stages}:
            raise ValueError(f"The networks are cut behind stages {sorted(cut)}. Expected: {heat_map.stages}")
        self._networks = distinct_networks(networks)
        self._network_of_view = [self._networks.index(networks[view]) for view in f.VIEWS]
        self._image = image
        self._mirrored = mirrored
        self._heat_map = heat_map
        self.map_side = heat_map.side(image.size)

    @property
    def weights(self) -> list[tf.Variable]:
        """One variable per network, in the order of VIEWS."""
        return [network.weights for network in self._networks]

    def identity(self) -> str:
        """Return a hash of weights and settings, 64 hexadecimal digits."""
        digest = hashlib.sha256(f"{self._image.model_dump_json()} {self._network_of_view} {self._mirrored}".encode())
        for variable in (*self.weights, *(v for n in self._networks if n.distance for v in n.distance.variables)):
            digest.update(variable.numpy().tobytes())
        return digest.hexdigest()

    @property
    def statistics_size(self) -> int:
        """Number of statistics of a view; 0 if the networks lack the layers."""
        return self._networks[0].statistics

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers behind these statistics."""
        return self._networks[0].layers

    @property
    def network_of_view(self) -> dict[str, int]:
        """Index of the network of each view, in the order of ``weights``."""
        return dict(zip(f.VIEWS, self._network_of_view, strict=True))

    def statistics(self, images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Return the statistics of the networks' layers, float32 [N, P]; images and views as for `graded`."""

        def forward(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            del rows
            return (network.features(normalise(part, self._image))[1],)

        spec = tf.TensorSpec((None, self.statistics_size))
        return self._by_view(self._turned(images, views), views, forward, (spec,))[0]

    def graded(self, images: tf.Tensor, views: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grade images.

        Args:
            images: uint8 [N, size, size, 1].
            views: int32 [N], index in VIEWS.

        Returns:
            Probabilities, float32 [N, 4], and distances from the training views, float32 [N], 1 at the threshold and 0
            if they are not fitted.
        """

        def forward(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            del rows
            activations, statistics = network.features(normalise(part, self._image))
            return class_probabilities(network.to_logits(activations)[0]), network.distances(statistics)

        specs = (tf.TensorSpec((None, _CLASSES)), tf.TensorSpec((None,)))
        probabilities, distances = self._by_view(self._turned(images, views), views, forward, specs)
        return probabilities, distances

    def explained(
        self, images: tf.Tensor, views: tf.Tensor, preference: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Grade images and explain them, in one forward pass.

        Args:
            images: uint8 [N, size, size, 1].
            views: int32 [N], index in VIEWS.
            preference: float32 [N, 4]. The class with the largest sum of probability and preference is explained:
                zeros explain the class that the network predicts.

        Returns:
            Probabilities and distances as of `graded`, and maps, float32 [N, h, w], 0 or more, not scaled.
        """

        def explain(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            activations, statistics = network.features(normalise(part, self._image))
            with tf.GradientTape() as tape:
                tape.watch(activations)
                logits, of_stages = network.to_logits(activations)
                chosen = tf.argmax(class_probabilities(logits) + tf.gather(preference, rows), axis=1)
                score = tf.reduce_sum(class_scores(logits) * tf.one_hot(chosen, _CLASSES))
            maps = heat_maps(self._heat_map, of_stages, tape.gradient(score, of_stages))
            return class_probabilities(logits), network.distances(statistics), maps

        side = self.map_side
        specs = (tf.TensorSpec((None, _CLASSES)), tf.TensorSpec((None,)), tf.TensorSpec((None, side, side)))
        probabilities, distances, maps = self._by_view(self._turned(images, views), views, explain, specs)
        return probabilities, distances, self._turned(maps, views)

    def _by_view(
        self,
        images: tf.Tensor,
        views: tf.Tensor,
        function: Callable[[ViewFunctions, tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]],
        empty: tuple[tf.TensorSpec, ...],
    ) -> tuple[tf.Tensor, ...]:
        """Run each image through the network of its view, and return the results in the order of the images.

        The convolution of oneDNN fails on zero rows, so a network without images is not run.
        """
        indices, parts = [], []
        numbers = tf.gather(tf.constant(self._network_of_view), views)
        for number, network in enumerate(self._networks):
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
        """Flip the pictures of right breasts, [N, H, W, ...], if the networks are mirrored; it is its own inverse."""
        if not self._mirrored:
            return pictures
        right = tf.gather(tf.constant([f.laterality_of(view) == "R" for view in f.VIEWS]), views)
        right = tf.reshape(right, [-1] + [1] * (len(pictures.shape) - 1))
        return tf.where(right, tf.reverse(pictures, axis=[2]), pictures)


class BatchedNetworks:
    """The same networks, run on the images of several simultaneous requests at once.

    The batching of TensorFlow Serving (``--enable_batching``) joins whole requests. It would average exams of two
    clients that have equal identifiers. So batches are made here, only around the networks: images are decoded before,
    so that a broken image fails its own request only, and exams are combined after.

    The queue of the op belongs to the process and is found by name, and a batch runs on the model of its last request.
    So different networks need different names: the name is their hash.
    """

    def __init__(self, networks: ViewNetworks, size: int, config: BatchingConfig, name: str):
        """Create the batches.

        Args:
            networks: The networks.
            size: Height and width of the images, pixels.
            config: Threads, largest batch and length of the queue.
            name: Name of the queue; equal only for equal networks and code.
        """
        images, views = tf.TensorSpec([None, size, size, 1], tf.uint8), tf.TensorSpec([None], tf.int32)
        preference = tf.TensorSpec([None, _CLASSES])
        maps = tf.TensorSpec([None, networks.map_side, networks.map_side])
        grades = (tf.TensorSpec([None, _CLASSES]), tf.TensorSpec([None]))
        self._graded = _in_batches(networks.graded, (images, views), grades, config, f"grade_{name}")
        self._explained = _in_batches(
            networks.explained, (images, views, preference), (*grades, maps), config, f"explain_{name}"
        )

    def graded(self, images: tf.Tensor, views: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grade images; see `ViewNetworks`."""
        probabilities, distances = self._graded(images, views)
        return probabilities, distances

    def explained(
        self, images: tf.Tensor, views: tf.Tensor, preference: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Grade images and explain them; see `ViewNetworks`."""
        probabilities, distances, maps = self._explained(images, views, preference)
        return probabilities, distances, maps


def _in_batches(
    function: Callable[..., tuple[tf.Tensor, ...]],
    inputs: Sequence[tf.TensorSpec],
    outputs: Sequence[tf.TensorSpec],
    config: BatchingConfig,
    name: str,
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Wrap a function of rows in the stock op BatchFunction, which does not wait if a thread is idle."""
    traced = tf.function(function, input_signature=inputs, autograph=False).get_concrete_function()

    def run(*tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found = tf.raw_ops.BatchFunction(
            in_tensors=list(tensors),
            captured_tensors=traced.captured_inputs,
            f=traced,
            num_batch_threads=config.threads,
            max_batch_size=LARGEST_REQUEST,
            allowed_batch_sizes=list(range(1, config.max_batch + 1)),  # every size, so nothing is padded
            enable_large_batch_splitting=True,
            batch_timeout_micros=0,
            max_enqueued_batches=config.max_enqueued,
            shared_name=name,
            Tout=[spec.dtype for spec in outputs],
        )
        # Shapes are unknown, and the op drops all axes but the first from an empty batch.
        return tuple(tf.reshape(tensor, [-1, *spec.shape[1:]]) for tensor, spec in zip(found, outputs, strict=True))

    return run
