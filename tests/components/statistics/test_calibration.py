"""Temperature scaling: the fit against known temperatures, figures against other libraries, the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax
from sklearn.metrics import log_loss

from components.statistics.calibration import (
    CALIBRATION_FILE,
    MINIMUM_EXAMS,
    TEMPERATURE_BOUNDS,
    calibrate,
    cross_validated_gain,
    fit_calibration,
    fit_temperature,
    load_calibration,
    load_temperature,
    penalised_loss,
)
from components.statistics.intervals import Figure
from components.statistics.probabilities import (
    calibration_error_interval,
    expected_calibration_error,
    gaps_by_bin,
    losses,
)


def sample(n: int, distortion: float, seed: int = 0, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities, and these probabilities with the temperature distorted."""
    random = np.random.default_rng(seed)
    truth = softmax(random.normal(0, spread, (n, 4)), axis=1)
    labels = (random.random((n, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    return calibrate(truth, distortion), labels


def value(figure: Figure) -> float:
    assert figure.value is not None
    return figure.value


@given(
    logits=hnp.arrays(np.float64, (3, 4), elements=st.floats(-20, 20)),
    temperature=st.floats(0.25, 4),
)
def test_a_temperature_is_the_softmax_of_divided_log_probabilities(logits: np.ndarray, temperature: float) -> None:
    probabilities = softmax(logits, axis=1)
    calibrated = calibrate(probabilities, temperature)
    np.testing.assert_allclose(calibrated, softmax(np.log(probabilities) / temperature, axis=1), atol=1e-12)
    np.testing.assert_allclose(calibrated.sum(axis=1), 1.0)
    assert (np.take_along_axis(calibrated, probabilities.argmax(1)[:, None], 1)[:, 0] == calibrated.max(1)).all()


def test_a_row_without_view_stays_zero_and_one_changes_nothing() -> None:
    rows = np.array([[0.0, 0.0, 0.0, 0.0], [0.7, 0.3, 0.0, 0.0]])
    assert calibrate(rows, 0.5)[0].tolist() == [0.0] * 4
    np.testing.assert_allclose(calibrate(rows, 0.5)[1], np.array([49, 9, 0, 0]) / 58)
    assert calibrate(rows, 1.0).tolist() == rows.tolist()
    with pytest.raises(ValueError, match=r"Received: temperature=0\.0"):
        calibrate(rows, 0.0)


@pytest.mark.parametrize("distortion", [0.5, 1.0, 2.5])
def test_the_fit_undoes_a_known_distortion(distortion: float) -> None:
    probabilities, labels = sample(2000, distortion)
    fitted = fit_calibration(probabilities, labels)
    assert fitted.temperature == pytest.approx(1 / distortion, rel=0.08)
    assert fitted.temperature_ci95 is not None
    low, high = fitted.temperature_ci95
    assert low < fitted.temperature < high
    assert high / low < 1.25
    assert value(fitted.nll.after) <= value(fitted.nll.before)
    if distortion != 1.0:
        assert value(fitted.ece.after) < 0.3 * value(fitted.ece.before)
    assert (fitted.remarks, fitted.at_bound) == ((), False)


def test_the_fit_is_the_least_loss_of_a_fine_grid() -> None:
    probabilities, labels = sample(60, 2.0, seed=5)
    grid = np.geomspace(*TEMPERATURE_BOUNDS, 4000)
    best = min(grid, key=lambda t: penalised_loss(probabilities, labels, t))
    assert fit_temperature(probabilities, labels) == pytest.approx(best, rel=1e-3)
    assert penalised_loss(probabilities, labels, np.exp(0.5)) == pytest.approx(
        losses(calibrate(probabilities, np.exp(0.5)), labels).sum() + 0.5, abs=1e-9
    )


def test_a_small_split_is_fitted_better_with_the_prior_and_a_large_one_as_well() -> None:
    grid = np.geomspace(*TEMPERATURE_BOUNDS, 60)
    others, truth = sample(4000, 1.6, seed=99)
    of_others = np.array([losses(calibrate(others, t), truth).mean() for t in grid])
    lost: dict[int, list[tuple[float, float]]] = {20: [], 200: []}
    for n, seed in [(20, s) for s in range(60)] + [(200, s) for s in range(15)]:
        probabilities, labels = sample(n, 1.6, seed)
        alone = np.argmin([losses(calibrate(probabilities, t), labels).mean() for t in grid])
        chosen = np.argmin(np.abs(np.log(grid / fit_temperature(probabilities, labels))))
        lost[n].append((of_others[alone] - of_others.min(), of_others[chosen] - of_others.min()))
    few, many = (np.mean(lost[n], axis=0) for n in (20, 200))
    assert few[1] < 0.7 * few[0], few
    assert abs(many[1] - many[0]) < 0.002, many


def test_losses_equal_scikit_learn_and_stay_finite() -> None:
    probabilities, labels = sample(50, 1.0)
    assert losses(probabilities, labels).mean() == pytest.approx(log_loss(labels, probabilities, labels=range(4)))
    assert np.isfinite(losses(np.array([[1.0, 0, 0, 0]]), np.array([3]))).all()


def test_the_interval_of_the_calibration_error_holds_it_however_few_the_exams() -> None:
    for seed in range(5):
        before = fit_calibration(*sample(40, 1.0, seed)).ece.before
        assert before.ci95 is not None
        assert 0 <= before.ci95[0] <= value(before) < before.ci95[1]


@pytest.mark.parametrize("distortion", [1.0, 1.6, 0.5])
def test_the_interval_holds_the_error_of_many_exams(distortion: float) -> None:
    truth = expected_calibration_error(*sample(200_000, distortion, seed=1))
    assert truth < 0.005 or distortion != 1.0
    random = np.random.default_rng(2)
    held = []
    for seed in range(200):
        probabilities, labels = sample(80, distortion, seed + 10)
        weights = random.multinomial(80, np.full(80, 1 / 80), 200).T.astype(float)
        gaps = gaps_by_bin(probabilities, labels, np.ones((80, 1)))[0]
        interval = calibration_error_interval(gaps, gaps_by_bin(probabilities, labels, weights))
        assert interval is not None
        assert interval[0] <= np.abs(gaps).sum() <= interval[1]
        held.append(interval[0] - 0.005 <= truth <= interval[1])
    assert 0.88 <= np.mean(held) <= 0.995, np.mean(held)


def test_no_evidence_is_no_interval_of_the_calibration_error() -> None:
    assert calibration_error_interval(np.zeros(15), np.zeros((0, 15))) is None
    assert calibration_error_interval(np.zeros(15), np.zeros((100, 15))) is None


def test_calibration_error_worked_out_by_hand() -> None:
    rows = np.array([[0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0], [0.6, 0.4, 0, 0], [0.5, 0.5, 0, 0]])
    labels = np.array([0, 1, 0, 1])
    # Ten bins: (0.8, 0.9] holds 2 with accuracy 1/2, (0.5, 0.6] one that is right, (0.4, 0.5] one that is wrong.
    assert expected_calibration_error(rows, labels, 10) == pytest.approx((2 * 0.4 + 0.4 + 0.5) / 4)
    assert expected_calibration_error(np.eye(4), np.arange(4)) == 0.0
    assert np.isnan(expected_calibration_error(np.zeros((0, 4)), np.zeros(0, int)))


def test_a_temperature_that_only_fits_chance_is_not_taken() -> None:
    """Of calibrated models, nearly none gets a temperature, and their probabilities of other exams stay right."""
    taken = 0
    for seed in range(40):
        fitted = fit_calibration(*sample(57, 1.0, seed))
        taken += fitted.decision == "taken"
        assert fitted.fitted is not None
        assert fitted.fitted != 1.0
        if fitted.decision == "not_shown_to_help":
            assert (fitted.temperature, fitted.nll.before) == (1.0, fitted.nll.after)
            assert "it is not shown to help, so T is 1" in fitted.reason
    assert taken <= 4, "2.5 % of calibrated models by chance"


@pytest.mark.parametrize(("distortion", "least"), [(2.5, 0.9), (0.45, 0.9)])
def test_a_temperature_that_helps_is_taken(distortion: float, least: float) -> None:
    decisions = [fit_calibration(*sample(120, distortion, seed)).decision for seed in range(20)]
    assert np.mean([decision == "taken" for decision in decisions]) >= least


def test_the_gain_is_measured_on_patients_that_the_temperature_never_saw() -> None:
    probabilities, labels = sample(60, 1.6, seed=3)
    patients = np.repeat(np.arange(30), 2)
    gain = cross_validated_gain(probabilities, labels, patients)
    order = np.random.default_rng(0).permutation(60)
    assert cross_validated_gain(probabilities[order], labels[order], patients[order]).value == pytest.approx(
        value(gain), abs=1e-6
    )
    # The same exam twice: if its twin were in another fold, the temperature would have seen it.
    twins = cross_validated_gain(np.repeat(probabilities, 2, 0), np.repeat(labels, 2), np.repeat(np.arange(60), 2))
    singles = cross_validated_gain(probabilities, labels, np.arange(60))
    assert twins.ci95 is not None
    assert singles.ci95 is not None
    assert twins.ci95[1] - twins.ci95[0] == pytest.approx(singles.ci95[1] - singles.ci95[0], rel=0.1)
    assert cross_validated_gain(probabilities, labels, np.zeros(60, int)).value is None
    assert fit_calibration(probabilities, labels, clusters=np.zeros(60, int)).temperature == 1.0


def test_too_few_exams_leave_the_probabilities_as_they_are() -> None:
    fitted = fit_calibration(*sample(MINIMUM_EXAMS - 1, 3.0))
    assert (fitted.temperature, fitted.temperature_ci95) == (1.0, None)
    assert fitted.nll.before == fitted.nll.after
    assert fitted.remarks == ("The split has 19 exams and a fit needs 20: the probabilities are not calibrated.",)
    empty = fit_calibration(np.zeros((0, 4)), np.zeros(0))
    assert (empty.temperature, empty.exams, empty.ece.before.value) == (1.0, 0, None)


def test_no_calibration_is_no_remark() -> None:
    fitted = fit_calibration(*sample(200, 3.0), "none")
    assert (fitted.method, fitted.temperature, fitted.remarks) == ("none", 1.0, ())
    assert fitted.ece.before.value is not None


def test_exams_that_cannot_tell_the_temperature_are_remarked_upon() -> None:
    labels = np.arange(32) % 3  # no exam of class D, and all graded right: the sharper the better
    fitted = fit_calibration(np.full((32, 4), 0.1) + 0.6 * np.eye(4)[labels], labels)
    assert (fitted.at_bound, len(fitted.remarks)) == (False, 2)
    assert 0.35 < fitted.temperature < 0.5, "the prior holds it"
    assert "graded right" in fitted.remarks[0]
    assert "no exam of class D" in fitted.remarks[1]
    assert fitted.by_class == {"A": 11, "B": 11, "C": 10, "D": 0}
    more = np.tile(labels, 50)
    forced = fit_calibration(np.full((1600, 4), 0.2) + 0.2 * np.eye(4)[more], more)
    assert forced.at_bound
    assert forced.temperature == pytest.approx(TEMPERATURE_BOUNDS[0], rel=1e-3)
    assert "stands at its bound 0.25" in forced.remarks[0]


def test_the_file_comes_back_and_a_model_without_one_has_temperature_one(tmp_path: Path) -> None:
    assert load_calibration(str(tmp_path)) is None
    assert load_temperature(str(tmp_path)) == 1.0
    fitted = fit_calibration(*sample(100, 2.0))
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / CALIBRATION_FILE).write_text(fitted.model_dump_json(), encoding="utf-8")
    assert load_calibration(str(tmp_path)) == fitted
    assert load_temperature(str(tmp_path)) == fitted.temperature


def test_the_module_does_not_load_tensorflow() -> None:
    code = "import sys, components.statistics.calibration; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
