"""Groups of exams, and the Beam pipeline that computes their statistics.

A shard of preprocessed views belongs to the groups of its split and its span. Each element of the pipeline is one
shard; the workers read rows without images from it and compute TFDV's statistics. A worker holds one batch of rows in
memory; the output grows with the number of features and acquisition systems only.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.common.progress import advance
from components.common.shards import (
    read_bytes,
    read_shard,
    shards_of,
    span_of_shard,
    split_folder,
    write_bytes,
    write_text,
)
from schema import features as f

_TRAIN: Final = "train"


class Group(str, Enum):
    """A group of exams that is compared with another group."""

    TRAIN = "train"  # of all spans, without exams that pipeline.selection leaves out
    HELD_OUT = "held out"  # eval and test
    NEWEST = "newest span"
    EARLIER = "earlier spans"
    TRAIN_EARLIER = "train of earlier spans"  # what models of earlier runs could be trained on


@dataclass(frozen=True)
class GroupedShard:
    """A shard and its groups."""

    path: str
    groups: tuple[Group, ...]


def grouped_shards(uri: str, splits: Sequence[str], newest: int, selected: str | None = None) -> list[GroupedShard]:
    """Return the shards of preprocessed examples with their groups; an archive without spans has no newest span.

    Args:
        uri: Folder of the Examples artifact.
        splits: Its splits.
        newest: Its newest span.
        selected: Folder of the Examples artifact with the exams that networks learn from, a part of the first; None for
            all.
    """
    shards: dict[str, list[Group]] = {}
    for split in splits:
        for path in shards_of(split_folder(uri, split)):
            span = span_of_shard(path)
            shards[path] = [] if split == _TRAIN else [Group.HELD_OUT]
            if span is not None:
                shards[path].append(Group.NEWEST if span == newest else Group.EARLIER)
    for path in shards_of(split_folder(selected or uri, _TRAIN)):
        learnt = (Group.TRAIN,) if span_of_shard(path) in (None, newest) else (Group.TRAIN, Group.TRAIN_EARLIER)
        shards.setdefault(path, []).extend(learnt)
    return [GroupedShard(path, tuple(groups)) for path, groups in shards.items() if groups]


_GROUPS: Final = "drift/groups"  # column of a batch, not a feature
_BATCH: Final = 1024  # rows
_STATISTICS_FILE: Final = "statistics.pb"
_EXAMS_FILE: Final = "exams.json"
_ARROW: Final = {"bytes_list": pa.large_binary(), "int64_list": pa.int64(), "float_list": pa.float32()}

# Feature -> kind of tf.train.Feature, and values.
_Row = Mapping[str, tuple[str, list[Any]]]
# Group -> acquisition system -> exams. An exam of two systems counts in both.
ExamCounts = Mapping[Group, Mapping[str, int]]


def _row(record: bytes, names: Sequence[str]) -> _Row:
    """Copy the named features of a record: a reference into the parsed message would keep its image in memory."""
    features = tf.train.Example.FromString(record).features.feature
    kinds = {name: features[name].WhichOneof("kind") for name in names if name in features}
    return {name: (kind, list(getattr(features[name], kind).value)) for name, kind in kinds.items() if kind}


def _column(name: str, rows: Sequence[_Row]) -> pa.Array:
    """Return the column of a feature: large lists, as TFX's own readers do; null if a row lacks it."""
    kinds = {row[name][0] for row in rows if name in row}
    if len(kinds) > 1:
        raise ValueError(f"{name}: a feature has one type; run the preprocessing again. Received: {sorted(kinds)}")
    if not kinds:
        return pa.nulls(len(rows))
    values = [row[name][1] if name in row else None for row in rows]
    return pa.array(values, type=pa.large_list(_ARROW[kinds.pop()]))


def read_batches(shard: GroupedShard, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read a shard without its images.

    Args:
        shard: TFRecord shard of preprocessed views.
        names: Features to read.

    Yields:
        Batches with one column per feature, and one with the names of the groups.
    """
    groups = [group.value.encode() for group in shard.groups]
    read = (_row(record, names) for record in read_shard(shard.path))
    while rows := list(itertools.islice(read, _BATCH)):
        columns = [_column(name, rows) for name in names]
        columns.append(pa.array([groups] * len(rows), type=pa.large_list(pa.large_binary())))
        yield pa.RecordBatch.from_arrays(columns, [*names, _GROUPS])
    advance()


def _groups(batch: pa.RecordBatch) -> list[str]:
    return [name.decode() for name in batch.column(_GROUPS)[0].as_py()]


def slice_by_group(batch: pa.RecordBatch) -> Iterable[tuple[str, pa.RecordBatch]]:
    """Return a batch once for each of its groups: TFDV's slice function."""
    return [(name, batch) for name in _groups(batch)]


def _exams(batch: pa.RecordBatch) -> Iterator[tuple[str, str, bytes]]:
    systems, exams = (batch.column(name).to_pylist() for name in (f.ACQUISITION_SYSTEM, f.EXAM_ID))
    for group in _groups(batch):
        for system, exam in set(zip((s[0] for s in systems), (e[0] for e in exams), strict=True)):
            yield group, system.decode(), exam


def _group_and_system(row: tuple[str, str, bytes]) -> tuple[str, str]:
    return row[:2]


def _write_statistics(statistics: statistics_pb2.DatasetFeatureStatisticsList, out: str) -> None:
    write_bytes(os.path.join(out, _STATISTICS_FILE), statistics.SerializeToString())


def _write_exams(counts: Iterable[tuple[tuple[str, str], int]], out: str) -> None:
    rows = sorted([group, system, exams] for (group, system), exams in counts)
    write_text(os.path.join(out, _EXAMS_FILE), json.dumps(rows, indent=1))


def measure_groups(pipeline: beam.Pipeline, shards: Sequence[GroupedShard], names: Sequence[str], out: str) -> None:
    """Add the steps to a pipeline.

    Args:
        pipeline: Beam pipeline to add to.
        shards: Preprocessed views.
        names: Features whose statistics are computed.
        out: Folder to write to.
    """
    columns = [*names, *(name for name in (f.EXAM_ID, f.ACQUISITION_SYSTEM) if name not in names)]
    batches = pipeline | "Shards" >> beam.Create(shards) | "Read" >> beam.FlatMap(read_batches, columns)
    options = tfdv.StatsOptions(feature_allowlist=[*names, _GROUPS], experimental_slice_functions=[slice_by_group])
    _ = (
        batches
        | "Statistics" >> tfdv.GenerateStatistics(options)
        | "WriteStatistics" >> beam.Map(_write_statistics, out)
    )
    _ = (
        batches
        | "Exams" >> beam.FlatMap(_exams)
        | "EachOnce" >> beam.Distinct()
        | "System" >> beam.Map(_group_and_system)
        | "Count" >> beam.combiners.Count.PerElement()
        | "ToOne" >> beam.combiners.ToList()
        | "WriteExams" >> beam.Map(_write_exams, out)
    )


def read_statistics(out: str) -> dict[Group, statistics_pb2.DatasetFeatureStatisticsList]:
    """Read the statistics of each group that has views, in the form of TFDV's comparison."""
    found = statistics_pb2.DatasetFeatureStatisticsList.FromString(read_bytes(os.path.join(out, _STATISTICS_FILE)))
    names = {group.value: group for group in Group}
    return {
        names[part.name]: statistics_pb2.DatasetFeatureStatisticsList(datasets=[part])
        for part in found.datasets
        if part.name in names
    }


def read_exams(out: str) -> ExamCounts:
    """Read the number of exams per group and acquisition system."""
    counts: dict[Group, dict[str, int]] = {group: {} for group in Group}
    for group, system, exams in json.loads(read_bytes(os.path.join(out, _EXAMS_FILE))):
        counts[Group(group)][system] = exams
    return counts


def is_measured(out: str) -> bool:
    """Return True if Beam wrote both files."""
    return all(tf.io.gfile.exists(os.path.join(out, name)) for name in (_STATISTICS_FILE, _EXAMS_FILE))
