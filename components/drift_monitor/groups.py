"""Groups of exams that are compared: a shard of preprocessed views belongs to those of its split and its span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from components.common.shards import shards_of, span_of_shard, split_folder

_TRAIN: Final = "train"


class Group(str, Enum):
    """Exams that are compared with others."""

    TRAIN = "train"  # of all spans, without those that pipeline.selection keeps from the networks
    HELD_OUT = "held out"  # eval and test
    NEWEST = "newest span"
    EARLIER = "earlier spans"
    TRAIN_EARLIER = "train of earlier spans"  # what models of earlier runs could learn from


@dataclass(frozen=True)
class GroupedShard:
    """A shard, and the groups that it belongs to."""

    path: str
    groups: tuple[Group, ...]


def grouped_shards(uri: str, splits: Sequence[str], newest: int, selected: str | None = None) -> list[GroupedShard]:
    """Lists the shards of preprocessed examples with their groups; an archive without spans has no newest ones.

    Args:
        uri: Of the Examples artifact.
        splits: Its splits.
        newest: Its newest span.
        selected: Of the Examples artifact of those exams that networks learn from, a part of the first; None for all.
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
