"""The model's agreement with the readers of the test exams, against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import cohen_kappa_score

from components.common.shards import split_folder, write_shard
from components.evaluator.readers import compare_with_readers
from components.report_generator.artifacts import ReadEvaluation
from components.report_generator.page import Note, Table
from components.report_generator.sections.readers import model_beside_readers
from components.statistics.agreement import MODEL, Agreement
from components.statistics.scores import ScoreRow, make_scores
from schema import features as f


def _record(exam: int, readings: str) -> bytes:
    values = {
        f.IMAGE: "",
        f.VIEW: "CC_R",
        f.EXAM_ID: f"exam{exam:03d}",
        f.PATIENT_ID: f"p{exam}",
        f.DENSITY: readings[0],
    }
    features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode()])) for k, v in values.items()}
    if len(readings) > 1:
        for name, found in ((f.READERS, "12"), (f.READINGS, readings)):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[one.encode() for one in found]))
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def _compared(tmp_path: Path, several: bool) -> tuple[tuple[Agreement, ...], list[np.ndarray]]:
    random = np.random.default_rng(1)
    first = random.integers(0, 4, 80)
    second, model = (np.clip(first + random.integers(-1, 2, 80), 0, 3) for _ in range(2))
    folder = split_folder(str(tmp_path), "test")
    texts = [f"{'ABCD'[a]}{'ABCD'[b]}" if several else "ABCD"[a] for a, b in zip(first, second, strict=True)]
    # An exam without a grade has no row among the scores.
    write_shard(f"{folder}/views.gz", [_record(exam, text) for exam, text in enumerate([*texts, "AA"])])
    rows = [
        ScoreRow(f"p{exam}", f"exam{exam:03d}", int(first[exam]), tuple(np.eye(4)[grade].tolist()))
        for exam, grade in enumerate(model)
    ]
    return compare_with_readers(folder, make_scores(rows), draws=200), [model, first, second]


def test_the_model_is_compared_with_each_reader_beside_the_readers(tmp_path: Path) -> None:
    pairs, [model, first, second] = _compared(tmp_path, several=True)
    expected = {(MODEL, "1"): (model, first), (MODEL, "2"): (model, second), ("1", "2"): (first, second)}
    assert {(pair.first, pair.second) for pair in pairs} == set(expected)
    for pair in pairs:
        kappa = cohen_kappa_score(*expected[pair.first, pair.second], weights="quadratic")
        assert pair.quadratic_kappa.value == pytest.approx(kappa, abs=1e-6)
        assert pair.quadratic_kappa.n == 80
    stored = [pair.model_dump(mode="json") for pair in pairs]
    evaluation = ReadEvaluation.model_validate(
        {"exam": [], "view": [], "gates": [], "blessed": True, "readers": stored}
    )
    _, note, table = model_beside_readers(evaluation)
    assert isinstance(note, Note)
    assert isinstance(table, Table)
    assert [row[0].text for row in table.rows] == ["Model and reader 1", "Model and reader 2", "Reader 1 and reader 2"]
    readers = f"{cohen_kappa_score(first, second, weights='quadratic'):.3f}"
    assert table.rows[2][4].text == readers
    assert f"{readers} between two readers" in note.text


def test_without_several_readers_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert _compared(tmp_path, several=False)[0] == ()
    evaluation = ReadEvaluation.model_validate({"exam": [], "view": [], "gates": [], "blessed": True})
    assert model_beside_readers(evaluation) == []
