"""Plan exams: patient, date, system and density; everything about an exam except its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import numpy as np

from pipeline.phantom.config import AGE_YEARS, CLASS_SHARES, DENSE_FRACTION, PhantomConfig
from schema.features import DENSITY_CLASSES

# Streams of SeedSequence([seed, stream, index]); exams themselves use SeedSequence([seed, index]).
_PLAN_STREAM: Final = 1_000_001
_PATIENT_STREAM: Final = 1_000_002

_FIRST_STUDY: Final = date(2012, 1, 9)
_STUDY_SPAN_DAYS: Final = 2200


@dataclass(frozen=True)
class ExamPlan:
    """One exam to be made.

    Attributes:
        index: Place in the set, from 0; with the seed it determines the pixels.
        exam_id: Exam, such as ``PH000012``; also Accession Number and Study ID of its files.
        patient_id: Patient, such as ``PP000012``; shared by the exams of one patient.
        patient_index: Number of the patient; with the seed it determines her anatomy.
        density: Density class.
        dense_fraction: Wanted dense area over breast area.
        system: Index into ``REFERENCE_SYSTEMS``.
        birth_date: Date of birth.
        study_date: Date of the exam.
    """

    index: int
    exam_id: str
    patient_id: str
    patient_index: int
    density: str
    dense_fraction: float
    system: int
    birth_date: date
    study_date: date

    @property
    def age(self) -> int:
        """Whole years on the study date."""
        had_birthday = (self.study_date.month, self.study_date.day) >= (
            self.birth_date.month,
            self.birth_date.day,
        )
        return self.study_date.year - self.birth_date.year - (not had_birthday)


def exam_rng(seed: int, index: int) -> np.random.Generator:
    """Return the random numbers of an exam, independent of all other exams and of the workers."""
    return np.random.default_rng(np.random.SeedSequence([seed, index]))


def patient_rng(seed: int, patient_index: int) -> np.random.Generator:
    """Return the random numbers of a patient's anatomy, the same in each of her exams."""
    return np.random.default_rng(np.random.SeedSequence([seed, _PATIENT_STREAM, patient_index]))


def quotas(shares: Sequence[float], total: int) -> list[int]:
    """Split ``total`` by shares with the largest-remainder method.

    Args:
        shares: Non-negative shares of any sum above zero.
        total: What to split.

    Returns:
        Counts that sum to ``total``, each within one of its exact share.
    """
    exact = np.asarray(shares, dtype=np.float64) / sum(shares) * total
    counts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    result: list[int] = counts.tolist()
    return result


def _shuffled(shares: Sequence[float], total: int, rng: np.random.Generator) -> list[int]:
    values = np.repeat(np.arange(len(shares)), quotas(shares, total))
    rng.shuffle(values)
    result: list[int] = values.tolist()
    return result


def _repeats(classes: Sequence[str], wanted: int) -> dict[int, int]:
    """Pair later exams with an earlier one of the same class: {later index: earlier index}."""
    pairs: dict[int, int] = {}
    waiting: dict[str, int] = {}
    for index, density in enumerate(classes):
        if len(pairs) == wanted:
            break
        if density in waiting:
            pairs[index] = waiting.pop(density)
        else:
            waiting[density] = index
    return pairs


def _draw_first_exam(index: int, density: str, system: int, rng: np.random.Generator) -> ExamPlan:
    mean, deviation = AGE_YEARS[density]
    age = int(np.clip(round(rng.normal(mean, deviation)), 35, 95))
    study = _FIRST_STUDY + timedelta(days=int(rng.integers(_STUDY_SPAN_DAYS)))
    birth = study - timedelta(days=int(age * 365.25) + int(rng.integers(3, 360)))
    return ExamPlan(
        index=index,
        exam_id=f"PH{index:06d}",
        patient_id=f"PP{index:06d}",
        patient_index=index,
        density=density,
        dense_fraction=float(rng.uniform(*DENSE_FRACTION[density])),
        system=system,
        birth_date=birth,
        study_date=study,
    )


def _draw_later_exam(index: int, first: ExamPlan, system: int, rng: np.random.Generator) -> ExamPlan:
    low, high = DENSE_FRACTION[first.density]
    return replace(
        first,
        index=index,
        exam_id=f"PH{index:06d}",
        dense_fraction=float(np.clip(first.dense_fraction + rng.normal(0.0, 0.01), low, high)),
        system=system,
        study_date=first.study_date + timedelta(days=int(rng.integers(340, 1120))),
    )


def plan_exams(config: PhantomConfig) -> tuple[ExamPlan, ...]:
    """Plan a set: classes and systems by exact quotas, then shuffled, so that small sets hold every class.

    A patient's second exam keeps the class of the first and may come from another system.

    Args:
        config: What to generate.

    Returns:
        ``config.exams`` plans in order of their index.
    """
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, _PLAN_STREAM]))
    classes = [DENSITY_CLASSES[i] for i in _shuffled(CLASS_SHARES[config.distribution], config.exams, rng)]
    systems = _shuffled(config.system_weights, config.exams, rng)
    # n exams of p patients of whom a share s comes twice: n = p (1 + s).
    wanted = round(config.exams * config.repeat_share / (1.0 + config.repeat_share))
    pairs = _repeats(classes, wanted)
    plans: list[ExamPlan] = []
    for index, (density, system) in enumerate(zip(classes, systems, strict=True)):
        if index in pairs:
            plans.append(_draw_later_exam(index, plans[pairs[index]], system, rng))
        else:
            plans.append(_draw_first_exam(index, density, system, rng))
    return tuple(plans)
