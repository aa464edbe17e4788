"""Which patient an exam is of, so that nobody is in two splits.

The labels name patients, or else the Patient ID does. An ID that anonymisers write for all names nobody: such an exam
stands for a patient of its own, and a warning says so. Exams that may be of one woman stay together: those that share a
patient in their headers, also where an exam has two Patient IDs (the correction of a name), or one for each image as
CBIS-DDSM writes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components.common.connected import leaders
from components.dicom.headers import tags
from components.dicom_example_gen.plan.uid_copies import Labelled
from components.exams.evidence import Census, is_placeholder, person

_MOST_EXAMS: Final = 3  # of an archive that is one woman's


@dataclass(frozen=True)
class Patients:
    """The patients of exams. They identify a person: they stay inside planning.

    Attributes:
        of: exam_id -> patient.
        unnamed: Exams that stand for a patient of their own, for want of a name.
    """

    of: Mapping[str, str]
    unnamed: int

    @property
    def warning(self) -> str | None:
        """A sentence on exams without a patient, None where there are none."""
        if not self.unnamed:
            return None
        return (
            f"{self.unnamed} of {len(self.of)} exams name no patient ({tags.tag_name('PatientID')} is absent, or one"
            " for many): each counts as a patient of its own. If any woman has two exams, name patients in the column"
            " patient_id, or she may fall into two splits."
        )


def patients_of(exams: Mapping[str, Sequence[Labelled]], census: Census) -> Patients:
    """Finds the patient of each exam.

    Args:
        exams: exam_id -> its images.
        census: What the archive's values are worth.

    Returns:
        The patients.
    """
    named = {exam: next((v.label.patient_id for v in views if v.label.patient_id), "") for exam, views in exams.items()}
    seen = {exam: {person(v.header, census) for v in views} - {""} for exam, views in exams.items() if not named[exam]}
    if len(seen) > _MOST_EXAMS and len(set.union(*seen.values())) == 1:
        seen = {exam: set() for exam in seen}  # one for all
    patients: dict[str, str] = {}
    sharing: dict[str, list[str]] = defaultdict(list)
    for exam, views in exams.items():
        identifiers = {v.header.patient_id for v in views if not is_placeholder(v.header.patient_id)}
        one = len(identifiers) == 1 and seen.get(exam)
        patients[exam] = named[exam] or (identifiers.pop() if one else exam)
        for name in seen.get(exam, ()):
            sharing[name].append(patients[exam])
    together = leaders(sharing.values(), lambda patient: patient)
    of = {exam: patient if named[exam] else together.get(patient, patient) for exam, patient in patients.items()}
    return Patients(of, sum(not found for found in seen.values()))
