"""Patient of each exam, and split of each patient, so that no patient is in two splits.

The labels name patients, or else the Patient ID does. An ID that anonymisers write for all patients identifies nobody:
such an exam counts as a separate patient, and a warning counts these exams. Exams that may belong to one woman stay
together: exams whose headers share a patient, also if an exam has two Patient IDs (after a correction), or one per
image, as in CBIS-DDSM.

The split is a function of the patient only, so that new patients do not move others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components.common.union_find import representatives
from components.dicom.headers import tags
from components.dicom_example_gen.config import SplitFractions
from components.dicom_example_gen.plan.copies import LabelledFile
from components.exams.evidence import Census, is_placeholder, person
from components.sources.candidates import DEVELOPMENT

_MOST_EXAMS: Final = 3  # of one woman, in an archive with only one Patient ID


@dataclass(frozen=True)
class Patients:
    """Patients of exams. They identify persons, so they stay inside planning.

    Attributes:
        of: exam_id -> patient.
        unnamed: Number of exams without a patient, which count as separate patients.
    """

    of: Mapping[str, str]
    unnamed: int

    @property
    def warning(self) -> str | None:
        """Warning about exams without a patient; None if there are none."""
        if not self.unnamed:
            return None
        return (
            f"{self.unnamed} of {len(self.of)} exams name no patient ({tags.tag_name('PatientID')} is absent, or one"
            " for many): each counts as a patient of its own. If any woman has two exams, name patients in the column"
            " patient_id, or she may fall into two splits."
        )


def patients_of(exams: Mapping[str, Sequence[LabelledFile]], census: Census) -> Patients:
    """Find the patient of each exam.

    Args:
        exams: exam_id -> its images.
        census: Unreliable identifiers of the archive.

    Returns:
        The patients.
    """
    named = {exam: next((v.label.patient_id for v in views if v.label.patient_id), "") for exam, views in exams.items()}
    seen = {exam: {person(v.header, census) for v in views} - {""} for exam, views in exams.items() if not named[exam]}
    if len(seen) > _MOST_EXAMS and len(set.union(*seen.values())) == 1:
        seen = {exam: set() for exam in seen}  # one Patient ID for all exams
    patients: dict[str, str] = {}
    sharing: dict[str, list[str]] = defaultdict(list)
    for exam, views in exams.items():
        identifiers = {v.header.patient_id for v in views if not is_placeholder(v.header.patient_id)}
        one = len(identifiers) == 1 and seen.get(exam)
        patients[exam] = named[exam] or (identifiers.pop() if one else exam)
        for name in seen.get(exam, ()):
            sharing[name].append(patients[exam])
    merged = representatives(sharing.values(), lambda patient: patient)
    of = {exam: patient if named[exam] else merged.get(patient, patient) for exam, patient in patients.items()}
    return Patients(of, sum(not found for found in seen.values()))


def split_of(patient_hash: str, fractions: SplitFractions, seed: str | int, named: str = "") -> str:
    """Return the split of a patient.

    The hash of seed and patient gives a number in [0, 1), which is compared with the cumulated fractions. Other
    patients do not matter, so adding or removing some never moves one, and all exams of a patient stay together.

    Args:
        patient_hash: Keyed hash of the patient.
        fractions: Share of patients per split.
        seed: Another seed gives another, independent assignment.
        named: Split in the source: ``train``, ``eval`` or ``test``, which is then returned; ``train+eval``, which the
            fractions of these two divide; empty = none.

    Returns:
        ``train``, ``eval`` or ``test``.
    """
    if named and named != DEVELOPMENT:
        return named
    digest = hashlib.sha256(f"{seed}\0{patient_hash}".encode()).digest()
    position = (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: exact, always below 1
    if named == DEVELOPMENT:
        return "train" if position * (fractions.train + fractions.eval) < fractions.train else "eval"
    if position < fractions.train:
        return "train"
    # A second comparison from the upper end: rounding of train + eval must not put a patient into an empty split.
    return "test" if position >= 1 - fractions.test and fractions.test > 0 else "eval"
