"""The ``preprocessing_fn`` of the Transform node.

Images pass through as PNG bytes; only scalars are derived from them, so no decoded image is stored.
"""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf
import tensorflow_transform as tft

from components.transform.images import decode_images
from schema import features as f

LABEL: Final = "label"  # int64, index in DENSITY_CLASSES
VIEW_INDEX: Final = "view_index"  # int64, index in VIEWS
SYSTEM_INDEX: Final = "acquisition_system_index"  # int64, vocabulary index, one bucket for unseen systems
AGE_SCALED: Final = "patient_age_scaled"  # float, z-score of the training split; 0 = unknown
IMAGE_MEAN: Final = "image_mean"  # float, mean of the training split's pixels, 0..255
IMAGE_DEVIATION: Final = "image_deviation"  # float, standard deviation of the same
RAW_PASSED: Final = (f.IMAGE, f.EXAM_ID)

_MOMENTS_SIZE: Final = 64  # pixels: mean and deviation need no more


def index_of(values: tf.Tensor, names: tuple[str, ...]) -> tf.Tensor:
    """Return the index of each string in a fixed tuple: string [N] to int64 [N], -1 for unknown strings."""
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(names), tf.range(len(names), dtype=tf.int64), tf.string, tf.int64
        ),
        default_value=-1,
    )
    return table.lookup(values)


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Derive labels, vocabularies and numeric features from raw features of a batch.

    Args:
        inputs: Raw features by name, each [N], as in ``schema/schema.pbtxt``.
        custom_config: Contains the code fingerprint, which is part of the cache key and is not read here.

    Returns:
        Transformed features by name, each [N].
    """
    del custom_config
    age = tf.cast(inputs[f.PATIENT_AGE], tf.float32)
    known = age >= 0
    mean_age = tft.mean(tf.boolean_mask(age, known))
    deviation_age = tf.sqrt(tft.var(tf.boolean_mask(age, known)))
    pixels = tf.cast(decode_images(inputs[f.IMAGE], _MOMENTS_SIZE), tf.float32)
    ones = tf.ones_like(age)
    return {
        LABEL: index_of(inputs[f.DENSITY], f.DENSITY_CLASSES),
        VIEW_INDEX: index_of(inputs[f.VIEW], f.VIEWS),
        SYSTEM_INDEX: tft.compute_and_apply_vocabulary(
            inputs[f.ACQUISITION_SYSTEM], num_oov_buckets=1, vocab_filename="acquisition_systems"
        ),
        AGE_SCALED: tf.where(known, (age - mean_age) / tf.maximum(deviation_age, 1.0), 0.0),
        IMAGE_MEAN: ones * tft.mean(pixels),
        IMAGE_DEVIATION: ones * tf.sqrt(tft.var(pixels)),
        **{name: inputs[name] for name in RAW_PASSED},
    }
