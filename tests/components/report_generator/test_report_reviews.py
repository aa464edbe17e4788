"""The report counts the reviews by people, with an interval, and names each file that was not used."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from components.report_generator.report import ReportInputs, build_report

REVIEWS = {
    "files": 44,
    "accepted": 20,
    "changed": 18,
    "absent": 2,
    "refused": 4,
    "corrected": 16,
    "dice": {"n": 36, "median": 0.9412, "lowest": 0.21},
    "by_problem": {"stale_pixels": 4},
    "findings": [
        {"file": "0" * 32 + "_MLO_L.json", "problem": "stale_pixels", "sentence": "Review <it> again."},
    ],
}


def page_of(folder: Path, reviews: dict[str, Any] | None) -> str:
    row = {
        "exam_id": "0" * 32,
        "view": "MLO_L",
        "acquisition_system": "S",
        "density": "B",
        "status": "manual",
        "doubt": 0.0,
        "overlay": None,
    }
    summary = {"views": 1, "by_status": {"manual": 1}, "by_system": {"S": {"manual": 1}}}
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary | ({"reviews": reviews} if reviews else {})))
    (folder / "views.jsonl").write_text(json.dumps(row) + "\n")
    text = build_report(ReportInputs(quality=folder))
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def test_reviews_are_counted_with_the_interval_of_how_often_the_automatic_result_was_wrong(tmp_path: Path) -> None:
    text = page_of(tmp_path / "quality", REVIEWS)
    assert re.search(r"Images reviewed 40 ", text)
    assert re.search(r"Automatic result accepted 20 ", text)
    assert re.search(r"Muscle outlined by a person 18 ", text)
    assert re.search(r"No muscle according to a person 2 ", text)
    # Wilson's interval of 16 of 40.
    assert re.search(r"Automatic result was wrong 16 of 40 40 %, 95 % interval 26 to 55 %", text)
    assert re.search(r"0\.941 n = 36, lowest 0\.21", text)
    assert "4 review files were not used" in text
    assert "stale pixels" in text
    assert "Review <it> again." in text  # escaped in the page


@pytest.mark.parametrize("reviews", [None, REVIEWS | dict.fromkeys(("files", "accepted", "changed", "absent"), 0)])
def test_without_reviews_the_page_does_not_mention_them(tmp_path: Path, reviews: dict[str, Any] | None) -> None:
    assert "Images reviewed" not in page_of(tmp_path / "quality", reviews)


def test_reviews_none_of_which_could_be_used_are_shown(tmp_path: Path) -> None:
    counts = dict.fromkeys(("accepted", "changed", "absent", "corrected"), 0)
    text = page_of(tmp_path / "quality", REVIEWS | counts | {"files": 4})
    assert "Images reviewed 0 " in text
    assert "was wrong" not in text
    assert "4 review files were not used" in text
