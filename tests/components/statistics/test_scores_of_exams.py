"""What counts as an observation, and that exams are graded as the exam model grades them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma

from components.evaluator.eval_config import _with_age_band, single_images
from components.evaluator.slices import AGE_BAND, age_band, has_meaning, slice_value
from components.evaluator.tfma_metrics import cell_name
from components.statistics.figures import density_figures
from components.statistics.intervals import Figure
from components.statistics.scores import LEVELS, Level, ScoreRow, class_index, cluster_of, make_scores, score_rows
from schema import features as f
from tests.known import known

pytestmark = pytest.mark.slow

VIEWS = ("CC_R", "CC_L", "MLO_R", "MLO_L")
ROWS = np.array([[0.6, 0.4, 0.0, 0.0], [0.4, 0.3, 0.3, 0.0], [0.0, 0.9, 0.1, 0.0], [0.0, 0.0, 0.0, 1.0]])


def test_breasts_and_exams_are_means_of_the_views_that_are_there() -> None:
    [exam] = score_rows("exam", "e", "c", 1, VIEWS[:3], ROWS[:3])
    np.testing.assert_allclose(exam.probabilities, ROWS[:3].mean(0))
    right, left = score_rows("breast", "e", "c", 1, VIEWS[:3], ROWS[:3])
    assert (right.key, left.key) == ("e R", "e L")
    np.testing.assert_allclose(right.probabilities, ROWS[[0, 2]].mean(0))
    np.testing.assert_allclose(left.probabilities, ROWS[1])
    [only] = score_rows("breast", "e", "c", 1, ["CC_L"], ROWS[1:2])
    assert only.key == "e L"
    assert [row.key for row in score_rows("view", "e", "c", 1, VIEWS, ROWS)] == [f"e {view}" for view in VIEWS]


def test_copies_of_a_view_count_once() -> None:
    [exam] = score_rows("exam", "e", "c", 0, ["CC_R", "CC_R", "CC_L"], ROWS[:3])
    np.testing.assert_allclose(exam.probabilities, (ROWS[:2].mean(0) + ROWS[2]) / 2)


def test_figures_are_the_same_to_the_last_bit_in_whatever_order_images_come() -> None:
    random = np.random.default_rng(3)
    views = (*VIEWS, *VIEWS[:2], VIEWS[0])  # three of one view: a sum of three depends on their order

    def figures(level: Level, order: np.random.Generator | None) -> tuple[list[ScoreRow], dict[str, Figure]]:
        rows = []
        for exam, images in enumerate(probabilities):
            images_in = range(len(views)) if order is None else order.permutation(len(views))
            given = [views[i] for i in images_in], images[[*images_in]]
            rows += score_rows(level, f"e{exam}", f"c{exam % 5}", exam % 4, *given)
        if order is not None:
            rows = [rows[i] for i in order.permutation(len(rows))]
        return sorted(rows), density_figures(make_scores(rows), 50, 1)

    probabilities = random.dirichlet(np.ones(4), (12, len(views)))
    for level in LEVELS:
        assert figures(level, None) == figures(level, random)


def test_a_batch_is_taken_apart_into_single_images() -> None:
    batch = pa.RecordBatch.from_pydict({"x": [[1], [2], [3]]})
    given = {tfma.ARROW_RECORD_BATCH_KEY: batch, "other": 1}
    found = list(single_images(given))
    assert [each[tfma.ARROW_RECORD_BATCH_KEY].to_pydict() for each in found] == [{"x": [[n]]} for n in (1, 2, 3)]
    assert all(each["other"] == 1 for each in found)


def test_an_exam_of_too_few_views_has_no_grade_and_is_counted() -> None:
    expected: dict[Level, int] = {"exam": 1, "breast": 2, "view": 0}
    for level, ungraded in expected.items():
        rows = score_rows(level, "few", "c", 1, VIEWS[:3], ROWS[:3], minimum_views=4)
        rows += score_rows(level, "all", "d", 1, VIEWS, ROWS, minimum_views=4)
        scores = make_scores(rows)
        assert scores.ungraded == ungraded
        assert len(scores.labels) == {"exam": 1, "breast": 2, "view": 7}[level]


def test_temperature_sharpens_and_changes_no_grade() -> None:
    rows = score_rows("exam", "e", "c", 1, VIEWS, ROWS)
    plain, sharp = make_scores(rows), make_scores(rows, 0.5)
    squared = plain.probabilities**2
    np.testing.assert_allclose(sharp.probabilities, squared / squared.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(known(sharp.raw), plain.probabilities)
    assert sharp.predicted.tolist() == plain.predicted.tolist()


def test_the_patient_is_drawn_or_the_exam_where_the_patient_is_not_known() -> None:
    assert cluster_of("p", "e1") == cluster_of("p", "e2")
    assert cluster_of("unknown", "e1") != cluster_of("unknown", "e2")
    assert cluster_of("", "e1") != cluster_of("e1", "e2")


@pytest.mark.parametrize("letters", [["A", "B"], ["E"], [], ["a"]])
def test_labels_that_differ_or_are_none_are_refused(letters: list[str]) -> None:
    with pytest.raises(ValueError, match="Exam x needs one density label of A, B, C, D"):
        class_index(letters, "Exam x")


def test_slices_are_named_for_people() -> None:
    assert [age_band(age) for age in (-1, 0, 39, 40, 49, 59, 69, 70, 99)] == [
        "unknown",
        *("under 40", "under 40", "40 to 49", "40 to 49", "50 to 59", "60 to 69", "70 and over", "70 and over"),
    ]
    assert slice_value(f.ACQUISITION_YEAR, -1) == "unknown"
    assert slice_value(f.ACQUISITION_YEAR, 2015) == "2015"
    assert cell_name("exam", 0, 3) == "exam_true_A_predicted_D"
    features = {f.PATIENT_AGE: np.array([54])}
    assert _with_age_band({"features": features})["features"][AGE_BAND].tolist() == ["50 to 59"]
    assert set(features) == {f.PATIENT_AGE}


def test_slices_that_say_nothing_at_a_level_are_left_out() -> None:
    status = f.PECTORAL_STATUS
    assert all(has_meaning("view", {key: "x"}) for key in (f.VIEW, status, f.DENSITY))
    assert has_meaning("exam", {status: "failed"})
    assert not has_meaning("exam", {status: "not_applicable"})
    assert not has_meaning("breast", {status: "failed"})
    assert not has_meaning("exam", {f.VIEW: "CC_R"})
    assert has_meaning("breast", {f.ACQUISITION_SYSTEM: "x", f.DENSITY: "A"})


def test_an_exam_is_graded_here_as_by_the_exported_model(
    exported_exam_model: Path, texture_png: Callable[..., bytes]
) -> None:
    import tensorflow as tf

    signatures = tf.saved_model.load(str(exported_exam_model)).signatures
    views = ["MLO_L", "CC_R", "MLO_R"]
    given = {"image_bytes": tf.constant([texture_png(seed) for seed in range(3)]), "view": tf.constant(views)}
    by_view = signatures["predict_view"](**given)["probabilities"].numpy()
    graded = signatures["predict_exam"](**given, exam_id=tf.constant(["e"] * 3))
    [exam] = score_rows("exam", "e", "c", 0, views, by_view)
    np.testing.assert_allclose(exam.probabilities, graded["probabilities"][0], atol=1e-6)
    right, left = score_rows("breast", "e", "c", 0, views, by_view)
    np.testing.assert_allclose(right.probabilities, graded["right_probabilities"][0], atol=1e-6)
    np.testing.assert_allclose(left.probabilities, graded["left_probabilities"][0], atol=1e-6)
