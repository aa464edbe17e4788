"""The Beam pipeline of ingest: two passes around one plan.

A worker lists the archive, so that the pipeline that is submitted is as small for ten million files as for ten. Pass
one reads every header, and then the pixel data of files that share a SOP Instance UID; the plan decides what becomes of
each file; pass two decodes and writes, one TFRecord shard an element, and where the best image of a view has unusable
pixels it takes the next; what only the pixels could tell is settled at the end. Headers and rows go through Beam,
images never do, so a worker's memory holds one image however large the archive is. No worker needs a folder in common
with another but the archive and the artifacts.

Nothing here imports TFX, whose import would double the start of a worker process.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import apache_beam as beam

from components.common.location import Location
from components.common.progress import advance, expect
from components.common.shard_index import write_index
from components.common.shards import write_text
from components.common.stages import Element, Gathered, LostRecordsError, Stage, elements
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import IngestPlan, leave_out, settle
from components.dicom_example_gen.plan.label_hints import label_hints
from components.dicom_example_gen.plan.pixel_copies import pixel_copies
from components.dicom_example_gen.plan.planning import (
    Outcome,
    inspect,
    inspect_pixels,
    plan,
    sharing_uids,
    without_label,
)
from components.dicom_example_gen.report import SUMMARY_FILE, file_rows, summary
from components.dicom_example_gen.view_shards import (
    Shard,
    cut_shard,
    index_of,
    plan_cuts,
    plan_shards,
    write_views,
)
from components.sources.candidates import Candidate
from components.sources.labels import Label, RowProblem
from components.sources.source import Source, find_candidates

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
class _Listed:
    """What the source offers beside its candidates, and a hash of these."""

    labels: Mapping[str, Label | RowProblem]
    ignored: Mapping[str, int]
    warnings: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class _Plan:
    """The plan, the shards that carry it out, what was no candidate, and warnings."""

    files: IngestPlan
    shards: tuple[Shard, ...]
    ignored: Mapping[str, int]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Settled:
    """The plan as it was made and as it was carried out, and the hash of each accepted file's pixels."""

    planned: _Plan
    files: IngestPlan
    digests: Mapping[str, str]


def _digest(candidates: Iterable[Candidate]) -> str:
    digest = hashlib.sha256()
    for candidate in candidates:
        digest.update(f"{candidate.line} {candidate.file}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def offer(source: Source) -> list[Element]:
    """Lists an archive.

    Args:
        source: Archive.

    Returns:
        Elements for pass one, some files each.

    Raises:
        ManifestError: The folder is absent, or a labels file or manifest cannot be used at all.
    """
    offered = find_candidates(source)
    found = offered.found
    expect(len(found), "headers")
    chunks = [found[start : start + _HEADERS_AN_ELEMENT] for start in range(0, len(found), _HEADERS_AN_ELEMENT)]
    return elements(chunks, context=_Listed(offered.labels, offered.ignored, offered.warnings, _digest(found)))


def _inspect(candidates: Sequence[Candidate], root: Location, config: IngestConfig) -> list[Outcome]:
    outcomes = []
    for candidate in candidates:
        outcomes.append(inspect(candidate, root, config.max_pixels, config))
        advance()
    return outcomes


def find_sharing(inspected: Gathered) -> list[Element]:
    """Finds the files whose pixel data must be hashed, for they share a SOP Instance UID.

    Args:
        inspected: What pass one gave for the elements of :func:`offer`.

    Returns:
        The same elements, each file with whether it is one of these.
    """
    shared = set(sharing_uids([outcome for part in inspected.results for outcome in part]))
    position, parts = 0, []
    for part in inspected.results:
        parts.append([(outcome, position + index in shared) for index, outcome in enumerate(part)])
        position += len(part)
    return elements(parts, context=inspected.context)


def _hash_pixels(part: Sequence[tuple[Outcome, bool]], root: Location, config: IngestConfig) -> list[Outcome]:
    return [inspect_pixels(one, root, config.max_pixels, config) if shared else one for one, shared in part]


def plan_work(inspected: Gathered, config: IngestConfig, key: bytes, uri: str) -> list[Element]:
    """Plans pass two.

    Args:
        inspected: What pass one gave for the elements of :func:`offer`, with hashes of pixel data.
        config: How the archive is read and split.
        key: Key of the keyed hashes.
        uri: Folder of the examples.

    Returns:
        Elements for pass two, a shard each.

    Raises:
        LostRecordsError: The files are not those that were listed, or the plan does not name each of them.
    """
    listed: _Listed = inspected.context
    outcomes = [outcome for part in inspected.results for outcome in part]
    # A runner that repeats what a lost worker did lists again, and the parts of two lists do not add up.
    if _digest(outcome.candidate for outcome in outcomes) != listed.digest:
        raise LostRecordsError(
            "The archive must stay as it is while it is read; run again. Received: another list of files, when the"
            " runner repeated a lost worker's part."
        )
    files = plan(outcomes, listed.labels, config, key)
    if (counted := len(files.accepted) + len(files.rejected)) != len(outcomes):
        raise LostRecordsError(
            f"Each of {len(outcomes)} files must be accepted or rejected. Received: a plan of {counted} files."
        )
    hints = label_hints(without_label(outcomes, files), listed.labels)
    expect(len(files.accepted), "files")
    shards = plan_shards(files.accepted, config.shard_size, uri)
    return elements(shards, context=_Plan(files, tuple(shards), listed.ignored, (*listed.warnings, *hints)))


def _settle(written: Gathered) -> list[Element]:
    planned: _Plan = written.context
    decoded = settle(
        planned.files,
        (rejection for part in written.results for rejection in part.late),
        dict(item for part in written.results for item in part.remarks),
    )
    digests = dict(item for part in written.results for item in part.digests)
    if digests.keys() != {view.file for view in decoded.accepted}:
        raise LostRecordsError(
            "Every accepted file must be in one shard; run again."
            f" Received: {len(digests)} records of {len(decoded.accepted)} files."
        )
    files = leave_out(decoded, pixel_copies(decoded.accepted, digests))
    kept = {view.file: digests[view.file] for view in files.accepted}
    return elements(plan_cuts(planned.shards, digests.keys() - kept), context=_Settled(planned, files, kept))


def _report(cut: Gathered, places: Places) -> None:
    settled: _Settled = cut.context
    write_index(places.examples, index_of(settled.planned.shards, settled.digests))
    rows = "".join(json.dumps(row, sort_keys=True) + "\n" for row in file_rows(settled.files))
    write_text(os.path.join(places.report, FILES), rows)
    counts = summary(settled.files, settled.planned.ignored, settled.planned.warnings)
    write_text(os.path.join(places.report, SUMMARY_FILE), json.dumps(counts, indent=1))


def ingest(pipeline: beam.Pipeline, source: Source, config: IngestConfig, key: bytes, places: Places) -> None:
    """Lays out the pipeline.

    Args:
        pipeline: Beam pipeline to add to.
        source: Archive.
        config: How it is read and split.
        key: Key of the keyed hashes. It travels inside the pipeline, as the plan is made by a worker.
        places: Where the artifacts go.
    """
    _ = (
        pipeline
        | "Source" >> beam.Create([source], reshuffle=False)
        | "List" >> beam.FlatMap(offer)
        | Stage("Inspect", _inspect, source.root, config)
        | "Sharing" >> beam.FlatMap(find_sharing)
        | Stage("HashPixels", _hash_pixels, source.root, config)
        | "Plan" >> beam.FlatMap(plan_work, config, key, places.examples)
        | Stage("WriteShards", write_views, source.root, config)
        | "Settle" >> beam.FlatMap(_settle)
        | Stage("CutShards", cut_shard)
        | "Report" >> beam.Map(_report, places)
    )
