"""Run images through the networks of their views: one request at a time, or several in one batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import tensorflow as tf

from components.exam_model.batching import BatchingConfig
from components.exam_model.png_check import LARGEST_REQUEST
from components.transform.class_outputs import class_probabilities, class_scores
from components.transform.config import ImageConfig
from components.transform.images import normalise
from schema import features as f

_CLASSES: Final = len(f.DENSITY_CLASSES)


@dataclass(frozen=True)
class ViewFunctions:
    """The network of one view as plain TensorFlow functions.

    Attributes:
        features: From images, float32 [N, size, size, C], to the sum of the last block, float32 [N, h, w, K].
        head: From that sum to logits, float32 [N, 4], or [N, 3] of a cumulative head.
        weights: The variable that both read.
    """

    features: Callable[[tf.Tensor], tf.Tensor]
    head: Callable[[tf.Tensor], tf.Tensor]
    weights: tf.Variable


class Networks(Protocol):
    """Networks that grade and explain images, each with the network of its view."""

    def probabilities(self, images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Grade images; see `ViewNetworks`."""
        ...

    def explained(self, images: tf.Tensor, views: tf.Tensor, preference: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grade images and explain them; see `ViewNetworks`."""
        ...


class ViewNetworks:
    """The networks of the four views."""

    def __init__(self, networks: Mapping[str, ViewFunctions], image: ImageConfig, mirrored: bool):
        """Create the networks.

        Args:
            networks: Network of each of ``schema.features.VIEWS``; views may share one.
            image: Input of every network.
            mirrored: They are trained on left breasts: images of right breasts and their maps are flipped.
        """
        distinct = {id(networks[view]): networks[view] for view in f.VIEWS}
        self._network_of_view = [list(distinct).index(id(networks[view])) for view in f.VIEWS]
        self._networks = list(distinct.values())
        self._image = image
        self._mirrored = mirrored
        self.map_side = -(-image.size // 32)

    @property
    def weights(self) -> list[tf.Variable]:
        """One variable per network, in the order of VIEWS."""
        return [network.weights for network in self._networks]

    def identity(self) -> str:
        """Return a hash of weights and settings, 64 hexadecimal digits."""
        digest = hashlib.sha256(f"{self._image.model_dump_json()} {self._network_of_view} {self._mirrored}".encode())
        for variable in self.weights:
            digest.update(variable.numpy().tobytes())
        return digest.hexdigest()

    def probabilities(self, images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Grade images.

        Args:
            images: uint8 [N, size, size, 1].
            views: int32 [N], index in VIEWS.

        Returns:
            float32 [N, 4].
        """

        def forward(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            del rows
            return (class_probabilities(network.head(network.features(normalise(part, self._image)))),)

        images = self._turned(images, views)
        return self._by_view(images, views, forward, (tf.TensorSpec((None, _CLASSES)),))[0]

    def explained(self, images: tf.Tensor, views: tf.Tensor, preference: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grade images and explain them with Grad-CAM, in one forward pass.

        Args:
            images: uint8 [N, size, size, 1].
            views: int32 [N], index in VIEWS.
            preference: float32 [N, 4]. The class with the largest sum of probability and preference is explained:
                zeros explain the class that the network predicts.

        Returns:
            Probabilities, float32 [N, 4], and maps, float32 [N, h, w], 0 or more, not scaled.
        """

        def explain(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            activations = network.features(normalise(part, self._image))
            with tf.GradientTape() as tape:
                tape.watch(activations)
                logits = network.head(activations)
                chosen = tf.argmax(class_probabilities(logits) + tf.gather(preference, rows), axis=1)
                score = tf.reduce_sum(class_scores(logits) * tf.one_hot(chosen, _CLASSES))
            weights = tf.reduce_mean(tape.gradient(score, activations), axis=(1, 2), keepdims=True)
            return class_probabilities(logits), tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))

        specs = (tf.TensorSpec((None, _CLASSES)), tf.TensorSpec((None, self.map_side, self.map_side)))
        probabilities, maps = self._by_view(self._turned(images, views), views, explain, specs)
        return probabilities, self._turned(maps, views)

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
        grades = tf.TensorSpec([None, _CLASSES])
        self._probabilities = _in_batches(
            lambda *inputs: (networks.probabilities(*inputs),), (images, views), (grades,), config, f"grade_{name}"
        )
        self._explained = _in_batches(
            networks.explained, (images, views, preference), (grades, maps), config, f"explain_{name}"
        )

    def probabilities(self, images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Grade images; see `ViewNetworks`."""
        return self._probabilities(images, views)[0]

    def explained(self, images: tf.Tensor, views: tf.Tensor, preference: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grade images and explain them; see `ViewNetworks`."""
        probabilities, maps = self._explained(images, views, preference)
        return probabilities, maps


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
