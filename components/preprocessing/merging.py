"""Several spans of ingested examples become one data set, from which duplicates are left out.

Rules, for the records of all spans:
    1. A patient has one split in all spans: that of the latest span the patient is in. Records of another split are
       left out (``split_conflict``), and patients who share an image are one person (``pixel_copies`` of ingest says
       why).
    2. Of an exam's images of one view in several spans, that of the latest is kept (``newer_view``).
    3. Of equal images in several spans, that of the latest is kept (``newer_copy``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from components.common.shards import IndexedView
from components.common.union_find import representatives


class LeftOut(str, Enum):
    """Why a record of an earlier span is left out."""

    NEWER_VIEW = "newer_view"
    NEWER_COPY = "newer_copy"
    SPLIT_CONFLICT = "split_conflict"


@dataclass(frozen=True)
class IngestedShard:
    """One shard of one span.

    Attributes:
        span: Position of its span, later ones higher.
        split: Its split.
        path: File.
        views: Its records; None where nobody listed them.
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
    """Returns the one split of each patient; ``records`` come latest span first."""
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


def left_out(shards: Sequence[IngestedShard]) -> dict[str, dict[tuple[str, str], LeftOut]]:
    """Finds the records that are left out when spans are merged.

    Args:
        shards: Shards of all spans; none of the same path.

    Returns:
        Path -> exam and view of each record that is left out, and why. Nothing of a single span is ever left out.
    """
    records = [
        _Record(shard, view)
        for shard in sorted(shards, key=lambda shard: (-shard.span, shard.path))
        for view in shard.views or ()
    ]
    split = _splits(records)
    views: set[tuple[str, str]] = set()
    pixels: set[str] = set()
    out: dict[str, dict[tuple[str, str], LeftOut]] = defaultdict(dict)
    for record in records:
        key = record.view.exam_id, record.view.view
        if record.shard.split != split[record.view.patient_id]:
            out[record.shard.path][key] = LeftOut.SPLIT_CONFLICT
        elif key in views:
            out[record.shard.path][key] = LeftOut.NEWER_VIEW
        elif record.view.pixels in pixels:
            out[record.shard.path][key] = LeftOut.NEWER_COPY
        else:
            views.add(key)
            pixels.add(record.view.pixels)
    return dict(out)
