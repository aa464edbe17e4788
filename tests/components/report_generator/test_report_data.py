"""Sections on data, segmentation reviews and training: counts, intervals and notes."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score

from components.report_generator.artifacts import History, IngestSummary
from components.report_generator.loading import combine
from components.report_generator.page import Table
from components.report_generator.report import ReportInputs, build_report
from components.report_generator.sections.data import balances
from components.report_generator.sections.readers import reader_tables
from components.report_generator.sections.training import training_section
from schema.features import VIEWS, projection_of


def summary(**values: Any) -> IngestSummary:
    counts = ("found", "accepted", "rejected", "files_without_exam", "labels_without_files", "bad_labels")
    numbers = dict.fromkeys((*counts, "exams_found", "exams_kept", "incomplete_exams"), 0)
    tables = ("by_reason", "ignored", "exams_left_out", "exams_found_by_class", "incomplete_by_reason", "exams")
    empty: dict[str, Any] = {name: {} for name in (*tables, "splits", "systems", "ages")}
    return IngestSummary.model_validate(numbers | empty | values)


def split(exams: int, patients: int) -> dict[str, Any]:
    return {"train": {"exams": exams, "views": 4 * exams, "patients": patients, "by_class": {}}}


KEPT = {"found": 8, "accepted": 8, "exams_found": 2, "exams_kept": 2}


@pytest.mark.parametrize(
    ("values", "notes"),
    [
        ({}, ["✗ Nothing is accepted: 0 files found =", "✗ Nothing is kept: 0 exams found ="]),
        (
            {"found": 3, "rejected": 3, "by_reason": {"missing_file": 3}},
            [
                "✗ Nothing is accepted: 3 rows and files found =",
                "✗ Nothing is kept",
                "3 of 3 images (100.0%) are left out",
            ],
        ),
        (KEPT | {"splits": split(2, 1)}, ["✓ 8 files found = 8 accepted", "✓ 2 exams"]),
        (KEPT | {"splits": split(2, 2)}, ["✓ 8 files", "✓ 2 exams", "As many patients as exams"]),
        (KEPT | {"found": 9}, ["✗ The counts do not add up", "✓ 2 exams"]),
    ],
)
def test_notes_of_an_archive(values: dict[str, Any], notes: list[str]) -> None:
    texts = [note.text for note in balances(summary(**values))]
    assert len(texts) == len(notes)
    assert all(text.startswith(start) for text, start in zip(texts, notes, strict=True)), texts


def test_warnings_and_costly_reasons_are_noted_once_over_all_spans() -> None:
    span = summary(**KEPT | {"found": 10, "rejected": 2, "by_reason": {"truncated": 2}}, warnings=["Mind the ages."])
    texts = [note.text for note in balances(combine([span, span])) if note.tone == "warn"]
    assert texts == [
        "Mind the ages.",
        "4 of 20 images (20.0%) are left out as truncated: Transfer these files again: they are cut short.",
    ]


def test_note_on_labels_without_files_states_the_number_of_spans() -> None:
    both = combine([summary(**KEPT, labels_without_files=10), summary(**KEPT, labels_without_files=8)])
    assert both.spans == 2
    assert balances(both)[-1].text == "Exams in the labels without a file in their span, summed over 2 spans: 18."
    one = balances(summary(**KEPT, labels_without_files=8))[-1].text
    assert one == "Exams in the labels without a file: 8."


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


def history(network: str, **more: Any) -> History:
    epoch = {"epoch": 1, "loss": 1.0, "accuracy": 0.4, "val_loss": 1.1, "val_accuracy": 0.5}
    images = {"train": 10, "eval": 4}
    figures = {"best_epoch": 1, "parameters": 100, "convolutions": 41, "images": images, "epochs": [epoch]}
    return History.model_validate({"view": network, **figures, **more})


def table(training: dict[str, History]) -> Table:
    [found] = [block for block in training_section(training).blocks if isinstance(block, Table)]
    return found


def test_a_network_that_serves_two_views_is_shown_once() -> None:
    shown = table({view: history(projection_of(view)) for view in VIEWS})
    assert [row[0].text for row in shown.rows] == ["CC", "MLO"]
    assert "Tuner" not in shown.note


def test_one_network_for_all_views_and_its_head_are_named() -> None:
    shown = table({view: history("ALL", head="cumulative") for view in VIEWS})
    assert [row[0].text for row in shown.rows] == ["all views"]
    assert "cumulative head" in shown.note
    assert "cumulative head" not in table({view: history(view) for view in VIEWS}).note


def test_what_the_tuner_chose_is_named() -> None:
    chosen = {"network.dropout": 0.25, "learning_rate": 0.0012345}
    shown = table({view: history(view, hyperparameters=chosen) for view in VIEWS})
    assert len(shown.rows) == len(VIEWS)
    assert shown.note.endswith("The Tuner chose learning_rate 0.00123, network.dropout 0.25.")


def test_readers_of_several_spans_are_compared_together() -> None:
    def span(first: int, grades: str) -> IngestSummary:
        exams = [
            {
                "exam_id": f"exam{number}",
                "patient_id": f"patient{number}",
                "split": ("train", "eval", "test")[number % 3],
                "density": max(pair),
                "readings": {"1": pair[0], "2": pair[1]},
            }
            for number, pair in enumerate(grades.split(), start=first)
        ]
        return summary(**KEPT, readings=exams)

    pairs, splits = reader_tables(combine([span(0, "AA BC CC"), span(3, "DD AB")]))
    assert [cell.text for cell in pairs.rows[0][:2]] == ["Reader 1 and reader 2", "5"]
    kappa = cohen_kappa_score([*"ABCDA"], [*"ACCDB"], weights="quadratic", labels=[*"ABCD"])
    assert pairs.rows[0][4].text == f"{kappa:.3f}"
    assert {row[0].text: [cell.text for cell in row[1:]] for row in splits.rows} == {
        "train": ["2", "2", "0", "0"],
        "eval": ["2", "0", "2", "2"],
        "test": ["1", "1", "0", "0"],
        "all": ["5", "3", "2", "2"],
    }
    assert reader_tables(combine([summary(**KEPT), summary(**KEPT)])) == ()
