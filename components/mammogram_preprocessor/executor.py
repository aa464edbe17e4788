"""TFX executor of MammogramPreprocessor: one Beam pipeline, one element a TFRecord shard, one image in memory a worker.

Shards become shards of the same name, rows are gathered to the report, and the views that the rows make worth a look
are drawn.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.common.progress import expect
from components.common.shard_index import read_index
from components.common.shards import EmptySplitError, relative_name, shards_of, split_folder, write_text
from components.common.stages import Element, Gathered, LostRecordsError, Stage, elements
from components.mammogram_preprocessor.config import PreprocessConfig, QualityConfig
from components.mammogram_preprocessor.merging import IngestedShard, LeftOut, left_out
from components.mammogram_preprocessor.quality import (
    QualityRow,
    choose_overlays,
    quality_summary,
    ranks,
    report_row,
    review_summary,
)
from components.mammogram_preprocessor.review.apply import without_image
from components.mammogram_preprocessor.review.folder import NO_REVIEWS, Reviews, read_reviews
from components.mammogram_preprocessor.view_shards import ShardTask, draw_overlays, preprocess_shard


def _shards(ingested: Sequence[types.Artifact], splits: Sequence[str]) -> list[IngestedShard]:
    """Lists the shards of all spans.

    Raises:
        LostRecordsError: Shards of an artifact's index are not there.
    """
    shards = []
    for position, artifact in enumerate(ingested):
        index = read_index(artifact.uri)
        found = [(split, path) for split in splits for path in shards_of(split_folder(artifact.uri, split))]
        missing = index.keys() - {relative_name(path) for _, path in found}
        if missing:
            raise LostRecordsError(f"{artifact.uri}: {len(missing)} shards are missing; run ingest again.")
        shards += [
            IngestedShard(position, split, path, tuple(index[relative_name(path)]) if index else None)
            for split, path in found
        ]
    return shards


def _tasks(shards: Sequence[IngestedShard], prefixes: Sequence[str], target: str) -> list[ShardTask]:
    """Turns shards into work, split by split; ``prefixes`` keep shards of several spans apart."""
    out = left_out(shards)
    return [
        ShardTask(
            number,
            shard.path,
            os.path.join(split_folder(target, shard.split), prefixes[shard.span] + os.path.basename(shard.path)),
            None if shard.views is None else len(shard.views),
            out.get(shard.path, {}),
        )
        for number, shard in enumerate(shards)
    ]


def _require_every_split(shards: Sequence[IngestedShard], tasks: Sequence[ShardTask], splits: Sequence[str]) -> None:
    filled = {s.split for s, t in zip(shards, tasks, strict=True) if t.records is None or t.records > len(t.dropped)}
    if empty := [split for split in splits if split not in filled]:
        raise EmptySplitError(
            f"No span has an image for: {', '.join(empty)}. Add exams, or change ingest.splits or ingest.split_seed."
        )


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


def _preprocess(
    pipeline: beam.Pipeline,
    tasks: Sequence[ShardTask],
    config: PreprocessConfig,
    quality: QualityConfig,
    reviews: Reviews,
    report: str,
) -> None:
    """Lays out the stages."""
    _ = (
        pipeline
        | "Shards" >> beam.Create(elements(tasks, context=tasks), reshuffle=False)
        | Stage("Preprocess", preprocess_shard, config, reviews.by_name)
        | "Choose" >> beam.FlatMap(_choose, quality)
        | Stage("Draw", draw_overlays, config, reviews.by_name, report)
        | "Report" >> beam.Map(_report, reviews, report)
    )


class Executor(base_beam_executor.BaseBeamExecutor):
    """Preprocesses every view."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes ``preprocessed_examples``, shard by shard as they came, and ``quality_report``.

        Raises:
            EmptySplitError: A split would have no image.
            LostRecordsError: Records or shards were lost on the way.
            ReviewFolderError: The folder of reviews is not there.
        """
        config = PreprocessConfig.model_validate_json(exec_properties["config"])
        quality = QualityConfig.model_validate_json(exec_properties["quality"])
        source = exec_properties.get("reviews")
        reviews = read_reviews(Path(json.loads(source)["folder"])) if source else NO_REVIEWS
        ingested = sorted(input_dict["examples"], key=lambda artifact: artifact.span)
        output = artifact_utils.get_single_instance(output_dict["preprocessed_examples"])
        report = artifact_utils.get_single_uri(output_dict["quality_report"])
        splits = artifact_utils.decode_split_names(ingested[-1].split_names)
        shards = _shards(ingested, splits)
        prefixes = [f"span-{artifact.span:05d}-" if len(ingested) > 1 else "" for artifact in ingested]
        tasks = _tasks(shards, prefixes, output.uri)
        _require_every_split(shards, tasks, splits)
        expect(sum((task.records or 0) - len(task.dropped) for task in tasks), "images")
        with self._make_beam_pipeline() as pipeline:
            _preprocess(pipeline, tasks, config, quality, reviews, report)
        if not tf.io.gfile.exists(os.path.join(report, "summary.json")):
            raise LostRecordsError(
                "Beam ended without a report; run again, with another runner or direct_running_mode."
            )
        output.split_names = artifact_utils.encode_split_names(splits)
        output.span = ingested[-1].span
        examples_utils.set_payload_format(output, examples_utils.get_payload_format(ingested[-1]))
        examples_utils.set_file_format(output, "tfrecords_gzip")
