"""Shards of preprocessing: one ingested shard in, one of preprocessed views out, and the rows of the report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png, pixels_sha256
from components.common.progress import advance
from components.common.shards import read_shard, write_bytes, write_shard
from components.common.stages import LostRecordsError
from components.mammogram_preprocessor.quality import QualityRow, quality_row
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.merging import LeftOut
from components.preprocessing.overlay import overlay_png
from components.preprocessing.regions import regions_of
from components.preprocessing.result import PreprocessedView
from components.review.apply import Reviewed, preprocess_reviewed
from components.review.naming import ReviewName, review_name
from components.review.review import Review
from schema import features as f


@dataclass(frozen=True)
class ShardTask:
    """One shard to preprocess.

    Attributes:
        number: Index over all splits.
        source: Ingested shard.
        target: Preprocessed shard.
        records: Records that the source holds; None where nobody counted them.
        dropped: Exam and view of records that are left out -> why.
    """

    number: int
    source: str
    target: str
    records: int | None = None
    dropped: Mapping[tuple[str, str], LeftOut] = field(default_factory=dict)


def _text(example: tf.train.Example, name: str) -> str:
    return example.features.feature[name].bytes_list.value[0].decode()


def _preprocess(
    example: tf.train.Example, config: PreprocessConfig, reviews: Mapping[ReviewName, Review]
) -> tuple[Any, str, Reviewed]:
    """Gives the ingested pixels, their hash, and the view with its review."""
    pixels = decode_png(example.features.feature[f.IMAGE].bytes_list.value[0])
    view, digest = _text(example, f.VIEW), pixels_sha256(pixels)
    review = reviews.get(review_name(_text(example, f.EXAM_ID), view, digest))
    return pixels, digest, preprocess_reviewed(pixels, view, config, review)


def preprocessed_example(
    example: tf.train.Example, result: PreprocessedView, regions: NDArray[np.uint8]
) -> tf.train.Example:
    """Puts the result in the place of the ingested image.

    Args:
        example: Ingested view; left as it is.
        result: What preprocessing gave.
        regions: Regions of its picture; see ``regions.regions_of``.

    Returns:
        The example with the preprocessed image, its size and spacing, and the segmentation's figures.
    """
    out = tf.train.Example()
    out.CopyFrom(example)
    feature = out.features.feature
    spacing = feature[f.PIXEL_SPACING_MM].float_list.value[0]
    feature[f.IMAGE].bytes_list.value[:] = [encode_png(result.image)]
    feature[f.IMAGE_HEIGHT].int64_list.value[:] = [result.image.shape[0]]
    feature[f.IMAGE_WIDTH].int64_list.value[:] = [result.image.shape[1]]
    feature[f.PIXEL_SPACING_MM].float_list.value[:] = [spacing * result.input_pixels_per_pixel]
    feature[f.PECTORAL_STATUS].bytes_list.value[:] = [result.status.encode()]
    feature[f.PECTORAL_AREA_FRACTION].float_list.value[:] = [result.pectoral_area_fraction]
    feature[f.BREAST_AREA_FRACTION].float_list.value[:] = [result.breast_area_fraction]
    feature[f.REGIONS].bytes_list.value[:] = [encode_png(regions)]
    return out


def preprocess_shard(
    task: ShardTask, config: PreprocessConfig, reviews: Mapping[ReviewName, Review]
) -> list[QualityRow]:
    """Preprocesses the views of a shard, one in memory at a time, and writes them.

    Args:
        task: The shard.
        config: Method and output geometry.
        reviews: What people said of images, by name.

    Returns:
        One row a view. A view without a breast has a row, and no record.

    Raises:
        LostRecordsError: The shard holds another number of records than ingest counted.
    """
    rows: list[QualityRow] = []
    read = 0

    def records() -> Iterator[bytes]:
        nonlocal read
        for index, record in enumerate(read_shard(task.source)):
            read = index + 1
            example = tf.train.Example.FromString(record)
            if (_text(example, f.EXAM_ID), _text(example, f.VIEW)) in task.dropped:
                continue
            pixels, digest, reviewed = _preprocess(example, config, reviews)
            result = reviewed.result
            rows.append(
                quality_row(
                    task.number,
                    index,
                    reviewed,
                    exam_id=_text(example, f.EXAM_ID),
                    view=_text(example, f.VIEW),
                    system=_text(example, f.ACQUISITION_SYSTEM),
                    density=_text(example, f.DENSITY),
                    pixels_sha256=digest,
                )
            )
            if result.breast_area_fraction > 0:  # a picture without a breast is in the report, and nowhere else
                regions = regions_of(pixels, _text(example, f.VIEW), result, config)
                yield preprocessed_example(example, result, regions).SerializeToString(deterministic=True)
            advance()
        if task.records is not None and read != task.records:
            raise LostRecordsError(
                f"{task.source}: ingest wrote {task.records} records; run ingest again. Received: {read} records."
            )

    write_shard(task.target, records())
    return rows


def draw_overlays(
    work: tuple[ShardTask, Mapping[int, str]],
    config: PreprocessConfig,
    reviews: Mapping[ReviewName, Review],
    report: str,
) -> None:
    """Draws some views of a shard.

    Args:
        work: The shard, and for each record to draw the overlay's path in the report.
        config: As it was preprocessed.
        reviews: As it was preprocessed.
        report: Folder of the quality report.
    """
    task, wanted = work
    for index, record in enumerate(read_shard(task.source)):
        if index in wanted:
            pixels, _, reviewed = _preprocess(tf.train.Example.FromString(record), config, reviews)
            picture = overlay_png(pixels, reviewed.result, hide_background=True)
            write_bytes(os.path.join(report, wanted[index]), picture)
