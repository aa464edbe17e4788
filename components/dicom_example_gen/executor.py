"""TFX executor of DicomExampleGen: two Beam passes around one plan.

Pass one reads every header; the plan decides what becomes of each file; pass two decodes and writes, one TFRecord shard
an element. Between the passes only headers are in memory, in the second one image a worker, so memory does not grow
with the pixels of the archive.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.common.progress import advance, expect
from components.common.shards import shard_name, split_folder, write_shard, write_text
from components.dicom_example_gen.config import SPLITS, IngestConfig
from components.dicom_example_gen.identity import key_from_environment
from components.dicom_example_gen.manifest import Candidate, find_candidates
from components.dicom_example_gen.planning import IngestPlan, Outcome, PlannedView, inspect, plan, settle
from components.dicom_example_gen.reading import load_view
from components.dicom_example_gen.records import to_example
from components.dicom_example_gen.rejections import IngestError, Rejection
from components.dicom_example_gen.report import file_rows, summary
from components.dicom_example_gen.source_json import source_from_json

_HEADERS_AN_ELEMENT: Final = 64


class EmptySplitError(ValueError):
    """A split has no image, so nothing can be trained, chosen or judged."""


@dataclass(frozen=True)
class Shard:
    """One TFRecord file to write.

    Attributes:
        path: File.
        views: Its views, in order.
    """

    path: str
    views: tuple[PlannedView, ...]


def plan_shards(accepted: Sequence[PlannedView], shard_size: int, uri: str) -> list[Shard]:
    """Divides the accepted views, sorted by file, into shards of each split."""
    shards = []
    for split in SPLITS:
        views = [view for view in accepted if view.split == split]
        parts = [tuple(views[start : start + shard_size]) for start in range(0, len(views), shard_size)]
        folder = split_folder(uri, split)
        shards += [Shard(os.path.join(folder, shard_name(i, len(parts))), part) for i, part in enumerate(parts)]
    return shards


def _chunks(items: Sequence[Any], size: int) -> list[tuple[int, Sequence[Any]]]:
    return [(start // size, items[start : start + size]) for start in range(0, len(items), size)]


def _save(folder: str, name: str, value: object) -> None:
    Path(folder, name).write_bytes(pickle.dumps(value))


def _saved(folder: str, prefix: str) -> Iterator[Any]:
    """Reads back what this run's own workers saved."""
    for file in sorted(Path(folder).glob(f"{prefix}*")):
        yield from pickle.loads(file.read_bytes())


def _inspect_chunk(chunk: tuple[int, Sequence[Candidate]], root: Path, max_pixels: int, folder: str) -> None:
    index, candidates = chunk
    outcomes: list[Outcome] = []
    for candidate in candidates:
        outcomes.append(inspect(candidate, root, max_pixels))
        advance()
    _save(folder, f"outcomes-{index:08d}", outcomes)


def _write_shard(numbered: tuple[int, Shard], root: Path, config: IngestConfig, folder: str) -> None:
    index, shard = numbered
    late: list[Rejection] = []

    def records() -> Iterator[bytes]:
        for view in shard.views:
            try:
                loaded = load_view(root / view.file, view.view, config.longest_side, config.max_pixels)
                yield to_example(view, loaded).SerializeToString(deterministic=True)
            except IngestError as error:
                late.append(error.rejection(view.file))
            advance()

    write_shard(shard.path, records())
    _save(folder, f"late-{index:08d}", late)


def _counts(rejected: Iterable[Rejection]) -> str:
    reasons = Counter(rejection.reason.value for rejection in rejected)
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "none"


def _require_every_split(settled: IngestPlan) -> None:
    empty = [split for split in SPLITS if not any(view.split == split for view in settled.accepted)]
    if empty:
        raise EmptySplitError(
            f"Ingest accepted {len(settled.accepted)} of {len(settled.accepted) + len(settled.rejected)} files"
            f" (rejected: {_counts(settled.rejected)}) and left"
            f" no image for: {', '.join(empty)}. Add exams, or change ingest.splits or ingest.split_seed."
        )


class Executor(base_beam_executor.BaseBeamExecutor):
    """Ingests an archive."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes ``examples`` and ``ingest_report``.

        Raises:
            ManifestError: The labels or manifest CSV cannot be used at all.
            EmptySplitError: A split would have no image.
        """
        del input_dict
        config = IngestConfig.model_validate_json(exec_properties["config"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        report = artifact_utils.get_single_uri(output_dict["ingest_report"])
        key = key_from_environment(config.hash_key_variable, os.environ)
        if key.is_research:
            logging.warning(
                "%s is not set: identifiers are hashed with a public key, which protects nothing.",
                config.hash_key_variable,
            )
        offered = find_candidates(source_from_json(exec_properties["source"]))
        with tempfile.TemporaryDirectory() as folder:
            expect(len(offered.found), "headers")
            self._run(
                _chunks(offered.found, _HEADERS_AN_ELEMENT), _inspect_chunk, offered.root, config.max_pixels, folder
            )
            planned = plan(_saved(folder, "outcomes-"), offered.labels, config, key.key)
            expect(len(planned.accepted), "files")
            shards = plan_shards(planned.accepted, config.shard_size, examples.uri)
            self._run(list(enumerate(shards)), _write_shard, offered.root, config, folder)
            settled = settle(planned, _saved(folder, "late-"))
        rows = "".join(json.dumps(row, sort_keys=True) + "\n" for row in file_rows(settled))
        write_text(os.path.join(report, "files.jsonl"), rows)
        write_text(os.path.join(report, "summary.json"), json.dumps(summary(settled, offered.ignored), indent=1))
        _require_every_split(settled)
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")

    def _run(self, elements: Iterable[Any], function: Any, *args: Any) -> None:
        """Runs a function over elements, spread over Beam's workers."""
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Elements" >> beam.Create(list(elements))
                | "Spread" >> beam.Reshuffle()
                | "Work" >> beam.Map(function, *args)
            )
