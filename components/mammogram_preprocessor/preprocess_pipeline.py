"""The Beam pipeline of preprocessing: one element a TFRecord shard, one image in memory a worker.

Shards become shards of the same name, rows are gathered to the report, and the views that the rows make worth a look
are drawn. Nothing here imports TFX, whose import would double the start of a worker process.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam

from components.common.shards import write_text
from components.common.stages import Element, Gathered, Stage, elements
from components.mammogram_preprocessor.quality import (
    QualityRow,
    choose_overlays,
    quality_summary,
    ranks,
    report_row,
    review_summary,
)
from components.mammogram_preprocessor.view_shards import ShardTask, draw_overlays, preprocess_shard
from components.preprocessing.config import PreprocessConfig, QualityConfig
from components.preprocessing.merging import LeftOut
from components.review.apply import without_image
from components.review.folder import Reviews


@dataclass(frozen=True)
class _Preprocessed:
    """Rows of all views, the overlays that are drawn, and how many records of earlier spans are left out, by reason."""

    rows: tuple[QualityRow, ...]
    overlays: frozenset[str]
    left_out: Mapping[str, int]


def _choose(preprocessed: Gathered, quality: QualityConfig) -> list[Element]:
    rows = tuple(row for part in preprocessed.results for row in part)
    wanted: dict[int, dict[int, str]] = defaultdict(dict)
    for row in choose_overlays(rows, quality.doubtful_overlays, quality.typical_overlays):
        wanted[row.shard][row.index] = row.overlay
    tasks: Sequence[ShardTask] = preprocessed.context
    overlays = frozenset(overlay for chosen in wanted.values() for overlay in chosen.values())
    drawings = [(tasks[shard], chosen) for shard, chosen in sorted(wanted.items())]
    reasons = Counter(reason.value for task in tasks for reason in task.dropped.values())
    return elements(drawings, context=_Preprocessed(rows, overlays, {r.value: reasons[r.value] for r in LeftOut}))


def _report(drawn: Gathered, reviews: Reviews, report: str) -> None:
    preprocessed: _Preprocessed = drawn.context
    rows = preprocessed.rows
    rank = ranks(rows)
    lines = [
        json.dumps(report_row(row, rank.get(row.review_name), row.overlay in preprocessed.overlays), sort_keys=True)
        for row in rows
    ]
    findings = [
        *reviews.findings,
        *(row.finding for row in rows if row.finding is not None),
        *without_image(reviews.by_name.values(), {row.review_name for row in rows}),
    ]
    summary = quality_summary(rows) | {"left_out": preprocessed.left_out, "reviews": review_summary(rows, findings)}
    write_text(os.path.join(report, "views.jsonl"), "".join(line + "\n" for line in lines))
    write_text(os.path.join(report, "summary.json"), json.dumps(summary, indent=1))


def preprocess(
    pipeline: beam.Pipeline,
    tasks: Sequence[ShardTask],
    config: PreprocessConfig,
    quality: QualityConfig,
    reviews: Reviews,
    report: str,
) -> None:
    """Lays out the pipeline.

    Args:
        pipeline: Beam pipeline to add to.
        tasks: Shards to preprocess.
        config: Method and output geometry.
        quality: Size of the quality report.
        reviews: People's segmentations.
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
