"""Folds of cross-validation: by patient, with the classes spread evenly, from names and labels only."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schema.features import DENSITY_CLASSES

_MINIMUM_FOLDS: Final = 2


class FoldError(ValueError):
    """The exams cannot be divided into the folds; the message says why."""


@dataclass(frozen=True)
class KnownExam:
    """The properties of an exam that decide its fold.

    Attributes:
        patient: Patient, or the exam itself if the patient is not known.
        density: One of DENSITY_CLASSES.
        is_agreed: False if its readers differ.
    """

    patient: str
    density: str
    is_agreed: bool = True


@dataclass(frozen=True)
class Fold:
    """One division of the exams; no patient is in two of the three parts.

    Attributes:
        number: From 1.
        train: Exams that fit the networks, sorted.
        eval: Exams that choose the epoch, sorted.
        test: Exams that are judged, sorted.
    """

    number: int
    train: tuple[str, ...]
    eval: tuple[str, ...]
    test: tuple[str, ...]


def _in_class_order(patients: Mapping[str, str], salt: str) -> list[str]:
    """Sort patients by class, and inside a class by a hash, which depends on nothing but names and salt."""
    return sorted(
        patients, key=lambda name: (patients[name], hashlib.sha256(f"{salt}\0{name}".encode()).hexdigest(), name)
    )


def make_folds(exams: Mapping[str, KnownExam], count: int, eval_share: float, seed: str | int = 0) -> tuple[Fold, ...]:
    """Divide exams into folds.

    Patients are sorted by class and dealt out one after the other, so that each fold has its share of each class. A
    patient with several exams has the class of the densest one. Of the patients outside the test part, every n-th one
    chooses the epoch.

    Args:
        exams: Exams by name.
        count: Number of folds, 2 or more.
        eval_share: Share of the patients outside the test part that choose the epoch, above 0 and below 1.
        seed: Another seed makes other folds.

    Returns:
        The folds. Each exam is in the test part of exactly one.

    Raises:
        FoldError: There are fewer patients than folds need, or a part would be empty.
    """
    if count < _MINIMUM_FOLDS or not 0 < eval_share < 1:
        raise FoldError(
            f"Folds must be {_MINIMUM_FOLDS} or more, and the eval share between 0 and 1. Received: folds={count},"
            f" eval share={eval_share:g}"
        )
    of_patient: dict[str, list[str]] = defaultdict(list)
    for name, exam in sorted(exams.items()):
        of_patient[exam.patient].append(name)
    classes = {
        patient: max((exams[name].density for name in names), key=DENSITY_CLASSES.index)
        for patient, names in of_patient.items()
    }
    if len(classes) < 2 * count:
        raise FoldError(
            f"{count} folds need {2 * count} patients or more: choose fewer folds. Received: {len(classes)} patients"
        )
    dealt = {patient: number % count for number, patient in enumerate(_in_class_order(classes, f"fold {seed}"))}

    def exams_of(patients: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted(name for patient in patients for name in of_patient[patient]))

    folds = []
    for number in range(count):
        rest = _in_class_order({p: classes[p] for p in classes if dealt[p] != number}, f"eval {seed} {number}")
        choosing = [p for i, p in enumerate(rest) if int((i + 1) * eval_share) > int(i * eval_share)]
        chosen = set(choosing)
        fold = Fold(
            number + 1,
            exams_of([p for p in rest if p not in chosen]),
            exams_of(choosing),
            exams_of([p for p in classes if dealt[p] == number]),
        )
        if not (fold.train and fold.eval and fold.test):
            raise FoldError(
                f"Fold {fold.number} would have no exam to learn from or to choose the epoch with: give more exams, or"
                f" another share in pipeline.ingest.splits. Received: {len(fold.train)} training, {len(fold.eval)} eval"
                f" and {len(fold.test)} test exams"
            )
        folds.append(fold)
    return tuple(folds)
