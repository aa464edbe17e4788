"""Merged spans: the later span wins, and no patient is in two splits."""

from __future__ import annotations

from components.common.shards import IndexedView
from components.mammogram_preprocessor.span_merging import ExclusionReason, IngestedShard, find_excluded


def shard(span: int, split: str, *views: tuple[str, str, str, str]) -> IngestedShard:
    return IngestedShard(span, split, f"{span}/{split}", tuple(IndexedView(*view) for view in views))


def test_a_single_span_keeps_all_records() -> None:
    shards = [
        shard(0, "train", ("P", "E", "CC_R", "1"), ("P", "E", "CC_L", "2")),
        shard(0, "test", ("Q", "F", "CC_R", "3")),
    ]
    assert find_excluded(shards) == {}
    assert find_excluded([IngestedShard(0, "train", "a", None), IngestedShard(1, "train", "b", None)]) == {}


def test_the_later_span_wins_by_view_and_by_pixels() -> None:
    early = shard(1, "train", ("P", "E", "CC_R", "1"), ("P", "E", "CC_L", "2"), ("P", "E", "MLO_L", "4"))
    late = shard(2, "train", ("P", "E", "CC_R", "9"), ("P", "G", "CC_L", "2"))
    expected = {"1/train": {("E", "CC_R"): ExclusionReason.NEWER_VIEW, ("E", "CC_L"): ExclusionReason.NEWER_COPY}}
    assert find_excluded([early, late]) == find_excluded([late, early]) == expected


def test_a_patient_has_the_split_of_the_latest_span() -> None:
    early = shard(1, "train", ("P", "E1", "CC_R", "1"), ("Q", "E2", "CC_R", "2"))
    late = shard(2, "test", ("P", "E3", "CC_R", "3"))
    assert find_excluded([early, late]) == {"1/train": {("E1", "CC_R"): ExclusionReason.SPLIT_CONFLICT}}


def test_patients_who_share_an_image_have_one_split() -> None:
    early = shard(1, "train", ("P", "E1", "CC_R", "1"), ("P", "E1", "CC_L", "2"))
    late = shard(2, "test", ("renamed", "E3", "CC_R", "1"))
    assert find_excluded([early, late]) == {
        "1/train": {("E1", "CC_R"): ExclusionReason.SPLIT_CONFLICT, ("E1", "CC_L"): ExclusionReason.SPLIT_CONFLICT}
    }
