"""The remedy depends on the most frequent reason; frequent reasons give warnings."""

from __future__ import annotations

from typing import Any

import pytest

from components.dicom.rejections import RejectionReason
from components.dicom_example_gen.rejection_summary import empty_splits_message, rejection_warnings


def summary(
    accepted: int = 0, ignored: dict[str, int] | None = None, views: int = 0, **by_reason: int
) -> dict[str, Any]:
    rejected = sum(by_reason.values())
    counts = {"found": accepted + rejected, "accepted": accepted, "rejected": rejected}
    splits = {"train": {"views": accepted}, "eval": {"views": views}, "test": {"views": views}}
    return counts | {"by_reason": by_reason, "ignored": ignored or {}, "splits": splits}


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        (summary(8), "no image for: eval, test. Add exams, or change pipeline.ingest.splits"),
        (summary(1, no_label=5, truncated=1), "The labels name none of these exams: exam_id must be their Study"),
        (summary(magnification=3), "Add magnification to pipeline.ingest.accept if"),
        (summary(mixed_patients=3), "Put each exam in a folder of its own"),
        (summary(unsupported_image=3), "Look at the list of files"),
        (summary(truncated=3), "Transfer these files again"),
        (summary(ignored={".jpg": 4}), "give --manifest."),
        (summary(ignored={".txt": 4}), "Name the folder that holds the DICOM files."),
    ],
)
def test_the_remedy_follows_the_main_reason(figures: dict[str, Any], says: str) -> None:
    sentence = empty_splits_message(figures)
    assert sentence is not None
    assert says in sentence


def test_there_is_no_message_if_every_split_has_an_image() -> None:
    assert empty_splits_message(summary(4, views=4, truncated=9)) is None


def test_frequent_reasons_give_warnings_the_most_frequent_first() -> None:
    told = rejection_warnings(1000, {"truncated": 10, "unknown_view": 11, "synthetic_2d": 400})
    assert told == [
        "400 of 1,000 images (40.0%) are left out as synthetic_2d: Add synthetic_2d to pipeline.ingest.accept if these"
        " images are wanted.",
        "11 of 1,000 images (1.1%) are left out as unknown_view: Name the views in a manifest.",
    ]
    assert rejection_warnings(0, {}) == []


@pytest.mark.parametrize("reason", RejectionReason)
def test_every_reason_has_a_remedy(reason: RejectionReason) -> None:
    [sentence] = rejection_warnings(1, {reason.value: 1})
    assert sentence.startswith(f"1 of 1 images (100.0%) are left out as {reason.value}: ")
    assert sentence.endswith(".")
