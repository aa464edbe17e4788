"""Merge several spans of ingested examples into one data set without duplicates.

Rules for the records of all spans:
    1. A patient has the same split in all spans: the split of the patient's latest span. Records of other splits are
       excluded (``split_conflict``). Patients who share an image count as one person (see ``pixel_copies`` of ingest).
    2. If several spans have an image of the same exam and view, the image of the latest span is kept (``newer_view``).
    3. If several spans have an image with the same pixels, the image of the latest span is kept (``newer_copy``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from components.common.shards import IndexedView
from components.common.union_find import representatives


class ExclusionReason(str, Enum):
    """Why a record of an earlier span is excluded."""

    NEWER_VIEW = "newer_view"
    NEWER_COPY = "newer_copy"
    SPLIT_CONFLICT = "split_conflict"


@dataclass(frozen=True)
class IngestedShard:
    """One shard of one span.

    Attributes:
        span: Position of its span; later spans are higher.
        split: Its split.
        path: Its file.
        views: Its records; None if not known.
    """

    span: int
    split: str
    path: str
    views: tuple[IndexedView, ...] | None


@dataclass(frozen=True)
class _Record:
    shard: IngestedShard
    view: IndexedView


def _splits(records: Sequence[_Record]) -> dict[str, str]:
    """Return the split of each patient; ``records`` are sorted by span, latest first."""
    split: dict[str, str] = {}
    first: dict[str, int] = {}
    sharing: dict[str, list[str]] = defaultdict(list)
    for position, record in enumerate(records):
        patient = record.view.patient_id
        split.setdefault(patient, record.shard.split)
        first.setdefault(patient, position)
        sharing[record.view.pixels].append(patient)
    persons = representatives(sharing.values(), lambda patient: first[patient])
    return {patient: split[persons[patient]] for patient in split}


def find_excluded(shards: Sequence[IngestedShard]) -> dict[str, dict[tuple[str, str], ExclusionReason]]:
    """Find the records that are excluded when spans are merged.

    Args:
        shards: Shards of all spans, with distinct paths.

    Returns:
        For each path: exam and view of the excluded records, and the reason. A single span has no excluded records.
    """
    records = [
        _Record(shard, view)
        for shard in sorted(shards, key=lambda shard: (-shard.span, shard.path))
        for view in shard.views or ()
    ]
    split = _splits(records)
    views: set[tuple[str, str]] = set()
    pixels: set[str] = set()
    excluded: dict[str, dict[tuple[str, str], ExclusionReason]] = defaultdict(dict)
    for record in records:
        key = record.view.exam_id, record.view.view
        if record.shard.split != split[record.view.patient_id]:
            excluded[record.shard.path][key] = ExclusionReason.SPLIT_CONFLICT
        elif key in views:
            excluded[record.shard.path][key] = ExclusionReason.NEWER_VIEW
        elif record.view.pixels in pixels:
            excluded[record.shard.path][key] = ExclusionReason.NEWER_COPY
        else:
            views.add(key)
            pixels.add(record.view.pixels)
    return dict(excluded)
