from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.phantom.config import AGE_YEARS, DENSE_FRACTION, PhantomConfig
from pipeline.phantom.plan import exam_rng, plan_exams, quotas


@given(
    shares=st.lists(st.floats(0.01, 10.0), min_size=1, max_size=6),
    total=st.integers(0, 500),
)
def test_quotas_sum_to_total_and_stay_within_one_of_the_exact_share(shares: list[float], total: int) -> None:
    counts = quotas(shares, total)
    assert sum(counts) == total
    for count, share in zip(counts, shares, strict=True):
        assert abs(count - share / sum(shares) * total) < 1.0


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("AOUP", {"A": 12, "B": 28, "C": 50, "D": 10}),
        ("BIRADS", {"A": 10, "B": 40, "C": 40, "D": 10}),
        ("uniform", {"A": 25, "B": 25, "C": 25, "D": 25}),
    ],
)
def test_class_counts_are_those_of_the_slides(distribution: str, expected: dict[str, int]) -> None:
    plans = plan_exams(PhantomConfig.model_validate({"exams": 100, "seed": 5, "distribution": distribution}))
    assert Counter(p.density for p in plans) == expected
    assert set(Counter(p.system for p in plans)) == {0, 1, 2, 3}


def test_small_set_has_every_class_and_system() -> None:
    plans = plan_exams(PhantomConfig(exams=8, seed=1))
    assert {p.density for p in plans} == {"A", "B", "C", "D"}
    assert {p.system for p in plans} == {0, 1, 2, 3}


def test_a_tenth_of_the_patients_come_twice_later_and_with_the_same_class() -> None:
    plans = plan_exams(PhantomConfig(exams=220, seed=2))
    by_patient: dict[str, list[int]] = {}
    for plan in plans:
        by_patient.setdefault(plan.patient_id, []).append(plan.index)
    twice = [indices for indices in by_patient.values() if len(indices) == 2]
    assert max(len(indices) for indices in by_patient.values()) == 2
    assert len(twice) / len(by_patient) == pytest.approx(0.10, abs=0.005)
    for first, second in twice:
        a, b = plans[first], plans[second]
        assert a.study_date < b.study_date
        assert (a.density, a.birth_date, a.patient_index) == (b.density, b.birth_date, b.patient_index)
        assert b.age > a.age or (b.study_date - a.study_date).days < 366


def test_no_repeats_when_none_are_wanted() -> None:
    plans = plan_exams(PhantomConfig(exams=50, seed=2, repeat_share=0.0))
    assert len({p.patient_id for p in plans}) == 50


def test_ages_follow_the_class() -> None:
    plans = plan_exams(PhantomConfig(exams=1200, seed=3, distribution="uniform", repeat_share=0.0))
    for density, (mean, deviation) in AGE_YEARS.items():
        ages = np.array([p.age for p in plans if p.density == density])
        assert ages.mean() == pytest.approx(mean, abs=2.5)
        assert ages.std() == pytest.approx(deviation, abs=2.0)


def test_dense_fractions_lie_in_the_range_of_their_class() -> None:
    for plan in plan_exams(PhantomConfig(exams=300, seed=4)):
        low, high = DENSE_FRACTION[plan.density]
        assert low <= plan.dense_fraction <= high


def test_class_and_system_are_not_tied() -> None:
    plans = plan_exams(PhantomConfig(exams=400, seed=6, distribution="uniform"))
    table = Counter((p.density, p.system) for p in plans)
    assert min(table[d, s] for d in "ABCD" for s in range(4)) >= 10


def test_exams_draw_from_separate_streams() -> None:
    assert exam_rng(1, 2).integers(1 << 60) == exam_rng(1, 2).integers(1 << 60)
    assert exam_rng(1, 2).integers(1 << 60) != exam_rng(1, 3).integers(1 << 60)
    assert exam_rng(1, 2).integers(1 << 60) != exam_rng(2, 2).integers(1 << 60)


@pytest.mark.parametrize(
    "values",
    [
        {"exams": 0},
        {"exams": 3, "distribution": "DDSM"},
        {"exams": 3, "reduction": 0},
        {"exams": 3, "workers": 0},
        {"exams": 3, "colour": "red"},
        {"exams": 3, "system_weights": (0.0, 0.0, 0.0, 0.0)},
        {"exams": 3, "system_weights": (1.0, -1.0, 1.0, 1.0)},
    ],
)
def test_configuration_refuses_what_makes_no_set(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PhantomConfig.model_validate(values)
