"""Pictures and truth in memory: geometry, texture, grey scales."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.phantom.anatomy import Grid, draw_patient, draw_view
from pipeline.phantom.appearance import APPEARANCES
from pipeline.phantom.config import DENSE_FRACTION, PhantomConfig
from pipeline.phantom.exam import PhantomView, draw_exam, make_view
from pipeline.phantom.plan import ExamPlan, plan_exams
from pipeline.phantom.texture import power_law_pair, radiate
from schema.features import VIEWS

pytestmark = pytest.mark.slow

_CONFIG = PhantomConfig(exams=40, seed=21, distribution="uniform", reduction=12, workers=1)
_GRID = Grid(512, 427, 0.45)


@pytest.fixture(scope="module")
def exams() -> list[tuple[ExamPlan, dict[str, PhantomView]]]:
    made = []
    for plan in plan_exams(_CONFIG):
        source = draw_exam(plan, _CONFIG)
        made.append((plan, {view: make_view(source, view) for view in VIEWS}))
    return made


def _shown(view: PhantomView, system: int) -> np.ndarray:
    """Stored values as displayed, bright for dense, share of full scale."""
    appearance = APPEARANCES[system]
    share = view.stored / ((1 << appearance.bits_stored) - 1)
    return 1.0 - share if appearance.inverted else share


@pytest.mark.parametrize("beta", [2.0, 3.0])
def test_noise_has_the_power_spectrum_it_is_asked_for(beta: float) -> None:
    rng = np.random.default_rng(0)
    field, other = power_law_pair(rng, (256, 256), beta)
    assert field.dtype == np.float32
    assert field.std() == pytest.approx(1.0, abs=1e-3)
    assert abs(np.corrcoef(field.ravel(), other.ravel())[0, 1]) < 0.5
    power = np.abs(np.fft.fft2(field)) ** 2
    f = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None, :]) * 256
    bands = [(4, 8), (8, 16), (16, 32), (32, 64), (64, 120)]
    mean = [power[(f >= a) & (f < b)].mean() for a, b in bands]
    slope = np.polyfit(np.log([np.sqrt(a * b) for a, b in bands]), np.log(mean), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.25)


def test_radiating_field_has_no_seam() -> None:
    field = power_law_pair(np.random.default_rng(3), (256, 256), 3.0)[0]
    bent = radiate(field, (128.0, 128.5), 0.5, 1.0)
    # The angle jumps from a full turn to zero on the row of the centre, to the right of it.
    steps = np.abs(np.diff(bent[:, 180:], axis=0)).mean(axis=1)
    assert steps[128] < 2.0 * np.median(steps[118:138])


def test_dense_fraction_follows_the_class_and_agrees_between_views(exams: list) -> None:
    for plan, views in exams:
        low, high = DENSE_FRACTION[plan.density]
        fractions = [v.truth.dense_fraction for v in views.values()]
        assert low * 0.8 <= min(fractions) <= max(fractions) <= high * 1.15
        assert max(fractions) - min(fractions) <= 0.3 * plan.dense_fraction + 0.005


def test_chest_wall_is_at_the_right_edge_for_right_breasts(exams: list) -> None:
    for _plan, views in exams:
        for name, view in views.items():
            columns = view.breast.mean(axis=0)
            chest, air = (columns[-1], columns[0]) if name.endswith("_R") else (columns[0], columns[-1])
            assert chest > 0.3
            assert air == 0.0


def test_muscle_is_in_the_upper_chest_wall_corner_of_mlo_within_the_breast(exams: list) -> None:
    shows, sizes = [], []
    for _plan, views in exams:
        for name, view in views.items():
            assert not (view.pectoral & ~view.breast).any()
            if not name.startswith("MLO"):
                continue
            shows.append(bool(view.pectoral.any()))
            if shows[-1]:
                muscle = view.pectoral[:, ::-1] if name.endswith("_R") else view.pectoral
                assert muscle[0, 0]
                height = muscle.any(axis=1).mean()
                assert 0.25 <= height <= 0.92
                sizes.append(view.truth.pectoral_fraction)
    assert 0.85 <= np.mean(shows) < 1.0
    assert np.percentile(sizes, 90) > 2.0 * np.percentile(sizes, 10)


def test_muscle_is_absent_at_the_stated_rate() -> None:
    patient = draw_patient(np.random.default_rng(0))
    absent = [
        not (draw_view(np.random.default_rng(i), patient, "MLO_L", Grid(64, 52, 3.6)).muscle > 0).any()
        for i in range(400)
    ]
    assert np.mean(absent) == pytest.approx(0.06, abs=0.035)


@pytest.mark.parametrize("view", VIEWS)
def test_outline_fits_the_smallest_field(view: str) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        shape = draw_view(rng, draw_patient(rng), view, _GRID)
        assert not (shape.breast[:, -4:] > 0).any()
        column, row = shape.nipple
        assert 0 < column < _GRID.columns
        assert 0 < row < _GRID.rows


def test_stored_values_stay_within_bits_stored_and_use_them(exams: list) -> None:
    for plan, views in exams:
        limit = (1 << APPEARANCES[plan.system].bits_stored) - 1
        for view in views.values():
            assert view.stored.dtype == np.uint16
            assert view.stored.max() <= limit
            tissue = _shown(view, plan.system)[view.breast]
            assert np.percentile(tissue, 98) - np.percentile(tissue, 2) > 0.06


def test_breast_is_brighter_than_air_on_every_system(exams: list) -> None:
    for plan, views in exams:
        for view in views.values():
            shown = _shown(view, plan.system)
            assert np.median(shown[view.breast]) > np.median(shown[~view.breast]) + 0.05


def test_view_marker_is_burned_in_beside_the_breast(exams: list) -> None:
    marked = []
    for plan, views in exams:
        marker = APPEARANCES[plan.system].marker_grey
        for name, view in views.items():
            shown = _shown(view, plan.system)
            outer = slice(None, shown.shape[1] // 4) if name.endswith("_R") else slice(-shown.shape[1] // 4, None)
            bright = (shown > 0.6 * marker) & ~view.breast
            bright[[0, 1, 2, 3, 4, -5, -4, -3, -2, -1]] = False
            marked.append(bool(bright[:, outer].any()))
    assert np.mean(marked) > 0.85


def test_class_is_not_readable_from_the_mean_grey(exams: list) -> None:
    """A reader of mean greys must be near chance, one of the dense fraction right."""
    classes = np.array([plan.density for plan, _views in exams])
    greys = np.array(
        [[_shown(v, plan.system)[v.breast & ~v.pectoral].mean() for v in views.values()] for plan, views in exams]
    )
    dense = np.array([[v.truth.dense_fraction for v in views.values()] for _plan, views in exams])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=100.0, max_iter=2000))
    by_grey = cross_val_score(model, greys.mean(axis=1, keepdims=True), classes, cv=4).mean()
    by_four_greys = cross_val_score(model, greys, classes, cv=4).mean()
    by_truth = cross_val_score(model, dense, classes, cv=4).mean()
    assert by_grey < 0.5
    assert by_four_greys < 0.6
    assert by_truth > 0.95


def test_the_same_exam_looks_different_on_each_system(exams: list) -> None:
    plan = exams[0][0]
    means = []
    for system in range(4):
        moved = replace(plan, system=system)
        view = make_view(draw_exam(moved, _CONFIG), "CC_L")
        means.append(float(_shown(view, system)[view.breast].mean()))
    ordered = sorted(means)
    assert ordered[-1] - ordered[0] > 0.15


def test_both_exams_of_a_patient_show_the_same_breast() -> None:
    config = _CONFIG.model_copy(update={"repeat_share": 1.0})
    plans = plan_exams(config)
    later = next(p for p in plans if p.patient_index != p.index)
    first = plans[later.patient_index]
    other = next(p for p in plans if p.patient_index not in (later.patient_index, p.index))
    sources = [draw_exam(p, config) for p in (first, later, other)]
    assert sources[0].patient == sources[1].patient != sources[2].patient
    assert not np.array_equal(make_view(sources[0], "CC_L").stored, make_view(sources[1], "CC_L").stored)


def test_full_matrix_has_the_reference_size_and_texture_finer_than_the_working_grid() -> None:
    config = PhantomConfig(exams=1, seed=2, reduction=1, workers=1, system_weights=(0, 0, 1, 0))
    view = make_view(draw_exam(plan_exams(config)[0], config), "CC_L")
    assert view.stored.shape == (2294, 1914)
    assert view.truth.pixel_spacing_mm == 0.1
    assert view.truth.acquisition_system == "GE Senograph DS ADS 54.11"
