"""The Beam pipeline of ingest: two passes around one plan.

A worker lists the archive, so the submitted pipeline has the same size for ten million files as for ten. Pass one reads
every header, and then the pixel data of files that share a SOP Instance UID. The plan accepts or rejects each file.
Pass two decodes and writes, with one TFRecord shard per element; if the best image of a view has unusable pixels, it
uses the next. At the end, images with equal pixels are compared. Headers and rows go through Beam, images do not, so
each worker holds one image in memory, whatever the size of the archive. Workers share only the folders of the archive
and of the artifacts.

This module does not import TFX, which would double the start time of a worker process.
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
from components.common.shards import write_index, write_text
from components.common.stages import Element, Gathered, LostRecordsError, Stage, elements
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.copies import pixel_copies
from components.dicom_example_gen.plan.exam_ids import label_hints
from components.dicom_example_gen.plan.ingest_plan import IngestPlan, reject_views, replace_unusable
from components.dicom_example_gen.plan.planning import (
    InspectedFile,
    files_to_hash,
    inspect,
    inspect_pixels,
    plan,
    unlabelled_files,
)
from components.dicom_example_gen.report import SUMMARY_FILE, file_rows, summary
from components.dicom_example_gen.view_shards import Shard, build_index, cut_shard, plan_cuts, plan_shards, write_views
from components.sources.candidates import Candidate, Label
from components.sources.source import Source, find_candidates
from components.sources.tables import RowProblem

_HEADERS_PER_ELEMENT: Final = 64
FILES: Final = "files.jsonl"


@dataclass(frozen=True)
class ArtifactFolders:
    """Folders of the two artifacts.

    Attributes:
        examples: Folder of the examples.
        report: Folder of the ingest report.
    """

    examples: str
    report: str


@dataclass(frozen=True)
class _Listed:
    """Labels and warnings of the source, and a hash of its candidates."""

    labels: Mapping[str, Label | RowProblem]
    ignored: Mapping[str, int]
    warnings: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class _Plan:
    """The plan, its shards, the ignored files, and warnings."""

    files: IngestPlan
    shards: tuple[Shard, ...]
    ignored: Mapping[str, int]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Executed:
    """The plan before and after decoding, and the hash of each accepted file's pixels."""

    planned: _Plan
    files: IngestPlan
    digests: Mapping[str, str]


def _digest(candidates: Iterable[Candidate]) -> str:
    digest = hashlib.sha256()
    for candidate in candidates:
        digest.update(f"{candidate.line} {candidate.file}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def list_archive(source: Source) -> list[Element]:
    """List the candidates of an archive.

    Args:
        source: Archive.

    Returns:
        Elements for pass one, with several files each.

    Raises:
        ManifestError: The folder does not exist, or a labels file or manifest cannot be used at all.
    """
    candidates = find_candidates(source)
    found = candidates.found
    expect(len(found), "headers")
    chunks = [found[start : start + _HEADERS_PER_ELEMENT] for start in range(0, len(found), _HEADERS_PER_ELEMENT)]
    context = _Listed(candidates.labels, candidates.ignored, candidates.warnings, _digest(found))
    return elements(chunks, context=context)


def _inspect(candidates: Sequence[Candidate], root: Location, config: IngestConfig) -> list[InspectedFile]:
    inspected = []
    for candidate in candidates:
        inspected.append(inspect(candidate, root, config.max_pixels, config))
        advance()
    return inspected


def mark_files_to_hash(inspected: Gathered) -> list[Element]:
    """Mark the files whose pixel data must be hashed, because they share a SOP Instance UID.

    Args:
        inspected: Results of pass one for the elements of :func:`list_archive`.

    Returns:
        The same elements, where each file has a flag: True if it must be hashed.
    """
    shared = set(files_to_hash([file for part in inspected.results for file in part]))
    position, parts = 0, []
    for part in inspected.results:
        parts.append([(file, position + index in shared) for index, file in enumerate(part)])
        position += len(part)
    return elements(parts, context=inspected.context)


def _hash_pixels(
    part: Sequence[tuple[InspectedFile, bool]], root: Location, config: IngestConfig
) -> list[InspectedFile]:
    return [inspect_pixels(one, root, config.max_pixels, config) if shared else one for one, shared in part]


def plan_work(inspected: Gathered, config: IngestConfig, key: bytes, uri: str) -> list[Element]:
    """Plan pass two.

    Args:
        inspected: Results of pass one for the elements of :func:`list_archive`, with hashes of pixel data.
        config: Configuration of ingest.
        key: Key of the keyed hashes.
        uri: Folder of the examples.

    Returns:
        Elements for pass two, one shard each.

    Raises:
        LostRecordsError: The files differ from the listed ones, or the plan does not contain each of them.
    """
    listed: _Listed = inspected.context
    results = [file for part in inspected.results for file in part]
    # A runner that repeats the work of a lost worker lists the archive again; the parts of two lists do not match.
    if _digest(file.candidate for file in results) != listed.digest:
        raise LostRecordsError(
            "The archive must not change while it is read; run again. Received: another list of files, when the"
            " runner repeated a lost worker's part."
        )
    files = plan(results, listed.labels, config, key)
    if (counted := len(files.accepted) + len(files.rejected)) != len(results):
        raise LostRecordsError(
            f"Each of {len(results)} files must be accepted or rejected. Received: a plan of {counted} files."
        )
    hints = label_hints(unlabelled_files(results, files), listed.labels)
    expect(len(files.accepted), "files")
    shards = plan_shards(files.accepted, config.shard_size, uri)
    return elements(shards, context=_Plan(files, tuple(shards), listed.ignored, (*listed.warnings, *hints)))


def _finish(written: Gathered) -> list[Element]:
    planned: _Plan = written.context
    decoded = replace_unusable(
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
    files = reject_views(decoded, pixel_copies(decoded.accepted, digests))
    kept = {view.file: digests[view.file] for view in files.accepted}
    return elements(plan_cuts(planned.shards, digests.keys() - kept), context=_Executed(planned, files, kept))


def _report(cut: Gathered, folders: ArtifactFolders) -> None:
    executed: _Executed = cut.context
    write_index(folders.examples, build_index(executed.planned.shards, executed.digests))
    rows = "".join(json.dumps(row, sort_keys=True) + "\n" for row in file_rows(executed.files))
    write_text(os.path.join(folders.report, FILES), rows)
    counts = summary(executed.files, executed.planned.ignored, executed.planned.warnings)
    write_text(os.path.join(folders.report, SUMMARY_FILE), json.dumps(counts, indent=1))


def ingest(pipeline: beam.Pipeline, source: Source, config: IngestConfig, key: bytes, folders: ArtifactFolders) -> None:
    """Add the stages of ingest to a pipeline.

    Args:
        pipeline: Beam pipeline.
        source: Archive.
        config: Configuration of ingest.
        key: Key of the keyed hashes. The pipeline contains it, because a worker makes the plan.
        folders: Folders of the artifacts.
    """
    _ = (
        pipeline
        | "Source" >> beam.Create([source], reshuffle=False)
        | "List" >> beam.FlatMap(list_archive)
        | Stage("Inspect", _inspect, source.root, config)
        | "Sharing" >> beam.FlatMap(mark_files_to_hash)
        | Stage("HashPixels", _hash_pixels, source.root, config)
        | "Plan" >> beam.FlatMap(plan_work, config, key, folders.examples)
        | Stage("WriteShards", write_views, source.root, config)
        | "Finish" >> beam.FlatMap(_finish)
        | Stage("CutShards", cut_shard)
        | "Report" >> beam.Map(_report, folders)
    )
