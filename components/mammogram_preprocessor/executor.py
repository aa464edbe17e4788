"""TFX executor of MammogramPreprocessor: one Beam element a TFRecord shard, one image in memory a worker."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.common.progress import advance, expect
from components.common.shards import read_shard, shards_of, split_folder, write_bytes, write_shard, write_text
from components.mammogram_preprocessor.config import PreprocessConfig
from components.mammogram_preprocessor.overlay import decode_png, encode_png, overlay_png
from components.mammogram_preprocessor.preprocess import preprocess_view
from components.mammogram_preprocessor.quality import (
    QualityRow,
    choose_overlays,
    quality_row,
    quality_summary,
    report_row,
)
from components.mammogram_preprocessor.result import PreprocessedView
from schema import features as f

_DOUBTFUL_OVERLAYS: Final = 24
_TYPICAL_OVERLAYS_A_SYSTEM: Final = 4


@dataclass(frozen=True)
class ShardTask:
    """One shard to preprocess.

    Attributes:
        number: Index over all splits.
        source: Ingested shard.
        target: Preprocessed shard.
    """

    number: int
    source: str
    target: str


def _text(example: tf.train.Example, name: str) -> str:
    return example.features.feature[name].bytes_list.value[0].decode()


def _preprocess(example: tf.train.Example, config: PreprocessConfig) -> tuple[Any, PreprocessedView]:
    pixels = decode_png(example.features.feature[f.IMAGE].bytes_list.value[0])
    return pixels, preprocess_view(pixels, _text(example, f.VIEW), config)


def preprocessed_example(example: tf.train.Example, result: PreprocessedView) -> tf.train.Example:
    """Puts the result in the place of the ingested image.

    Args:
        example: Ingested view; left as it is.
        result: What preprocessing gave.

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
    return out


def _preprocess_shard(task: ShardTask, config: PreprocessConfig, folder: str) -> None:
    rows: list[QualityRow] = []

    def records() -> Iterator[bytes]:
        for index, record in enumerate(read_shard(task.source)):
            example = tf.train.Example.FromString(record)
            _, result = _preprocess(example, config)
            rows.append(
                quality_row(
                    task.number,
                    index,
                    result,
                    exam_id=_text(example, f.EXAM_ID),
                    view=_text(example, f.VIEW),
                    system=_text(example, f.ACQUISITION_SYSTEM),
                    density=_text(example, f.DENSITY),
                )
            )
            if result.breast_area_fraction > 0:  # a picture without a breast is in the report, and nowhere else
                yield preprocessed_example(example, result).SerializeToString(deterministic=True)
            advance()

    write_shard(task.target, records())
    Path(folder, f"rows-{task.number:08d}").write_bytes(pickle.dumps(rows))


def _draw_overlays(work: tuple[ShardTask, dict[int, str]], config: PreprocessConfig, report: str) -> None:
    task, wanted = work
    for index, record in enumerate(read_shard(task.source)):
        if index in wanted:
            pixels, result = _preprocess(tf.train.Example.FromString(record), config)
            write_bytes(os.path.join(report, wanted[index]), overlay_png(pixels, result, hide_background=True))


class Executor(base_beam_executor.BaseBeamExecutor):
    """Preprocesses every view."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes ``preprocessed_examples``, shard by shard as they came, and ``quality_report``."""
        config = PreprocessConfig.model_validate_json(exec_properties["config"])
        ingested = artifact_utils.get_single_instance(input_dict["examples"])
        output = artifact_utils.get_single_instance(output_dict["preprocessed_examples"])
        report = artifact_utils.get_single_uri(output_dict["quality_report"])
        splits = artifact_utils.decode_split_names(ingested.split_names)
        pairs = [
            (source, os.path.join(split_folder(output.uri, split), os.path.basename(source)))
            for split in splits
            for source in shards_of(artifact_utils.get_split_uri([ingested], split))
        ]
        tasks = [ShardTask(number, source, target) for number, (source, target) in enumerate(pairs)]
        expect(sum(1 for task in tasks for _ in tf.data.TFRecordDataset(task.source, "GZIP")), "images")
        with tempfile.TemporaryDirectory() as folder:
            self._run(tasks, _preprocess_shard, config, folder)
            rows: list[QualityRow] = [
                row for file in sorted(Path(folder).glob("rows-*")) for row in pickle.loads(file.read_bytes())
            ]
        drawn = choose_overlays(rows, _DOUBTFUL_OVERLAYS, _TYPICAL_OVERLAYS_A_SYSTEM)
        wanted: dict[int, dict[int, str]] = defaultdict(dict)
        for row in drawn:
            wanted[row.shard][row.index] = row.overlay
        self._run([(tasks[shard], chosen) for shard, chosen in wanted.items()], _draw_overlays, config, report)
        pictures = {row.overlay for row in drawn}
        lines = [json.dumps(report_row(row, row.overlay in pictures), sort_keys=True) for row in rows]
        write_text(os.path.join(report, "views.jsonl"), "".join(line + "\n" for line in lines))
        write_text(os.path.join(report, "summary.json"), json.dumps(quality_summary(rows), indent=1))
        output.split_names = artifact_utils.encode_split_names(splits)
        output.span = ingested.span
        examples_utils.set_payload_format(output, examples_utils.get_payload_format(ingested))
        examples_utils.set_file_format(output, "tfrecords_gzip")

    def _run(self, elements: list[Any], function: Any, *args: Any) -> None:
        """Runs a function over elements, spread over Beam's workers."""
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Elements" >> beam.Create(elements)
                | "Spread" >> beam.Reshuffle()
                | "Work" >> beam.Map(function, *args)
            )
