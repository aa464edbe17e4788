"""Images through the networks of their views: one request at a time, or in batches of several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import tensorflow as tf

from components.exam_model.batching import BatchingConfig
from components.transform.config import ImageConfig
from components.transform.images import normalise
from schema import features as f

_CLASSES: Final = len(f.DENSITY_CLASSES)
_LARGEST_REQUEST: Final = 4096  # images; more is refused


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


class Networks(Protocol):
    """Grades and explains images, each by the network of its view."""

    def probabilities(self, images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Grades images; see `ViewNetworks`."""
        ...

    def explained(self, images: tf.Tensor, views: tf.Tensor, asked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grades images and explains them; see `ViewNetworks`."""
        ...


class ViewNetworks:
    """The networks of the four views."""

    def __init__(self, networks: Mapping[str, ViewFunctions], image: ImageConfig, mirrored: bool):
        """Makes the networks.

        Args:
            networks: The network of each of ``schema.features.VIEWS``; views may share one.
            image: Input of every network.
            mirrored: They know left breasts: images of right ones are flipped before them, and maps back.
        """
        distinct = {id(networks[view]): networks[view] for view in f.VIEWS}
        self._network_of_view = [list(distinct).index(id(networks[view])) for view in f.VIEWS]
        self._networks = list(distinct.values())
        self._image = image
        self._mirrored = mirrored
        self.map_side = -(-image.size // 32)

    @property
    def weights(self) -> list[tf.Variable]:
        """A variable a network, in the order of VIEWS."""
        return [network.weights for network in self._networks]

    def identity(self) -> str:
        """Hashes weights and settings: 64 hexadecimal digits."""
        digest = hashlib.sha256(f"{self._image.model_dump_json()} {self._network_of_view} {self._mirrored}".encode())
        for variable in self.weights:
            digest.update(variable.numpy().tobytes())
        return digest.hexdigest()

    def probabilities(self, images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Grades images.

        Args:
            images: uint8 [N, size, size, 1].
            views: int32 [N], index in VIEWS.

        Returns:
            float32 [N, 4].
        """

        def forward(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            del rows
            return (tf.nn.softmax(network.head(network.features(normalise(part, self._image)))),)

        images = self._turned(images, views)
        return self._by_view(images, views, forward, (tf.TensorSpec((None, _CLASSES)),))[0]

    def explained(self, images: tf.Tensor, views: tf.Tensor, asked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grades images and explains them by Grad-CAM, in one forward pass.

        Args:
            images: uint8 [N, size, size, 1].
            views: int32 [N], index in VIEWS.
            asked: float32 [N, 4], 1 at the class whose evidence is asked for; zeros for the predicted one.

        Returns:
            Probabilities, float32 [N, 4], and maps, float32 [N, h, w], 0 or more, not scaled.
        """

        def explain(network: ViewFunctions, part: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            activations = network.features(normalise(part, self._image))
            with tf.GradientTape() as tape:
                tape.watch(activations)
                logits = network.head(activations)
                wanted = tf.gather(asked, rows)
                predicted = tf.one_hot(tf.argmax(logits, axis=1), _CLASSES)
                wanted = tf.where(tf.reduce_any(wanted > 0, axis=1, keepdims=True), wanted, predicted)
                score = tf.reduce_sum(logits * wanted)
            weights = tf.reduce_mean(tape.gradient(score, activations), axis=(1, 2), keepdims=True)
            return tf.nn.softmax(logits), tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))

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
        """Sends each image through its view's network and puts the results back in order.

        oneDNN's convolution fails on zero rows, so a network without images is not run.
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
        """Flips the pictures of right breasts, [N, H, W, ...], where the networks are mirrored; undoes itself."""
        if not self._mirrored:
            return pictures
        right = tf.gather(tf.constant([f.laterality_of(view) == "R" for view in f.VIEWS]), views)
        right = tf.reshape(right, [-1] + [1] * (len(pictures.shape) - 1))
        return tf.where(right, tf.reverse(pictures, axis=[2]), pictures)


class BatchedNetworks:
    """The same networks, run on the images of several requests at once where requests meet.

    TensorFlow Serving's own batching (``--enable_batching``) joins whole requests, which would average exams of equal
    identifiers of two clients, so batches are made here, around the networks alone: images are decoded before, so that
    a broken one fails its own request only, and exams are combined after.

    The op's queue is the process's, by name, and a batch runs on the model of its last request. So the name must be
    another one wherever the networks are: it is their hash.
    """

    def __init__(self, networks: ViewNetworks, size: int, config: BatchingConfig, name: str):
        """Makes the batches.

        Args:
            networks: The networks.
            size: Height and width of the images, pixels.
            config: Threads, largest batch and length of the queue.
            name: Of the queue; equal for equal networks and code only.
        """
        images, views = tf.TensorSpec([None, size, size, 1], tf.uint8), tf.TensorSpec([None], tf.int32)
        asked = tf.TensorSpec([None, _CLASSES])
        maps = tf.TensorSpec([None, networks.map_side, networks.map_side])
        grades = tf.TensorSpec([None, _CLASSES])
        self._probabilities = _in_batches(
            lambda *inputs: (networks.probabilities(*inputs),), (images, views), (grades,), config, f"grade_{name}"
        )
        self._explained = _in_batches(
            networks.explained, (images, views, asked), (grades, maps), config, f"explain_{name}"
        )

    def probabilities(self, images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Grades images; see `ViewNetworks`."""
        return self._probabilities(images, views)[0]

    def explained(self, images: tf.Tensor, views: tf.Tensor, asked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Grades images and explains them; see `ViewNetworks`."""
        probabilities, maps = self._explained(images, views, asked)
        return probabilities, maps


def _in_batches(
    function: Callable[..., tuple[tf.Tensor, ...]],
    inputs: Sequence[tf.TensorSpec],
    outputs: Sequence[tf.TensorSpec],
    config: BatchingConfig,
    name: str,
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Wraps a function of rows in the stock op BatchFunction, which waits for nothing where a thread is idle."""
    traced = tf.function(function, input_signature=inputs, autograph=False).get_concrete_function()

    def run(*tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found = tf.raw_ops.BatchFunction(
            in_tensors=list(tensors),
            captured_tensors=traced.captured_inputs,
            f=traced,
            num_batch_threads=config.threads,
            max_batch_size=_LARGEST_REQUEST,
            allowed_batch_sizes=list(range(1, config.max_batch + 1)),  # every size: nothing is padded
            enable_large_batch_splitting=True,
            batch_timeout_micros=0,
            max_enqueued_batches=config.max_enqueued,
            shared_name=name,
            Tout=[spec.dtype for spec in outputs],
        )
        # No shape is known, and of an empty batch the op loses all but the first axis.
        return tuple(tf.reshape(tensor, [-1, *spec.shape[1:]]) for tensor, spec in zip(found, outputs, strict=True))

    return run
