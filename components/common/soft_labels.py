"""Soft labels: the readers' densities as a distribution of the classes, in a view's record."""

from __future__ import annotations

from collections import Counter

import tensorflow as tf

from schema import features as f


def with_shares(record: bytes) -> bytes:
    """Add the share of the readers who chose each class, if a view's exam has several readers.

    An adjudicated density that most readers did not choose stays the only label of its exam.

    Args:
        record: Serialized tf.Example of a view.

    Returns:
        The record with ``density/shares``; an unchanged record if it has no readings, or if another class than its
        density has the most of them.
    """
    example = tf.train.Example.FromString(record)
    feature = example.features.feature
    if f.READINGS not in feature:
        return record
    counts = Counter(value.decode() for value in feature[f.READINGS].bytes_list.value)
    if counts[feature[f.DENSITY].bytes_list.value[0].decode()] < max(counts.values()):
        return record
    feature[f.DENSITY_SHARES].float_list.value[:] = [counts[name] / counts.total() for name in f.DENSITY_CLASSES]
    result: bytes = example.SerializeToString(deterministic=True)
    return result
