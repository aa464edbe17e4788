"""TFRecord shards to batches: filter, parse, shuffle, decode, augment, normalise, in tf.data.

The order of an epoch and the augmentation of a batch depend only on seed, epoch and step. A resumed training therefore
sees the same images as an uninterrupted one. The workers of a strategy each decode their own rows of every batch;
together they see the same images as a single worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from components.trainer.augmentation import augment
from components.trainer.config import TrainConfig
from components.transform.images import decode_image, normalise
from components.transform.preprocessing import LABEL, VIEW_INDEX
from schema import features as f

PADDING: Final = -1  # label of the rows that fill the last batch of an evaluation
_BLOCK: Final = 32  # records
_MEMORY: Final = 2**30  # bytes
_HASH_BUCKETS: Final = 2**62
_CLASSES: Final = len(f.DENSITY_CLASSES)
_SHARES: Final = tf.io.FixedLenFeature((_CLASSES,), tf.float32, default_value=(0.0,) * _CLASSES)

_Source = Callable[[tf.Tensor], tf.data.Dataset]  # from the epoch, an int64 scalar, to its examples


@dataclass(frozen=True)
class ViewData:
    """The records of a split that one network uses.

    Attributes:
        files: Sorted TFRecord shards.
        views: The views to keep.
        transform: Output of the Transform node.
        mirrored: True to mirror images of right breasts.
        exams: The exams to keep; None for all exams of the files.
    """

    files: tuple[str, ...]
    views: tuple[str, ...]
    transform: tft.TFTransformOutput
    mirrored: bool = False
    exams: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Records:
    """Summary of the records of a :class:`ViewData`, after they were read once.

    Attributes:
        labels: Indices in DENSITY_CLASSES, in the order of the records.
        encoded_bytes: Total size of the encoded images, bytes.
        fingerprint: Hash of images, labels and flips, in the order of the records.
        are_soft: Some records have soft labels, so training batches have them.
    """

    labels: tuple[int, ...]
    encoded_bytes: int
    fingerprint: str
    are_soft: bool = False


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of a split, for any number of replicas.

    Every batch has ``batch_size`` rows: the last batch of an epoch is filled with the first images of the epoch.
    Training uses these images twice; in an evaluation they have the label ``PADDING``.

    Attributes:
        count: Number of images of the split.
        batch_size: Images per step, over all replicas.
        stream: Function from first epoch and input context to batches of (float32 [n, size, size, channels], int64
            [n]); each replica gets ``steps`` batches per epoch, and n is its share of ``batch_size``. Training batches
            with soft labels have float32 [n, 4] instead of int64 [n]: the distribution of the classes.
    """

    count: int
    batch_size: int
    stream: Callable[[int, tf.distribute.InputContext], tf.data.Dataset]

    @property
    def steps(self) -> int:
        """Number of batches per epoch."""
        return -(-self.count // self.batch_size)


def _membership(names: tuple[str, ...]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function that tells which strings are among some names: string [N] to bool [N]."""
    if not names:  # TensorFlow has no empty tables
        return lambda values: tf.fill(tf.shape(values), False)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(names, tf.string, (len(names),)), tf.ones(len(names), tf.int32)
        ),
        default_value=0,
    )
    return lambda values: tf.equal(table.lookup(values), 1)


def _encoded(data: ViewData, files: tf.data.Dataset) -> tf.data.Dataset:
    """Read (PNG string, label int64, flip bool, distribution float32 [4]) of the records of the chosen views."""
    spec = data.transform.raw_feature_spec()
    layer = data.transform.transform_features_layer()
    wanted = tf.constant(data.views)
    right = tf.constant([f.VIEWS.index(view) for view in f.VIEWS if f.laterality_of(view) == "R"], tf.int64)

    names = (f.VIEW,) if data.exams is None else (f.VIEW, f.EXAM_ID)
    is_kept = None if data.exams is None else _membership(data.exams)

    def keep(serialized: tf.Tensor) -> tf.Tensor:
        found = tf.io.parse_example(serialized, {name: tf.io.FixedLenFeature((), tf.string) for name in names})
        kept = tf.reduce_any(tf.equal(found[f.VIEW][:, tf.newaxis], wanted), axis=1)
        if is_kept is not None:
            kept = tf.logical_and(kept, is_kept(found[f.EXAM_ID]))
        return tf.boolean_mask(serialized, kept)

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        transformed = layer(tf.io.parse_example(serialized, spec))
        found = tf.io.parse_example(serialized, {f.DENSITY_SHARES: _SHARES})[f.DENSITY_SHARES]
        is_soft = tf.reduce_sum(found, axis=1, keepdims=True) > 0
        shares = tf.where(is_soft, found, tf.one_hot(transformed[LABEL], _CLASSES))
        on_right = tf.reduce_any(tf.equal(transformed[VIEW_INDEX][:, tf.newaxis], right), axis=1)
        return transformed[f.IMAGE], transformed[LABEL], tf.logical_and(on_right, data.mirrored), shares

    blocks = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BLOCK)
    ours = blocks.map(keep, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    ours = ours.filter(lambda serialized: tf.size(serialized) > 0)
    return ours.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()


def _files(data: ViewData) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(tf.constant(data.files, tf.string, (len(data.files),)))


def _in_order(data: ViewData) -> tf.data.Dataset:
    return _encoded(data, _files(data))


def read_records(data: ViewData) -> Records:
    """Read all records once, without decoding their images."""
    found = _in_order(data).map(
        lambda png, label, flip, shares: (
            tf.stack(
                [
                    label,
                    tf.cast(tf.strings.length(png), tf.int64),
                    tf.strings.to_hash_bucket_fast(png, _HASH_BUCKETS),
                    tf.cast(flip, tf.int64),
                ]
            ),
            shares,
        )
    )
    read = list(found.as_numpy_iterator())
    rows = np.array([row for row, _ in read], np.int64).reshape(-1, 4)
    shares = np.array([share for _, share in read], np.float32).reshape(-1, _CLASSES)
    are_soft = bool((shares != np.eye(_CLASSES, dtype=np.float32)[rows[:, 0]]).any())
    digest = hashlib.sha256(rows.tobytes() + (shares.tobytes() if are_soft else b"")).hexdigest()[:16]
    return Records(tuple(rows[:, 0].tolist()), int(rows[:, 1].sum()), digest, are_soft)


def batches(
    data: ViewData, config: TrainConfig, *, training: bool, records: Records | None = None, memory: int = _MEMORY
) -> Batches:
    """Return the batches of a split.

    With ``cache_images``, decoded images stay in memory; else encoded images do, up to ``memory``. A larger split is
    read again in each epoch, with its shards in another order, and shuffled in a buffer of that size.

    Args:
        data: The records.
        config: Image, augmentation, batch size, epochs and seed.
        training: True to shuffle and augment; otherwise the records keep their order and are not changed.
        records: Result of :func:`read_records`; None to read them here.
        memory: Maximum size of the encoded images in memory, bytes.

    Returns:
        Batches, equal for equal seeds.
    """
    records = records or read_records(data)
    count = len(records.labels)

    def decode(png: tf.Tensor, label: tf.Tensor, flip: tf.Tensor, shares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = decode_image(png, config.image.size)
        image = tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image) if data.mirrored else image
        return image, shares if training and records.are_soft else label

    if config.cache_images:
        decoded = _in_order(data).map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).cache()
        return _assemble(lambda epoch: decoded, None, count, count, config, training)
    if records.encoded_bytes <= memory:
        encoded = _in_order(data).cache()
        return _assemble(lambda epoch: encoded, decode, count, count, config, training)

    def read(epoch: tf.Tensor) -> tf.data.Dataset:
        files = _files(data)
        return _encoded(data, files.shuffle(len(data.files), seed=epoch) if training else files)

    buffer = max(config.batch_size, memory * count // records.encoded_bytes)
    return _assemble(read, decode, count, buffer, config, training)


def array_batches(images: NDArray[Any], labels: NDArray[Any], config: TrainConfig, *, training: bool) -> Batches:
    """Return batches of decoded images, as :func:`batches` does for records.

    Args:
        images: uint8 [N, size, size, 1].
        labels: int64 [N], indices in DENSITY_CLASSES; for training also float32 [N, 4], distributions of the classes.
        config: Image, augmentation, batch size, epochs and seed.
        training: True to shuffle and augment.

    Returns:
        Batches, equal for equal seeds.
    """
    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    return _assemble(lambda epoch: examples, None, len(labels), len(labels), config, training)


def _assemble(
    source: _Source,
    decode: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None,
    count: int,
    buffer: int,
    config: TrainConfig,
    training: bool,
) -> Batches:
    """Return batches of a source. If ``decode`` is given, examples are decoded after shuffling."""
    size = config.batch_size
    total = -(-count // size) * size

    def epoch_of(epoch: tf.Tensor) -> tf.data.Dataset:
        examples = source(epoch)
        if training:
            examples = examples.shuffle(buffer, seed=epoch, reshuffle_each_iteration=False)
        return examples.repeat().take(total).enumerate(epoch * total)

    def stream(first_epoch: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
        # tf.data combines its seeds with the global seed, which an earlier training in this process may have set.
        tf.random.set_seed(config.seed)
        share = size // context.num_replicas_in_sync
        ours = size // context.num_input_pipelines
        begin = context.input_pipeline_id * ours

        def example(position: tf.Tensor, values: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            image, label = decode(*values) if decode else values
            if training:
                return position, image, label
            return position, image, tf.where(position % total >= count, tf.constant(PADDING, tf.int64), label)

        def finish(positions: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if training:
                first = positions[0]
                seed = tf.stack([tf.constant(config.seed, tf.int64), first // size])
                images = augment(images, config.augmentation, seed, tf.cast(first % size, tf.int32), size)
            return normalise(images, config.image), labels

        examples = tf.data.Dataset.range(first_epoch, config.epochs).flat_map(epoch_of)
        if context.num_input_pipelines > 1:
            examples = examples.filter(
                lambda position, values: tf.logical_and(position % size >= begin, position % size < begin + ours)
            )
        decoded = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        finished = decoded.batch(share, drop_remainder=True).map(
            finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return finished.prefetch(tf.data.AUTOTUNE)

    return Batches(count, size, stream)
