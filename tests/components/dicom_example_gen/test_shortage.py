"""The remedy that is named follows the reason of most rejected files."""

from __future__ import annotations

from typing import Any

import pytest

from components.dicom_example_gen.shortage import shortage


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
        (summary(truncated=3), "Look at the list of files"),
        (summary(ignored={".jpg": 4}), "give --manifest."),
        (summary(ignored={".txt": 4}), "Name the folder that holds the DICOM files."),
    ],
)
def test_the_remedy_follows_the_main_reason(figures: dict[str, Any], says: str) -> None:
    sentence = shortage(figures)
    assert sentence is not None
    assert says in sentence


def test_nothing_is_said_where_every_split_has_an_image() -> None:
    assert shortage(summary(4, views=4, truncated=9)) is None
