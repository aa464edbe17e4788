"""The Beam pipeline of ingest: two passes around one plan.

Pass one reads every header; the plan decides what becomes of each file; pass two decodes and writes, one TFRecord shard
an element; what only the pixels could tell is settled at the end. Headers and rows go through Beam, images never do, so
a worker's memory holds one image however large the archive is. No worker needs a folder in common with another but the
archive and the artifacts.

Nothing here imports TFX, whose import would double the start of a worker process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import apache_beam as beam

from components.common.location import Location
from components.common.progress import advance, expect
from components.common.shard_index import write_index
from components.common.shards import write_text
from components.common.stages import Element, Gathered, LostRecordsError, Stage, elements
from components.dicom_example_gen.candidates import Candidate, Candidates
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.labels import Label, RowProblem
from components.dicom_example_gen.pixel_copies import pixel_copies
from components.dicom_example_gen.planning import IngestPlan, Outcome, inspect, plan, settle
from components.dicom_example_gen.report import file_rows, summary
from components.dicom_example_gen.view_shards import (
    Shard,
    cut_shard,
    index_of,
    plan_cuts,
    plan_shards,
    write_views,
)

_HEADERS_AN_ELEMENT: Final = 64
FILES: Final = "files.jsonl"


@dataclass(frozen=True)
class Places:
    """Folders of the two artifacts.

    Attributes:
        examples: Examples.
        report: Ingest report.
    """

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


def _report(cut: Gathered, ignored: Mapping[str, int], places: Places) -> None:
    settled: _Settled = cut.context
    write_index(places.examples, index_of(settled.shards, settled.digests))
    rows = "".join(json.dumps(row, sort_keys=True) + "\n" for row in file_rows(settled.files))
    write_text(os.path.join(places.report, FILES), rows)
    write_text(os.path.join(places.report, "summary.json"), json.dumps(summary(settled.files, ignored), indent=1))


def ingest(pipeline: beam.Pipeline, offered: Candidates, config: IngestConfig, key: bytes, places: Places) -> None:
    """Lays out the pipeline.

    Args:
        pipeline: Beam pipeline to add to.
        offered: Files of the archive.
        config: How it is read and split.
        key: Key of the keyed hashes. It travels inside the pipeline, as the plan is made by a worker.
        places: Where the artifacts go.
    """
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
