"""Measure the views of a split. Only their vectors are kept in memory, 0.6 KB per view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.views import View, read_views
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
    """

    vectors: NDArray[Any]
    labels: NDArray[Any]
    views: NDArray[Any]
    exams: NDArray[Any]


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
    rows: list[tuple[str, int, int]] = []
    for batch in _batches(read_views(folder)):
        views = [VIEWS.index(view.view) for view in batch]
        vectors.append(graph(tf.constant([view.image for view in batch]), tf.constant(views, tf.int32)).numpy())
        rows += [
            (view.exam_id, number, DENSITY_CLASSES.index(view.density))
            for view, number in zip(batch, views, strict=True)
        ]
        measured(len(batch))
    whole = np.concatenate(vectors) if vectors else np.zeros((0, len(VECTOR)), np.float32)
    order = sorted(range(len(rows)), key=lambda row: (rows[row][:2], whole[row].tobytes()))
    _, exams = np.unique([rows[row][0] for row in order], return_inverse=True)
    return MeasuredViews(
        vectors=whole[order],
        labels=np.array([rows[row][2] for row in order], np.int64),
        views=np.array([rows[row][1] for row in order], np.int64),
        exams=exams.astype(np.int64),
    )


def _batches(views: Iterator[View]) -> Iterator[list[View]]:
    while batch := list(islice(views, _BATCH)):
        yield batch
