"""Grey statistics against numpy by hand, and the classifier of them against scikit-learn's own regressions."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from components.grey_statistics import classifier
from components.grey_statistics.classifier import MINIMUM_EXAMS, BaselineError, GreyClassifier, ViewStatistics
from components.grey_statistics.features import FEATURES, grey_statistics
from schema import features as f


def breast(side: int, grey: int, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    picture = np.zeros((side, side), np.float64)
    rows, columns = np.ogrid[:side, :side]
    inside = ((rows - side / 2) / (0.45 * side)) ** 2 + (columns / (0.7 * side)) ** 2 < 1
    picture[inside] = np.clip(grey + np.random.default_rng(seed).normal(0, noise, inside.sum()), 1, 255)
    return picture.round().astype(np.uint8)


def named(picture: np.ndarray, regions: np.ndarray | None = None) -> dict[str, float]:
    return dict(zip(FEATURES, grey_statistics(picture, regions).tolist(), strict=True))


def test_statistics_of_tissue_only_equal_numpy() -> None:
    picture = breast(96, 120, noise=30.0)
    found, values = named(picture), picture[picture > 0] / 255
    assert found["area"] == pytest.approx((picture > 0).mean())
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert found["deviation"] == pytest.approx(values.std(), abs=1e-6)
    for share in (0.05, 0.5, 0.99):
        assert found[f"quantile_{share:g}"] == pytest.approx(np.quantile(values, share), abs=1e-6)
    assert found["share_above_0.5"] == pytest.approx((values > 0.5).mean())
    low, high = np.quantile(values, [0.05, 0.99])
    assert found["share_above_0.5_of_range"] == pytest.approx(
        (values > (low + high) / 2).mean(), abs=0.02
    )  # one grey level


def test_the_outline_is_no_texture_and_coarse_spots_are_coarse() -> None:
    flat = named(breast(128, 120))
    assert flat["energy_1"] < np.log(0.01), "the skin line would be the largest edge"
    fine, coarse = (
        cv2.GaussianBlur(np.random.default_rng(1).normal(0, 1, (128, 128)), (0, 0), sigma) for sigma in (0.7, 6.0)
    )
    pictures = [np.clip(120 + 25 * part / part.std(), 1, 255).astype(np.uint8) for part in (fine, coarse)]
    of_fine, of_coarse = map(named, pictures)
    assert of_fine["energy_1"] > of_coarse["energy_1"] + 1
    assert of_coarse["energy_8"] > of_fine["energy_8"] + 0.5


def test_muscle_and_labels_do_not_count_where_the_regions_are_known() -> None:
    picture = breast(96, 60)
    regions = np.where(picture > 0, f.REGION_BREAST, f.REGION_BACKGROUND).astype(np.uint8)
    picture[:30, :30], regions[:30, :30] = 255, f.REGION_PECTORAL
    assert named(picture, regions)["share_above_0.9"] == 0.0
    assert named(picture)["share_above_0.9"] > 0.1


def test_an_empty_picture_and_other_sizes() -> None:
    assert grey_statistics(np.zeros((64, 64), np.uint8)).tolist() == [0.0] * len(FEATURES)
    assert np.isfinite(grey_statistics(np.full((1, 8), 200, np.uint8))).all()
    large, small = (grey_statistics(breast(side, 120)) for side in (450, 128))
    np.testing.assert_allclose(large, small, atol=0.06)


def test_a_view_costs_little() -> None:
    picture = breast(450, 120, noise=30.0)
    grey_statistics(picture)
    started = time.process_time()
    for _ in range(10):
        grey_statistics(picture)
    assert (time.process_time() - started) / 10 < 0.1, "some 4 ms; the bound is of another order, as machines differ"


def statistics_of(exams: int, seed: int) -> tuple[list[ViewStatistics], dict[str, int]]:
    """Exams whose brightness tells their class, but for noise; every fifth has no MLO view."""
    random = np.random.default_rng(seed)
    views, labels = [], {}
    for number in range(exams):
        exam, label = f"exam{number:03d}", int(random.integers(0, 4))
        labels[exam] = label
        for view in f.VIEWS[:2] if number % 5 == 0 else f.VIEWS:
            values = random.normal(label * 0.8, 1.0, len(FEATURES)) + (50 if view.startswith("MLO") else 0)
            views.append(ViewStatistics(exam, view, values))
    return views, labels


def test_probabilities_are_three_of_scikit_learns_regressions_on_the_standardised_mean() -> None:
    views, labels = statistics_of(90, 1)
    tested, _ = statistics_of(30, 2)
    exams, probabilities = GreyClassifier(views, labels).predict(tested)
    assert exams == tuple(sorted({view.exam_id for view in tested}))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities >= 0).all()

    kinds = {mlo: np.stack([v.values for v in views if v.view.startswith("MLO") == mlo]) for mlo in (False, True)}

    def rows(of: list[ViewStatistics]) -> np.ndarray:
        means = []
        for exam in sorted({view.exam_id for view in of}):
            own = [view for view in of if view.exam_id == exam]
            scaled = [(v.values - kinds[f.is_mlo(v.view)].mean(0)) / kinds[f.is_mlo(v.view)].std(0) for v in own]
            means.append(np.mean(scaled, axis=0))
        return np.stack(means)

    train = rows(views)
    truth = np.array([labels[exam] for exam in sorted(labels)])
    scaled = (rows(tested) - train.mean(0)) / train.std(0)
    model = LogisticRegression(C=0.5, max_iter=2000).fit((train - train.mean(0)) / train.std(0), truth > 0)
    np.testing.assert_allclose(probabilities[:, 0], 1 - model.predict_proba(scaled)[:, 1], atol=1e-4)


def test_an_exam_of_a_soft_label_counts_in_parts_as_if_it_were_several_exams(monkeypatch: pytest.MonkeyPatch) -> None:
    views, labels = statistics_of(60, 6)
    tested, _ = statistics_of(20, 7)
    certain = {exam: tuple(np.eye(4)[label].tolist()) for exam, label in labels.items()}
    hard = GreyClassifier(views, labels).predict(tested)[1]
    np.testing.assert_array_equal(GreyClassifier(views, labels, certain).predict(tested)[1], hard)
    shares = {exam: (0.0, 0.75, 0.25, 0.0) if label == 1 else certain[exam] for exam, label in labels.items()}
    soft = GreyClassifier(views, labels, shares).predict(tested)[1]
    # Four readers of each exam are four exams with its picture, each of a quarter of the weight.
    monkeypatch.setattr(classifier, "_INVERSE_STRENGTH", classifier._INVERSE_STRENGTH / 4)
    copies, of_copies = [], {}
    for exam, share in shares.items():
        for number, label in enumerate(np.repeat(np.arange(4), np.round(4 * np.array(share)).astype(int)).tolist()):
            of_copies[f"{exam} {number}"] = label
            copies += [ViewStatistics(f"{exam} {number}", v.view, v.values) for v in views if v.exam_id == exam]
    four = GreyClassifier(copies, of_copies).predict(tested)[1]
    np.testing.assert_allclose(soft, four, atol=1e-3)
    assert np.abs(soft - hard).max() > 0.05


def test_thirds_as_records_hold_them_are_certain_of_what_all_readers_exclude() -> None:
    views, labels = statistics_of(60, 1)
    third, rest = (float(np.float32(k / 3)) for k in (1, 2))
    assert third + rest > 1
    lower = {exam: (0.0, rest, third, 0.0) if label < 2 else (0.0, third, rest, 0.0) for exam, label in labels.items()}
    classes = {exam: 1 if label < 2 else 2 for exam, label in labels.items()}
    probabilities = GreyClassifier(views, classes, lower).predict(views)[1]
    np.testing.assert_array_equal(probabilities[:, [0, 3]], 0.0)
    assert np.ptp(probabilities[:, 1]) > 0.05


def test_the_order_of_views_and_a_second_image_of_a_view_change_nothing() -> None:
    views, labels = statistics_of(60, 3)
    tested, truth = statistics_of(40, 4)
    first = GreyClassifier(views, labels).predict(tested)
    again = GreyClassifier([*views[::-1], views[0]], labels).predict([*tested[::-1], tested[0]])
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1], again[1])
    right = np.array([truth[exam] for exam in first[0]]) == first[1].argmax(axis=1)
    assert right.mean() > 0.7, "brightness tells the class"


def test_an_absent_class_gets_no_probability_and_what_cannot_be_fitted_says_why() -> None:
    views, labels = statistics_of(80, 5)
    for absent in (0, 2, 3):
        left = [view for view in views if labels[view.exam_id] != absent]
        _, probabilities = GreyClassifier(left, labels).predict(views)
        np.testing.assert_allclose(probabilities[:, absent], 0, atol=1e-12 if absent != 2 else 0.02)
    with pytest.raises(
        BaselineError, match=f"19 exams and the baseline of grey statistics needs {MINIMUM_EXAMS}"
    ) as few:
        GreyClassifier([view for view in views if view.exam_id < "exam019"], labels)
    assert few.value.problem == "too_few_exams"
    with pytest.raises(BaselineError, match="one class") as one:
        GreyClassifier(views, dict.fromkeys(labels, 2))
    assert one.value.problem == "one_class"
    assert GreyClassifier(views, labels).predict([])[1].shape == (0, 4)
