"""TFX executor of DicomExampleGen: one Beam pipeline, two passes around one plan.

Pass one reads every header; the plan decides what becomes of each file; pass two decodes and writes, one TFRecord shard
an element; what only the pixels could tell is settled at the end. Headers and rows go through Beam, images never do, so
a worker's memory holds one image however large the archive is. No worker needs a folder in common with another but the
archive and the artifacts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam
from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.common.location import Location
from components.common.progress import advance, expect
from components.common.shard_index import write_index
from components.common.shards import EmptySplitError, read_bytes, write_text
from components.common.stages import Element, Gathered, LostRecordsError, Stage, elements
from components.dicom_example_gen.config import SPLITS, IngestConfig
from components.dicom_example_gen.identity import find_key, require_same_key
from components.dicom_example_gen.labels import Label, RowProblem
from components.dicom_example_gen.manifest import Candidate, Candidates, find_candidates
from components.dicom_example_gen.pixel_copies import pixel_copies
from components.dicom_example_gen.planning import IngestPlan, Outcome, inspect, plan, settle
from components.dicom_example_gen.report import file_rows, summary
from components.dicom_example_gen.source_json import source_from_json
from components.dicom_example_gen.span import Span
from components.dicom_example_gen.view_shards import (
    Shard,
    cut_shard,
    index_of,
    plan_cuts,
    plan_shards,
    write_views,
)

_HEADERS_AN_ELEMENT: Final = 64


@dataclass(frozen=True)
class _Places:
    """Folders of the two artifacts."""

    examples: str
    report: str


@dataclass(frozen=True)
class _Plan:
    """The plan, and the shards that carry it out."""

    files: IngestPlan
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class _Settled:
    """The plan as it was carried out, the shards as planned, and the hash of each accepted file's pixels."""

    files: IngestPlan
    shards: tuple[Shard, ...]
    digests: Mapping[str, str]


def _inspect(candidates: Sequence[Candidate], root: Location, config: IngestConfig) -> list[Outcome]:
    outcomes = []
    for candidate in candidates:
        outcomes.append(inspect(candidate, root, config.max_pixels, config))
        advance()
    return outcomes


def _plan(
    inspected: Gathered, labels: Mapping[str, Label | RowProblem], config: IngestConfig, key: bytes, uri: str
) -> list[Element]:
    files = plan([outcome for part in inspected.results for outcome in part], labels, config, key)
    expect(len(files.accepted), "files")
    shards = plan_shards(files.accepted, config.shard_size, uri)
    return elements(shards, context=_Plan(files, tuple(shards)))


def _settle(written: Gathered) -> list[Element]:
    planned: _Plan = written.context
    decoded = settle(planned.files, (rejection for part in written.results for rejection in part.late))
    digests = dict(item for part in written.results for item in part.digests)
    if digests.keys() != {view.file for view in decoded.accepted}:
        raise LostRecordsError(
            "Every accepted file must be in one shard; run again."
            f" Received: {len(digests)} records of {len(decoded.accepted)} files."
        )
    files = settle(decoded, pixel_copies(decoded.accepted, digests))
    kept = {view.file: digests[view.file] for view in files.accepted}
    return elements(plan_cuts(planned.shards, digests.keys() - kept), context=_Settled(files, planned.shards, kept))


def _report(cut: Gathered, ignored: Mapping[str, int], places: _Places) -> None:
    settled: _Settled = cut.context
    write_index(places.examples, index_of(settled.shards, settled.digests))
    rows = "".join(json.dumps(row, sort_keys=True) + "\n" for row in file_rows(settled.files))
    write_text(os.path.join(places.report, "files.jsonl"), rows)
    write_text(os.path.join(places.report, "summary.json"), json.dumps(summary(settled.files, ignored), indent=1))


def _ingest(pipeline: beam.Pipeline, offered: Candidates, config: IngestConfig, key: bytes, places: _Places) -> None:
    """Lays out the stages. The key travels inside the pipeline, as the plan is made by a worker."""
    found = offered.found
    chunks = [found[start : start + _HEADERS_AN_ELEMENT] for start in range(0, len(found), _HEADERS_AN_ELEMENT)]
    _ = (
        pipeline
        | "Candidates" >> beam.Create(elements(chunks), reshuffle=False)
        | Stage("Inspect", _inspect, offered.root, config)
        | "Plan" >> beam.FlatMap(_plan, offered.labels, config, key, places.examples)
        | Stage("WriteShards", write_views, offered.root, config)
        | "Settle" >> beam.FlatMap(_settle)
        | Stage("CutShards", cut_shard)
        | "Report" >> beam.Map(_report, offered.ignored, places)
    )


def _require_every_split(report: Mapping[str, Any]) -> None:
    empty = [split for split in SPLITS if not report["splits"][split]["views"]]
    if empty:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report["by_reason"].items()) or "none"
        raise EmptySplitError(
            f"Ingest accepted {report['accepted']} of {report['found']} files (rejected: {reasons}) and left no image"
            f" for: {', '.join(empty)}. Add exams, or change ingest.splits or ingest.split_seed."
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
            HashKeyError: The key of the hashes cannot be used, or is not the one that the pipeline was built with.
            EmptySplitError: A split would have no image.
            LostRecordsError: Beam lost files on the way.
        """
        del input_dict
        config = IngestConfig.model_validate_json(exec_properties["config"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        places = _Places(examples.uri, artifact_utils.get_single_uri(output_dict["ingest_report"]))
        key = find_key(config, os.environ)
        require_same_key(key, exec_properties["key_id"])
        if key.is_research:
            logging.warning(
                "%s is not set: identifiers are hashed with a public key, which protects nothing.",
                config.hash_key_variable,
            )
        offered = find_candidates(source_from_json(exec_properties["source"]))
        expect(len(offered.found), "headers")
        with self._make_beam_pipeline() as pipeline:
            _ingest(pipeline, offered, config, key.key, places)
        report = json.loads(read_bytes(os.path.join(places.report, "summary.json")))
        if report["found"] != len(offered.found):
            raise LostRecordsError(
                f"Each of {len(offered.found)} files must be in the ingest report; run again."
                f" Received: {report['found']} files."
            )
        span = Span(**json.loads(exec_properties["span"])) if exec_properties.get("span") else None
        if span is None:
            _require_every_split(report)
        else:
            examples.span, examples.version = span.number, max(span.version, 0)
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")
