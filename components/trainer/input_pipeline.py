"""TFRecord shards to batches: parse, transform, decode, augment, normalise, in tf.data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.augmentation import augment
from components.trainer.config import TrainConfig
from components.transform.images import decode_image, normalise
from components.transform.preprocessing import LABEL, VIEW_INDEX
from schema import features as f


@dataclass(frozen=True)
class ViewData:
    """The records of one view in one split.

    Attributes:
        files: Sorted TFRecord shards.
        view: The view to keep.
        transform: Output of the Transform node.
    """

    files: tuple[str, ...]
    view: str
    transform: tft.TFTransformOutput


def _encoded(data: ViewData) -> tf.data.Dataset:
    spec = data.transform.raw_feature_spec()
    layer = data.transform.transform_features_layer()
    wanted = f.VIEWS.index(data.view)

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        transformed = layer(tf.io.parse_example(serialized, spec))
        return transformed[f.IMAGE], transformed[LABEL], transformed[VIEW_INDEX]

    records = tf.data.TFRecordDataset(list(data.files), compression_type="GZIP")
    parsed = records.batch(32).map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()
    return parsed.filter(lambda image, label, view: tf.equal(view, wanted)).map(
        lambda image, label, view: (image, label)
    )


def labels_of(data: ViewData) -> Sequence[int]:
    """Reads the labels of a view's records: indices in DENSITY_CLASSES."""
    return [int(label) for label in _encoded(data).map(lambda image, label: label).as_numpy_iterator()]


def batches(data: ViewData, config: TrainConfig, *, training: bool) -> tf.data.Dataset:
    """Builds the batches of one epoch; iterating again gives the next epoch.

    Args:
        data: Which records.
        config: Image, augmentation, batch size and seed.
        training: Shuffle and augment; otherwise the records come in their order, unaltered.

    Returns:
        Dataset of (float32 [N, size, size, channels], int64 [N]); deterministic under the seed.
    """
    # tf.data joins its seeds with TensorFlow's global one, which an earlier training of this process may have set.
    tf.random.set_seed(config.seed)
    decoded = _encoded(data).map(
        lambda image, label: (decode_image(image, config.image.size), label),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    if config.cache_images:
        decoded = decoded.cache()
    if training:
        decoded = decoded.shuffle(1024, seed=config.seed, reshuffle_each_iteration=True)
    batched = decoded.batch(config.batch_size)
    if training:
        seeds = tf.data.Dataset.random(seed=config.seed, rerandomize_each_iteration=True).batch(2)
        batched = tf.data.Dataset.zip(batched, seeds).map(
            lambda example, seed: (augment(example[0], config.augmentation, seed), example[1]),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    return batched.map(
        lambda images, labels: (normalise(images, config.image), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).prefetch(tf.data.AUTOTUNE)
