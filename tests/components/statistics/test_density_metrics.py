"""Every metric against scikit-learn, with absent classes and weights; intervals against published values."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from components.statistics.confusion import accuracy, macro_precision, macro_recall, weighted_kappa
from components.statistics.figures import compare, confusion_matrix, density_figures, measure
from components.statistics.intervals import SMALL_N, bootstrap_weights, clustered_interval, wilson_interval
from components.statistics.metrics import BY_NAME, METRICS
from components.statistics.probabilities import expected_calibration_error
from components.statistics.scores import ScoreRow, Scores, make_scores
from tests.known import known

CLASSES = [0, 1, 2, 3]
matrices = arrays(np.int64, (4, 4), elements=st.integers(0, 12) | st.just(0)).filter(lambda m: m.sum() > 0)
# Classes that are never true, never predicted, or neither.
masks = arrays(np.bool_, (2, 4))


def grades(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    true, predicted = np.indices((4, 4))
    return np.repeat(true.ravel(), matrix.ravel()), np.repeat(predicted.ravel(), matrix.ravel())


def scores_like(matrix: np.ndarray) -> Scores:
    """Observations of a matrix, one a cluster; the class given has .7."""
    rows = []
    for number, (true, predicted) in enumerate(zip(*grades(np.asarray(matrix)), strict=True)):
        row = [0.1] * 4
        row[predicted] = 0.7
        rows.append(ScoreRow(f"patient {number}", f"exam{number}", int(true), tuple(row)))
    return make_scores(rows)


def random_scores(seed: int, count: int, clusters: int | None = None, temperature: float = 1.0) -> Scores:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    logits = random.normal(size=(count, 4))
    logits[np.arange(count), labels] += 1.0
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return make_scores(
        [
            ScoreRow(f"patient {i % (clusters or count)}", f"exam{i}", int(labels[i]), tuple(rows[i]))
            for i in range(count)
        ],
        temperature,
    )


OF_PROBABILITIES = ("dense_auc", "macro_auc", "top_2_accuracy", "top_3_accuracy", "ece", "nll")


linear_kappa, quadratic_kappa = partial(weighted_kappa, power=1), partial(weighted_kappa, power=2)


def of_matrix(matrix: np.ndarray) -> dict[str, float]:
    """The metrics that depend on the confusion matrix only."""
    scores = scores_like(matrix)
    found = measure(scores, np.ones((len(scores.labels), 1)))
    return {name: float(value[0]) for name, value in found.items() if name not in OF_PROBABILITIES}


@pytest.mark.slow
@given(matrices, masks)
def test_every_figure_of_a_confusion_matrix_equals_scikit_learn(matrix: np.ndarray, mask: np.ndarray) -> None:
    masked = matrix * mask[0][:, None] * mask[1][None, :]
    matrix = masked if masked.sum() else matrix
    true, predicted = grades(matrix)
    ours = of_matrix(matrix)
    there = sorted(set(true))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recall = sk.recall_score(true, predicted, labels=CLASSES, average=None, zero_division=np.nan)
        precision = sk.precision_score(true, predicted, labels=CLASSES, average=None, zero_division=np.nan)
        kappas = {
            weights: sk.cohen_kappa_score(true, predicted, labels=CLASSES, weights=weights)
            if len(there) > 1
            else np.nan
            for weights in ("quadratic", "linear")
        }
        expected = {
            "accuracy": sk.accuracy_score(true, predicted),
            "macro_recall": sk.balanced_accuracy_score(true, predicted),
            "macro_precision": sk.precision_score(true, predicted, labels=there, average="macro", zero_division=0),
            "quadratic_kappa": kappas["quadratic"],
            "linear_kappa": kappas["linear"],
            "dense_accuracy": sk.accuracy_score(true >= 2, predicted >= 2),
            "off_by_two": float((np.abs(true - predicted) >= 2).sum()),
        }
    expected |= {f"recall_{c}": recall[i] for i, c in enumerate("ABCD")}
    expected |= {f"precision_{c}": precision[i] for i, c in enumerate("ABCD")}
    assert set(ours) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-12, err_msg=name)


def areas(scores: Scores, weights: np.ndarray | None = None) -> dict[str, float]:
    labels, p = scores.labels, scores.probabilities
    there = [c for c in CLASSES if 0 < (labels == c).sum() < len(labels)]
    one_vs_rest = [sk.roc_auc_score(labels == c, p[:, c], sample_weight=weights) for c in there]
    dense = labels >= 2
    return {
        "macro_auc": float(np.mean(one_vs_rest)),
        "dense_auc": float(sk.roc_auc_score(dense, p[:, 2:].sum(1), sample_weight=weights)),
    }


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(8, 60), st.sampled_from([1.0, 0.6, 2.5]), st.booleans())
def test_every_figure_of_probabilities_equals_scikit_learn(
    seed: int, count: int, temperature: float, ties: bool
) -> None:
    scores = random_scores(seed, count, temperature=temperature)
    p, labels = scores.probabilities, scores.labels
    if ties:
        p = np.round(p, 1)
        scores = Scores(scores.keys, labels, p, scores.raw, scores.clusters, 0)
    ours = {name: float(value[0]) for name, value in measure(scores, np.ones((count, 1))).items()}
    if 0 < (labels >= 2).sum() < count:
        expected = areas(scores)
        if len(set(labels)) == 4 and not ties:
            expected["macro_auc"] = sk.roc_auc_score(labels, p, multi_class="ovr")
        assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert ours["ece"] == pytest.approx(expected_calibration_error(p, labels), abs=1e-12)
    if not ties:
        assert ours["nll"] == pytest.approx(sk.log_loss(labels, p, labels=CLASSES), abs=1e-9)
        for k in (2, 3):
            assert ours[f"top_{k}_accuracy"] == pytest.approx(sk.top_k_accuracy_score(labels, p, k=k, labels=CLASSES))
    if temperature != 1.0:
        raw = known(scores.raw)
        assert ours["uncalibrated_nll"] == pytest.approx(sk.log_loss(labels, raw, labels=CLASSES), abs=1e-9)
        assert ours["uncalibrated_ece"] == pytest.approx(expected_calibration_error(raw, labels), abs=1e-12)


def test_resamples_are_weighted_as_scikit_learn_weights() -> None:
    scores = random_scores(4, 60, clusters=20)
    weights = np.concatenate(list(bootstrap_weights(scores.clusters, 6, 1)), axis=1)
    ours = measure(scores, weights)
    for draw in range(6):
        expected = areas(scores, weights[:, draw])
        expected["quadratic_kappa"] = sk.cohen_kappa_score(
            scores.labels, scores.predicted, weights="quadratic", sample_weight=weights[:, draw]
        )
        assert {name: ours[name][draw] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_equal_probabilities_rank_as_the_grade_does() -> None:
    scores = make_scores([ScoreRow("p", "e", 1, (0.4, 0.4, 0.1, 0.1))])
    assert scores.predicted.tolist() == [0]
    figures = density_figures(scores, 100, 1)
    assert (figures["accuracy"].value, figures["top_2_accuracy"].value) == (0.0, 1.0)


@settings(max_examples=25)
@given(st.lists(matrices, min_size=1, max_size=5))
def test_a_stack_gives_what_its_matrices_give(stack: list[np.ndarray]) -> None:
    scores = scores_like(np.ones((4, 4), int))
    weights = np.stack([matrix[scores.labels, scores.predicted] for matrix in stack], axis=1).astype(float)
    together = measure(scores, weights)
    for i, matrix in enumerate(stack):
        for function in (accuracy, macro_recall, macro_precision, linear_kappa, quadratic_kappa):
            np.testing.assert_array_equal(function(np.stack(stack))[i], function(matrix))
        for name, value in of_matrix(matrix).items():
            assert together[name][i] == pytest.approx(value, abs=1e-12, nan_ok=True), name
            if BY_NAME[name].hits is not None:
                np.testing.assert_array_equal(together[name][i], value)


def test_nothing_counted_is_undefined_not_zero() -> None:
    nothing = measure(scores_like(np.ones((4, 4), int)), np.zeros((16, 1)))
    assert all(np.isnan(value) for value in nothing.values())
    figures = density_figures(make_scores([], 1.5), 100, 1)
    assert len(figures) == len(METRICS) == 23
    assert all(f.value is None and f.ci95 is None and f.n == 0 for f in figures.values())


# Newcombe, Statistics in Medicine 17:857, 1998, table I, method 3 (score without continuity correction).
@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_equals_newcombes_table(hits: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(count - hits, count)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)
    observations = np.arange(count) < hits
    assert clustered_interval(observations, np.arange(count)) == pytest.approx((low, high), abs=5e-5)


def test_intervals_of_nothing_are_none() -> None:
    assert wilson_interval(0, 0) is None
    assert clustered_interval(np.zeros(0, bool), np.zeros(0, int)) is None


def test_copies_of_an_exam_narrow_no_interval() -> None:
    hits = np.random.default_rng(2).random(50) < 0.7
    alone = known(clustered_interval(hits, np.arange(50)))
    copied = known(clustered_interval(np.repeat(hits, 4), np.repeat(np.arange(50), 4)))
    assert copied == pytest.approx(alone, abs=0.003)
    believed_independent = known(wilson_interval(4 * hits.sum(), 200))
    assert copied[1] - copied[0] > 1.8 * (believed_independent[1] - believed_independent[0])
    all_right = clustered_interval(np.ones(200, bool), np.repeat(np.arange(50), 4))
    assert all_right == pytest.approx(wilson_interval(50, 50))


def test_clustered_interval_holds_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(8)
    clusters = np.repeat(np.arange(60), 4)
    held = 0
    for _ in range(400):
        chance = random.beta(3.5, 1.5, 60)  # mean .7, strongly alike within a cluster
        low, high = known(clustered_interval(random.random(240) < np.repeat(chance, 4), clusters))
        held += low <= 0.7 <= high
    assert 0.92 <= held / 400 <= 0.98


@settings(max_examples=40)
@given(matrices)
def test_proportions_lie_in_their_intervals_and_count_their_own_class(matrix: np.ndarray) -> None:
    figures = density_figures(scores_like(matrix), 100, 1)
    for name, figure in figures.items():
        if name.endswith("accuracy") or name.startswith(("recall_", "precision_")):
            if figure.value is None:
                assert figure.ci95 is None
                continue
            low, high = known(figure.ci95)
            assert 0 <= low <= figure.value <= high <= 1, name
    low, high = known(figures["off_by_two"].ci95)
    assert 0 <= low <= known(figures["off_by_two"].value) <= high <= matrix.sum()
    assert figures["accuracy"].n == matrix.sum()
    assert figures["recall_B"].n == matrix[1].sum()
    assert figures["precision_C"].n == matrix[:, 2].sum()
    assert confusion_matrix(scores_like(matrix)).tolist() == matrix.tolist()


FEW = np.array([[8, 2, 0, 0], [1, 7, 2, 0], [0, 2, 8, 1], [0, 0, 1, 8]])


def test_bootstrap_interval_is_repeatable_narrows_with_exams_and_holds_the_figure() -> None:
    widths = {}
    for factor in (1, 16):
        scores = scores_like(FEW * factor)
        figures = density_figures(scores, 2000, 7)
        assert figures == density_figures(scores, 2000, 7)
        for name in ("quadratic_kappa", "macro_recall", "dense_auc", "nll"):
            low, high = known(figures[name].ci95)
            assert low < known(figures[name].value) < high
        kappa = known(figures["quadratic_kappa"].ci95)
        widths[factor] = kappa[1] - kappa[0]
    assert widths[1] / widths[16] == pytest.approx(4, rel=0.25)  # like 1 / sqrt(n)


def test_a_calibration_error_lies_in_its_interval_where_percentiles_would_lie_above_it() -> None:
    scores = random_scores(6, 60, clusters=30, temperature=2.0)
    figures = density_figures(scores, 500, 1)
    for name in ("ece", "uncalibrated_ece"):
        low, high = known(figures[name].ci95)
        assert 0 <= low <= known(figures[name].value) < high < 1
    weights = np.concatenate(list(bootstrap_weights(scores.clusters, 500, 1)), axis=1)
    resampled = measure(scores, weights)["ece"]
    assert np.percentile(resampled, 2.5) > known(figures["ece"].ci95)[0]
    assert resampled.mean() > figures["ece"].value


def test_bootstrap_agrees_with_resampling_exams_one_by_one() -> None:
    true, predicted = grades(FEW)
    random = np.random.default_rng(3)
    draws = []
    for _ in range(800):
        rows = random.integers(0, len(true), len(true))
        draws.append(sk.cohen_kappa_score(true[rows], predicted[rows], labels=CLASSES, weights="quadratic"))
    ours = density_figures(scores_like(FEW), 4000, 1)["quadratic_kappa"].ci95
    assert ours == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.03)


def test_patients_are_drawn_whole() -> None:
    single = random_scores(1, 100)
    rows = [
        ScoreRow(f"patient {i}", f"exam{i} copy{k}", int(single.labels[i]), tuple(single.probabilities[i]))
        for i in range(100)
        for k in range(4)
    ]
    alone, copied = (density_figures(s, 2000, 1)["macro_auc"] for s in (single, make_scores(rows)))
    assert copied.value == alone.value
    assert copied.ci95 == pytest.approx(alone.ci95, abs=0.01)


def test_a_flawless_matrix_has_figures_of_one_and_claims_no_more_than_it_knows() -> None:
    figures = density_figures(scores_like(np.diag([3, 4, 5, 6])), 200, 1)
    assert {figures[n].value for n in ("accuracy", "macro_recall", "quadratic_kappa", "macro_auc", "recall_D")} == {1.0}
    assert figures["quadratic_kappa"].ci95 is None  # every resample is flawless too: no evidence of certainty
    assert figures["accuracy"].ci95 == pytest.approx((0.8241, 1.0), abs=5e-5)  # 18 of 18
    assert figures["off_by_two"].ci95 == pytest.approx((0.0, 18 * 0.1759), abs=1e-3)
    assert SMALL_N == 20


def test_figures_do_not_depend_on_the_order_of_the_rows() -> None:
    rows = [
        ScoreRow(f"patient {i % 7}", f"exam{i}", i % 4, tuple(np.roll([0.5, 0.3, 0.15, 0.05], i % 3)))
        for i in range(30)
    ]
    assert density_figures(make_scores(rows), 200, 1) == density_figures(make_scores(rows[::-1]), 200, 1)


def test_comparison_is_paired_and_counts_dense_grades_that_were_right() -> None:
    labels = [0, 1, 2, 3] * 20
    right = [tuple(0.7 if c == label else 0.1 for c in range(4)) for label in labels]
    worse = list(right)
    for place in (1, 5, 9):  # B graded C: right with the baseline, wrong now
        worse[place] = (0.1, 0.1, 0.7, 0.1)
    worse[0] = (0.1, 0.7, 0.1, 0.1)  # A graded B: still not dense
    new, old = (
        make_scores([ScoreRow(f"patient {i:02d}", f"exam{i}", labels[i], p[i]) for i in range(80)])
        for p in (worse, right)
    )
    change = compare(new, old, 1000, 1)
    assert change["accuracy"].value == pytest.approx(-4 / 80)
    assert change["dense_flips"].value == pytest.approx(3 / 80)
    assert change["dense_flips"].ci95 == pytest.approx(wilson_interval(3, 80), abs=1e-6)
    low, high = known(change["accuracy"].ci95)
    assert low < -0.05 < high < 0
    assert compare(old, new, 100, 1)["dense_flips"].value == 0
    with pytest.raises(ValueError, match="same exams"):
        compare(new, make_scores([]), 100, 1)
