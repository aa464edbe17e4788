"""Folds: by patient, with the classes spread evenly, from names and labels only."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.experiments.folds import FoldError, KnownExam, make_folds
from schema.features import DENSITY_CLASSES


def archive(classes: list[str], exams_a_patient: int = 1) -> dict[str, KnownExam]:
    return {
        f"e{number:03d}.{exam}": KnownExam(f"p{number:03d}", density)
        for number, density in enumerate(classes)
        for exam in range(exams_a_patient)
    }


@settings(max_examples=60, deadline=None)
@given(
    classes=st.lists(st.sampled_from(DENSITY_CLASSES), min_size=30, max_size=80),
    count=st.integers(2, 6),
    share=st.floats(0.15, 0.5),
    exams_a_patient=st.integers(1, 3),
)
def test_no_patient_is_in_two_parts_and_every_exam_is_judged_once(
    classes: list[str], count: int, share: float, exams_a_patient: int
) -> None:
    exams = archive(classes, exams_a_patient)
    folds = make_folds(exams, count, share)
    assert Counter(name for fold in folds for name in fold.test) == Counter(list(exams))
    for fold in folds:
        assert sorted((*fold.train, *fold.eval, *fold.test)) == sorted(exams)
        patients = [{exams[name].patient for name in part} for part in (fold.train, fold.eval, fold.test)]
        assert sum(map(len, patients)) == len(set.union(*patients))
        for density in DENSITY_CLASSES:
            mine = sum(exams[name].density == density for name in fold.test) / exams_a_patient
            assert abs(mine - classes.count(density) / count) < 1


def test_film_exams_are_divided_as_the_configuration_divides_them() -> None:
    counts = {"A": 45, "B": 103, "C": 76, "D": 62}
    exams = archive([name for name, count in counts.items() for _ in range(count)])
    folds = make_folds(exams, 5, 0.25)
    assert [len(fold.test) for fold in folds] == [58, 57, 57, 57, 57]
    for fold in folds:
        rest = 286 - len(fold.test)
        assert len(fold.eval) == rest // 4
        for density, count in counts.items():
            chosen = sum(exams[name].density == density for name in fold.eval)
            assert abs(chosen - 0.2 * count) <= 1.3


def test_the_order_of_the_exams_changes_nothing_and_the_seed_changes_the_folds() -> None:
    exams = archive([DENSITY_CLASSES[i % 4] for i in range(40)])
    shuffled = list(exams.items())
    random.Random(3).shuffle(shuffled)
    assert make_folds(dict(shuffled), 4, 0.25) == make_folds(exams, 4, 0.25)
    assert make_folds(exams, 4, 0.25, seed=1) != make_folds(exams, 4, 0.25)


def test_a_patient_whose_exams_differ_stays_whole() -> None:
    exams = archive([DENSITY_CLASSES[i % 4] for i in range(40)])
    exams |= {"later": KnownExam("p000", "D"), "unknown": KnownExam("exam unknown", "B")}
    for fold in make_folds(exams, 4, 0.25):
        assert len({part for part in (fold.train, fold.eval, fold.test) if {"later", "e000.0"} & set(part)}) == 1


@pytest.mark.parametrize(
    ("patients", "count", "share", "says"),
    [
        (40, 1, 0.25, "Folds must be 2 or more.*Received: folds=1"),
        (40, 4, 0.0, "eval share between 0 and 1"),
        (7, 4, 0.25, "4 folds need 8 patients or more.*Received: 7 patients"),
        (10, 2, 0.01, "no exam to learn from or to choose the epoch with"),
    ],
)
def test_what_cannot_be_divided_is_refused(patients: int, count: int, share: float, says: str) -> None:
    with pytest.raises(FoldError, match=says):
        make_folds(archive([DENSITY_CLASSES[i % 4] for i in range(patients)]), count, share)
