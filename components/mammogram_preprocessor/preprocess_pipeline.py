"""The Beam pipeline of preprocessing: one element per TFRecord shard, one image in memory per worker.

Each ingested shard becomes a shard of the same name. The rows of all views become the quality report, and overlays of
selected views are drawn. This module does not import TFX, which would double the start time of a worker process.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png, pixels_sha256
from components.common.progress import advance
from components.common.shards import read_shard, write_bytes, write_shard, write_text
from components.common.stages import Element, Gathered, LostRecordsError, Stage, elements
from components.mammogram_preprocessor.quality import (
    QualityRow,
    choose_overlays,
    quality_summary,
    rank_by_doubt,
    report_row,
    review_summary,
)
from components.mammogram_preprocessor.span_merging import ExclusionReason
from components.preprocessing.config import PreprocessConfig, QualityConfig
from components.preprocessing.outputs import overlay_png
from components.preprocessing.preprocessed_view import PreprocessedView
from components.preprocessing.region_map import make_region_map
from components.review.folder import Reviews
from components.review.review_file import Review, ReviewName, review_name
from components.review.reviewed_view import ReviewedView, preprocess_reviewed, reviews_without_image
from schema import features as f


@dataclass(frozen=True)
class ShardTask:
    """One shard to preprocess.

    Attributes:
        number: Index over all splits.
        source: Path of the ingested shard.
        target: Path of the preprocessed shard.
        records: Number of records in the source; None if not known.
        excluded: Exam and view of each excluded record, and the reason.
    """

    number: int
    source: str
    target: str
    records: int | None = None
    excluded: Mapping[tuple[str, str], ExclusionReason] = field(default_factory=dict)


def _text(example: tf.train.Example, name: str) -> str:
    result: str = example.features.feature[name].bytes_list.value[0].decode()
    return result


def _preprocess(
    example: tf.train.Example, config: PreprocessConfig, reviews: Mapping[ReviewName, Review]
) -> tuple[Any, str, ReviewedView]:
    """Return the ingested pixels, their hash, and the preprocessed view with its review."""
    pixels = decode_png(example.features.feature[f.IMAGE].bytes_list.value[0])
    view, digest = _text(example, f.VIEW), pixels_sha256(pixels)
    review = reviews.get(review_name(_text(example, f.EXAM_ID), view, digest))
    return pixels, digest, preprocess_reviewed(pixels, view, config, review)


def preprocessed_example(
    example: tf.train.Example, result: PreprocessedView, regions: NDArray[np.uint8]
) -> tf.train.Example:
    """Replace the ingested image by the preprocessed one.

    Args:
        example: Ingested view; not changed.
        result: Result of preprocessing the view.
        regions: uint8 [S, S], see ``region_map.make_region_map``.

    Returns:
        The example with the preprocessed image, its size and spacing, and the areas of the segmentation.
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


def _quality_row(shard: int, index: int, example: tf.train.Example, digest: str, reviewed: ReviewedView) -> QualityRow:
    result = reviewed.result
    return QualityRow(
        shard=shard,
        index=index,
        exam_id=_text(example, f.EXAM_ID),
        view=_text(example, f.VIEW),
        acquisition_system=_text(example, f.ACQUISITION_SYSTEM),
        density=_text(example, f.DENSITY),
        status=result.status,
        pectoral_area_fraction=round(result.pectoral_area_fraction, 6),
        breast_area_fraction=round(result.breast_area_fraction, 6),
        doubt=0.0 if reviewed.outcome else round(result.doubt, 6),
        pixels_sha256=digest,
        review=reviewed.outcome,
        unused_review=reviewed.unused_review,
    )


def preprocess_shard(
    task: ShardTask, config: PreprocessConfig, reviews: Mapping[ReviewName, Review]
) -> list[QualityRow]:
    """Preprocess the views of a shard, one in memory at a time, and write them.

    Args:
        task: The shard.
        config: Method and output geometry.
        reviews: Reviews of images, by name.

    Returns:
        One row per view. A view without a breast has a row, but no record.

    Raises:
        LostRecordsError: The number of records differs from the number that ingest wrote.
    """
    rows: list[QualityRow] = []
    read = 0

    def records() -> Iterator[bytes]:
        nonlocal read
        for index, record in enumerate(read_shard(task.source)):
            read = index + 1
            example = tf.train.Example.FromString(record)
            if (_text(example, f.EXAM_ID), _text(example, f.VIEW)) in task.excluded:
                continue
            pixels, digest, reviewed = _preprocess(example, config, reviews)
            result = reviewed.result
            rows.append(_quality_row(task.number, index, example, digest, reviewed))
            if result.breast_area_fraction > 0:  # a picture without a breast is only in the report
                regions = make_region_map(pixels, _text(example, f.VIEW), result, config)
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
    """Draw the overlays of selected views of a shard.

    Args:
        work: The shard; and for each record to draw, the path of its overlay in the report.
        config: Configuration of ``preprocess_shard``.
        reviews: Reviews of ``preprocess_shard``.
        report: Folder of the quality report.
    """
    task, wanted = work
    for index, record in enumerate(read_shard(task.source)):
        if index in wanted:
            pixels, _, reviewed = _preprocess(tf.train.Example.FromString(record), config, reviews)
            picture = overlay_png(pixels, reviewed.result, hide_background=True)
            write_bytes(os.path.join(report, wanted[index]), picture)


@dataclass(frozen=True)
class _Preprocessed:
    """Rows of all views, paths of the overlays, and the number of excluded records by reason."""

    rows: tuple[QualityRow, ...]
    overlays: frozenset[str]
    excluded: Mapping[str, int]


def _choose(preprocessed: Gathered, quality: QualityConfig) -> list[Element]:
    rows = tuple(row for part in preprocessed.results for row in part)
    wanted: dict[int, dict[int, str]] = defaultdict(dict)
    for row in choose_overlays(rows, quality.doubtful_overlays, quality.typical_overlays):
        wanted[row.shard][row.index] = row.overlay
    tasks: Sequence[ShardTask] = preprocessed.context
    overlays = frozenset(overlay for chosen in wanted.values() for overlay in chosen.values())
    drawings = [(tasks[shard], chosen) for shard, chosen in sorted(wanted.items())]
    reasons = Counter(reason.value for task in tasks for reason in task.excluded.values())
    return elements(
        drawings, context=_Preprocessed(rows, overlays, {r.value: reasons[r.value] for r in ExclusionReason})
    )


def _report(drawn: Gathered, reviews: Reviews, report: str) -> None:
    preprocessed: _Preprocessed = drawn.context
    rows = preprocessed.rows
    rank = rank_by_doubt(rows)
    lines = [
        json.dumps(report_row(row, rank.get(row.review_name), row.overlay in preprocessed.overlays), sort_keys=True)
        for row in rows
    ]
    unused = [
        *reviews.unused,
        *(row.unused_review for row in rows if row.unused_review is not None),
        *reviews_without_image(reviews.by_name.values(), {row.review_name for row in rows}),
    ]
    summary = quality_summary(rows) | {
        "left_out": preprocessed.excluded,
        "reviews": review_summary(rows, unused),
    }
    write_text(os.path.join(report, "views.jsonl"), "".join(line + "\n" for line in lines))
    write_text(os.path.join(report, "summary.json"), json.dumps(summary, indent=1))


def preprocess_shards(
    pipeline: beam.Pipeline,
    tasks: Sequence[ShardTask],
    config: PreprocessConfig,
    quality: QualityConfig,
    reviews: Reviews,
    report: str,
) -> None:
    """Add the steps of preprocessing to a Beam pipeline.

    Args:
        pipeline: Beam pipeline to add to.
        tasks: Shards to preprocess.
        config: Method and output geometry.
        quality: Size of the quality report.
        reviews: Reviews by people.
        report: Folder of the quality report.
    """
    _ = (
        pipeline
        | "Shards" >> beam.Create(elements(tasks, context=tasks), reshuffle=False)
        | Stage("Preprocess", preprocess_shard, config, reviews.by_name)
        | "Choose" >> beam.FlatMap(_choose, quality)
        | Stage("Draw", draw_overlays, config, reviews.by_name, report)
        | "Report" >> beam.Map(_report, reviews, report)
    )
