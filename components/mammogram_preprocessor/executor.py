"""TFX executor of MammogramPreprocessor; the work is in ``preprocess_pipeline``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.common.progress import expect
from components.common.shards import (
    EmptySplitError,
    read_index,
    relative_name,
    remove_unfinished,
    shards_of,
    span_prefix,
    split_folder,
)
from components.common.stages import LostRecordsError
from components.mammogram_preprocessor.preprocess_pipeline import ShardTask, preprocess_shards
from components.mammogram_preprocessor.span_merging import IngestedShard, find_excluded
from components.preprocessing.config import PreprocessConfig, QualityConfig
from components.review.folder import NO_REVIEWS, read_reviews


def _shards(ingested: Sequence[types.Artifact], splits: Sequence[str]) -> list[IngestedShard]:
    """List the shards of all spans.

    Raises:
        LostRecordsError: Shards in the index of an artifact are missing.
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
    """Make one task per shard; ``prefixes`` keep the file names of several spans distinct."""
    excluded = find_excluded(shards)
    return [
        ShardTask(
            number,
            shard.path,
            os.path.join(split_folder(target, shard.split), prefixes[shard.span] + os.path.basename(shard.path)),
            None if shard.views is None else len(shard.views),
            excluded.get(shard.path, {}),
        )
        for number, shard in enumerate(shards)
    ]


def _require_every_split(shards: Sequence[IngestedShard], tasks: Sequence[ShardTask], splits: Sequence[str]) -> None:
    filled = {s.split for s, t in zip(shards, tasks, strict=True) if t.records is None or t.records > len(t.excluded)}
    if empty := [split for split in splits if split not in filled]:
        raise EmptySplitError(
            f"No span has an image for: {', '.join(empty)}. Add exams, or change pipeline.ingest.splits or"
            " pipeline.ingest.split_seed."
        )


class Executor(base_beam_executor.BaseBeamExecutor):
    """Preprocesses all views."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write ``preprocessed_examples``, one shard per ingested shard, and ``quality_report``.

        Raises:
            EmptySplitError: A split would have no image.
            LostRecordsError: Records or shards are missing.
            ReviewFolderError: The folder of reviews cannot be read.
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
        prefixes = [span_prefix(artifact.span) if len(ingested) > 1 else "" for artifact in ingested]
        tasks = _tasks(shards, prefixes, output.uri)
        _require_every_split(shards, tasks, splits)
        expect(sum((task.records or 0) - len(task.excluded) for task in tasks), "images")
        with self._make_beam_pipeline() as pipeline:
            preprocess_shards(pipeline, tasks, config, quality, reviews, report)
        for folder in (output.uri, report):
            remove_unfinished(folder)
        if not tf.io.gfile.exists(os.path.join(report, "summary.json")):
            raise LostRecordsError("Beam ended without a report; run again, or with another runner.")
        output.split_names = artifact_utils.encode_split_names(splits)
        output.span = ingested[-1].span
        examples_utils.set_payload_format(output, examples_utils.get_payload_format(ingested[-1]))
        examples_utils.set_file_format(output, "tfrecords_gzip")
