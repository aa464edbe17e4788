"""Groups of exams that are compared: a shard of preprocessed views belongs to those of its split and its span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from components.common.shards import shards_of, span_of_shard, split_folder


class Group(str, Enum):
    """Exams that are compared with others."""

    TRAIN = "train"  # of all spans
    HELD_OUT = "held out"  # eval and test
    NEWEST = "newest span"
    EARLIER = "earlier spans"
    TRAIN_EARLIER = "train of earlier spans"  # what models of earlier runs could learn from


@dataclass(frozen=True)
class GroupedShard:
    """A shard, and the groups that it belongs to."""

    path: str
    groups: tuple[Group, ...]


def groups_of(split: str, span: int | None, newest: int) -> tuple[Group, ...]:
    """Tells which groups the exams of a split and a span belong to.

    Args:
        split: ``train``, ``eval`` or ``test``.
        span: Number of the span; None for an archive without spans.
        newest: Number of the newest span.
    """
    learnt = split == "train"
    groups = [Group.TRAIN if learnt else Group.HELD_OUT]
    if span is not None:
        groups.append(Group.NEWEST if span == newest else Group.EARLIER)
    if learnt and Group.EARLIER in groups:
        groups.append(Group.TRAIN_EARLIER)
    return tuple(groups)


def grouped_shards(uri: str, splits: Sequence[str], newest: int) -> list[GroupedShard]:
    """Lists the shards of preprocessed examples with their groups.

    Args:
        uri: Of the Examples artifact.
        splits: Its splits.
        newest: Its newest span.
    """
    return [
        GroupedShard(path, groups_of(split, span_of_shard(path), newest))
        for split in splits
        for path in shards_of(split_folder(uri, split))
    ]
