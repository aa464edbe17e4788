"""The notes above the tables of the data state what was counted, and never call an empty data set complete."""

from __future__ import annotations

from typing import Any

import pytest

from components.report_generator.artifacts import IngestSummary
from components.report_generator.loading import combine
from components.report_generator.sections.data import balances


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
