"""Exams to read again: which are found in tables of out-of-fold predictions, the table, and the page."""

from __future__ import annotations

import base64
import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from components.common.png import encode_png
from components.common.shards import write_shard
from components.evaluator.predictions import ViewPrediction
from components.preprocessing.config import PreprocessConfig
from components.statistics.confident_learning import doubted_labels
from pipeline.experiments.prediction_table import write_predictions
from pipeline.review import labels
from pipeline.review.labels import export_doubted, find_doubted
from pipeline.review.session import ReviewableRun, ReviewRunError
from schema import features as f
from tests.components.preprocessing.synthetic_views import draw_view
from tests.pictures import decode_picture

HOSTILE = "</details><script>alert('x')</script>"
EXAMS = 40
LEFT = ("CC_L", "MLO_L")


def write_table(path: Path, seed: int, changed: frozenset[int]) -> tuple[list[int], np.ndarray]:
    """Write predictions near the true classes; the labels of some exams are the next class. Return labels and means."""
    random = np.random.default_rng(seed)
    rows, means, given = [], [], []
    for exam in range(EXAMS):
        truth = exam % 4
        label = (truth + 1) % 4 if exam in changed else truth
        sharpness = 60 if exam in changed else 8  # surer than the mean of the class, which is its threshold
        views = np.array([random.dirichlet(1 + sharpness * np.eye(4)[truth]) for _ in f.VIEWS]).round(8)
        given.append(label)
        means.append(views.mean(axis=0))
        for view, grades in zip(f.VIEWS, views.tolist(), strict=True):
            system = {f.ACQUISITION_SYSTEM: HOSTILE}
            rows.append(ViewPrediction(f"{exam:032x}", f"p{exam}", view, "ABCD"[label], tuple(grades), system))
    write_predictions(path, rows)
    return given, np.array(means)


def test_changed_labels_are_found_in_the_mean_of_the_tables(tmp_path: Path) -> None:
    changed = frozenset({3, 8, 21})
    tables = [tmp_path / f"seed-{seed}.csv" for seed in (1, 2)]
    (given, first), (_, second) = (write_table(table, seed, changed) for seed, table in enumerate(tables))
    found, share = find_doubted(tables)
    expected = doubted_labels(np.array(given), (first + second) / 2)
    assert [one.exam_id for one in found] == [f"{position:032x}" for position in expected.positions]
    assert changed <= set(expected.positions.tolist())
    assert [one.rank for one in found] == list(range(1, len(found) + 1))
    top = found[0]
    exam = int(top.exam_id, 16)
    assert (top.label, top.suggested) == ("ABCD"[given[exam]], "ABCD"[exam % 4])
    assert share.value == pytest.approx(len(found) / EXAMS)
    assert share.n == EXAMS


def test_tables_of_other_labels_are_refused(tmp_path: Path) -> None:
    tables = [tmp_path / "a.csv", tmp_path / "b.csv"]
    write_table(tables[0], 1, frozenset())
    write_table(tables[1], 1, frozenset({4}))
    with pytest.raises(ValueError, match=r"b\.csv: it has other exams or labels than"):
        find_doubted(tables)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples and the ingest report of a run with the first exams; ML Metadata is left out."""
    examples = tmp_path / "run" / "DicomExampleGen" / "examples" / "7"
    report = tmp_path / "run" / "DicomExampleGen" / "ingest_report" / "7"
    records, rows = [], []
    for exam in (3, 8):
        for view in LEFT:
            pixels = draw_view(320, 240, seed=exam).pixels
            values = {f.IMAGE: encode_png(pixels), f.EXAM_ID: f"{exam:032x}".encode(), f.VIEW: view.encode()}
            feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
            records.append(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
            rows.append({"file": f"{exam}/{view}.dcm", "outcome": "accepted", "exam_id": f"{exam:032x}"})
    write_shard(str(examples / "Split-train" / "views.gz"), records)
    report.mkdir(parents=True)
    (report / "files.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(labels, "find_run", lambda output: ReviewableRun((examples,), PreprocessConfig(), ()))
    return tmp_path / "run"


def test_the_table_names_files_and_the_page_hides_the_label(run: Path, tmp_path: Path) -> None:
    table = tmp_path / "seed-1.csv"
    write_table(table, 1, frozenset({3, 8}))
    count, share = export_doubted(run, [table], tmp_path / "out", top=2)
    assert count == 2
    with (tmp_path / "out" / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == round((share.value or 0) * EXAMS)
    by_exam = {int(row["exam_id"], 16): row for row in rows}
    assert by_exam[3]["files"] == "3/CC_L.dcm | 3/MLO_L.dcm"
    assert (by_exam[3]["label"], by_exam[3]["suggested"], by_exam[3]["second_reading"]) == ("A", "D", "")
    assert sum(float(by_exam[3][f"p_{name}"]) for name in f.DENSITY_CLASSES) == pytest.approx(1, abs=1e-5)
    page = (tmp_path / "out" / "labels.html").read_text()
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 4
    decoded = decode_picture(base64.b64decode(pictures[0]), cv2.IMREAD_GRAYSCALE)
    assert max(decoded.shape) <= 360
    assert decoded.max() > 60
    for exam in page.split('<section class="exam">')[1:]:
        assert exam.index("<details>") < exam.index("Label <b>"), "nobody sees the label before the images"
    assert "<details open" not in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert ".dcm" not in page


def test_a_run_of_other_exams_is_one_sentence(run: Path, tmp_path: Path) -> None:
    table = tmp_path / "seed-1.csv"
    write_table(table, 1, frozenset({21}))
    with pytest.raises(ReviewRunError, match="none of the doubted exams is in this run"):
        export_doubted(run, [table], tmp_path / "out", top=1)
