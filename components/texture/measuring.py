"""Measure the views of a split. Only their vectors are kept in memory, 0.6 KB per view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.views import View, batched, read_views
from components.texture.view_vector import VECTOR, view_vectors
from components.transform.images import decode_images
from schema.features import DENSITY_CLASSES, VIEWS

_BATCH: Final = 16  # pictures in memory


@dataclass(frozen=True, eq=False)
class MeasuredViews:
    """The views of a split, sorted by exam, view and vector, so that the order of the shards does not matter.

    Attributes:
        vectors: float32 [N, D], in the order of VECTOR.
        labels: int64 [N], index in DENSITY_CLASSES.
        views: int64 [N], index in VIEWS.
        exams: int64 [N], 0 to E - 1.
        targets: float64 [N, 4], the distribution of the classes that is learned, if a label is soft; else None.
    """

    vectors: NDArray[Any]
    labels: NDArray[Any]
    views: NDArray[Any]
    exams: NDArray[Any]
    targets: NDArray[Any] | None = None


def measure_split(folder: str, side: int, measured: Callable[[int], None] = lambda count: None) -> MeasuredViews:
    """Measure the views of a split.

    Args:
        folder: Split folder of preprocessed examples.
        side: Pictures are resized to this height and width, pixels.
        measured: Called with the number of further views that are measured.

    Returns:
        The measured views.
    """

    def measure(image_bytes: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        return view_vectors(decode_images(image_bytes, side), views)

    spec = [tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32)]
    graph = tf.function(measure, input_signature=spec, autograph=False)
    vectors: list[NDArray[Any]] = []
    found: list[View] = []
    for batch in batched(read_views(folder), _BATCH):
        views = [VIEWS.index(view.view) for view in batch]
        vectors.append(graph(tf.constant([view.image for view in batch]), tf.constant(views, tf.int32)).numpy())
        found += [replace(view, image=b"", regions=b"") for view in batch]
        measured(len(batch))
    whole = np.concatenate(vectors) if vectors else np.zeros((0, len(VECTOR)), np.float32)
    keys = [(view.exam_id, VIEWS.index(view.view), vector.tobytes()) for view, vector in zip(found, whole, strict=True)]
    order = sorted(range(len(found)), key=keys.__getitem__)
    return measured_views([found[row] for row in order], whole[order])


def measured_views(views: Sequence[View], vectors: NDArray[Any]) -> MeasuredViews:
    """Combine views, sorted by exam, with their vectors, float32 [N, D]."""
    _, exams = np.unique([view.exam_id for view in views], return_inverse=True)
    return MeasuredViews(
        vectors=vectors,
        labels=np.array([DENSITY_CLASSES.index(view.density) for view in views], np.int64),
        views=np.array([VIEWS.index(view.view) for view in views], np.int64),
        exams=exams.astype(np.int64),
        targets=np.array([view.target for view in views]) if any(view.shares for view in views) else None,
    )
