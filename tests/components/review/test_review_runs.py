"""The node with a folder of reviews, on Beam; and the ranking of the views to review."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from components.common.png import decode_png, encode_png, pixels_sha256
from components.common.shards import shard_name, split_folder, write_shard
from components.mammogram_preprocessor.quality import (
    QualityRow,
    choose_overlays,
    rank_by_doubt,
    report_row,
    review_summary,
)
from components.preprocessing.config import PreprocessConfig, QualityConfig
from components.review.problems import ReviewProblem, UnusedReview
from components.review.review_file import review_name
from components.review.reviewed_view import ReviewOutcome
from schema import features as f
from schema.features import SPLITS
from tests.components.executor_harness import NodeOutput, run_preprocess, text_of

pytestmark = pytest.mark.slow

CONFIG = PreprocessConfig(method="thesis", output_size=48)  # every method would do here
EXAMS = tuple(digit * 32 for digit in "0123")


def _example(exam: str, view: str, pixels: np.ndarray) -> bytes:
    texts = {f.VIEW: view, f.EXAM_ID: exam, f.PATIENT_ID: exam, f.DENSITY: "B", f.ACQUISITION_SYSTEM: "System 1"}
    example = tf.train.Example()
    example.features.feature[f.IMAGE].bytes_list.value.append(encode_png(pixels))
    for name, text in texts.items():
        example.features.feature[name].bytes_list.value.append(text.encode())
    example.features.feature[f.PIXEL_SPACING_MM].float_list.value.append(0.1)
    return example.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def ingested(make_view: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> NodeOutput:
    """Four exams of two views, in all splits."""
    examples = standard_artifacts.Examples()
    root = tmp_path_factory.mktemp("ingested")
    examples.uri = str(root / "examples")
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    records = [
        _example(exam, view, make_view(200, 150, seed=number).pixels)
        for number, exam in enumerate(EXAMS)
        for view in ("CC_L", "MLO_L")
    ]
    for split, part in (("train", records[:2]), ("eval", records[2:4]), ("test", records[4:])):
        write_shard(f"{split_folder(examples.uri, split)}/{shard_name(0, 1)}", part)
    return NodeOutput(examples, root)


@pytest.fixture(scope="module")
def before(ingested: NodeOutput, tmp_path_factory: pytest.TempPathFactory) -> NodeOutput:
    return run_preprocess(ingested, CONFIG, tmp_path_factory.mktemp("before"))


def _named(output: NodeOutput) -> dict[tuple[str, str], Any]:
    return {
        (text_of(example, f.EXAM_ID), text_of(example, f.VIEW)): example
        for examples in output.views().values()
        for example in examples
    }


def test_the_report_contains_review_names_and_ranks_the_oblique_views(ingested: NodeOutput, before: NodeOutput) -> None:
    rows = before.rows("views.jsonl")
    images = {key: decode_png(v.features.feature[f.IMAGE].bytes_list.value[0]) for key, v in _named(ingested).items()}
    for row in rows:
        digest = pixels_sha256(images[row["exam_id"], row["view"]])
        assert row["pixels_sha256"] == digest
        oblique = row["view"] == "MLO_L"
        assert row["review_name"] == (review_name(row["exam_id"], "MLO_L", digest).stem if oblique else None)
        assert (row["rank"] is not None) == oblique
    ranked = sorted((row for row in rows if row["rank"]), key=lambda row: row["rank"])
    assert [row["rank"] for row in ranked] == [1, 2, 3, 4]
    assert [row["doubt"] for row in ranked] == sorted((row["doubt"] for row in ranked), reverse=True)
    assert before.summary()["reviews"]["files"] == 0


def test_reviews_win_and_every_file_is_counted(ingested: NodeOutput, before: NodeOutput, tmp_path: Path) -> None:
    names = {row["exam_id"]: row["review_name"] for row in before.rows("views.jsonl") if row["rank"]}
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / f"{names[EXAMS[0]]}.json").write_text('{"muscle": "absent"}')
    (folder / f"{names[EXAMS[1]]}.json").write_text('{"polygons": [[[0, 0], [60, 0], [0, 60]]]}')
    (folder / f"{names[EXAMS[2]]}.json").write_text('{"accept": true}')
    (folder / f"{names[EXAMS[3]]}.json").write_text('{"polygons": [[[0, 0], [600, 0], [0, 60]]]}')
    (folder / f"{names[EXAMS[3]][:-16]}{'0' * 16}.json").write_text('{"muscle": "absent"}')
    (folder / f"{'f' * 32}_MLO_L_{'0' * 16}.json").write_text('{"muscle": "absent"}')
    (folder / "Rossi Maria.json").write_text('{"muscle": "absent"}')

    quality = QualityConfig(doubtful_overlays=1, typical_overlays=0)
    after = run_preprocess(ingested, CONFIG, tmp_path / "after", quality=quality, reviews=folder)

    old, new = _named(before), _named(after)
    changed = {key for key in old if old[key] != new[key]}
    assert changed == {(EXAMS[0], "MLO_L"), (EXAMS[1], "MLO_L")}
    assert {text_of(new[key], f.PECTORAL_STATUS) for key in changed} == {"manual"}
    assert new[EXAMS[0], "MLO_L"].features.feature[f.PECTORAL_AREA_FRACTION].float_list.value[0] == 0

    rows = {row["exam_id"]: row for row in after.rows("views.jsonl") if row["rank"]}
    assert [rows[exam]["review"] and rows[exam]["review"]["verdict"] for exam in EXAMS] == [
        "absent",
        "changed",
        "accepted",
        None,
    ]
    assert rows[EXAMS[3]]["rank"] == 1  # views without a review come first
    assert [rows[exam]["doubt"] for exam in EXAMS[:3]] == [0, 0, 0]
    assert [row["exam_id"] for row in after.rows("views.jsonl") if row["overlay"]] == [EXAMS[3]]
    summary = after.summary()["reviews"]
    assert {key: summary[key] for key in ("files", "accepted", "changed", "absent", "refused", "corrected")} == {
        "files": 7,
        "accepted": 1,
        "changed": 1,
        "absent": 1,
        "refused": 4,
        "corrected": 2,
    }
    assert summary["by_problem"] == {"outside_image": 1, "stale_pixels": 1, "unknown_image": 1, "unknown_name": 1}
    assert summary["dice"]["n"] == 1
    assert rows[EXAMS[1]]["review"]["dice"] == summary["dice"]["median"] < 0.98
    assert not [file for file, data in after.files().items() if b"Rossi" in data or "Rossi" in file]


def row(exam: str, doubt: float, view: str = "MLO_L", **values: Any) -> QualityRow:
    fields: dict[str, Any] = {"status": "removed", "pectoral_area_fraction": 0.1, "breast_area_fraction": 0.4} | values
    return QualityRow(0, 0, exam * 32, view, "S", "B", doubt=doubt, pixels_sha256="0" * 64, **fields)


def test_ranks_depend_on_doubt_exam_and_view_and_not_on_the_shards() -> None:
    outcome = ReviewOutcome("accepted", "removed", 0.9, None, False)
    rows = [row("a", 0.2), row("b", 0.7), row("c", 0.0), row("d", 0.0, review=outcome), row("e", 0.7)]
    rows += [row("f", 0.0, "CC_L", status="not_applicable"), row("0", 0.0, status="not_applicable")]
    found = {name.exam_id[0]: rank for name, rank in rank_by_doubt(rows).items()}
    assert found == {"b": 1, "e": 2, "a": 3, "c": 4, "d": 5}
    assert rank_by_doubt(reversed(rows)) == rank_by_doubt(rows)
    spread = [replace(row, shard=5 - number) for number, row in enumerate(rows)]
    assert {chosen.exam_id[0] for chosen in choose_overlays(spread, 2, 0)} == {"b", "e"}
    assert json.loads(json.dumps(report_row(rows[3], 5, False)))["review"]["verdict"] == "accepted"


def test_the_summary_adds_up_and_shows_only_names_of_hashes() -> None:
    outcomes = [
        ReviewOutcome("accepted", "removed", 0.9, 0.99, False),
        ReviewOutcome("changed", "removed", 0.9, 0.5, True),
        ReviewOutcome("changed", "failed", 1.0, None, True),
        ReviewOutcome("absent", "absent", 0.1, None, False),
    ]
    rows = [row(str(number), 0.0, review=outcome) for number, outcome in enumerate(outcomes)]
    findings = [
        UnusedReview("x.png", ReviewProblem.UNKNOWN_NAME, "Rename it.", is_hash_name=False),
        UnusedReview("0" * 32 + "_MLO_L_" + "0" * 16 + ".png", ReviewProblem.EMPTY_MASK, "It is empty."),
    ]
    summary = review_summary(rows, findings)
    assert summary["files"] == 6 == sum(summary[key] for key in ("accepted", "changed", "absent", "refused"))
    assert summary["corrected"] == 2
    assert summary["dice"] == {"n": 1, "median": 0.5, "lowest": 0.5}  # accepted results are not part of the agreement
    assert "x.png" not in json.dumps(summary)
