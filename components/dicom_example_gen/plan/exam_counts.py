"""Exams found, kept and left out: what the thesis' table "Data preparation" counts, with the reasons.

An exam is left out if none of its images is accepted. Its reason is the one that concerned the whole exam, or else that
of most of its files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from components.dicom.rejections import RejectionReason
from components.dicom_example_gen.plan.ingest_plan import IngestPlan, PlannedView
from components.dicom_example_gen.plan.membership import PlannedExam
from schema.features import DENSITY_CLASSES, UNKNOWN, VIEWS

# Reasons that lie in the exam or its patient, whatever its files are like.
_OF_EXAMS: Final = (
    RejectionReason.LEFT_OUT_BY_DISTRIBUTION,
    RejectionReason.SPLIT_CONFLICT,
    RejectionReason.MIXED_PATIENTS,
    RejectionReason.SEVERAL_EXAMS,
    RejectionReason.AMBIGUOUS_LABEL,
    RejectionReason.INVALID_LABEL,
    RejectionReason.NO_LABEL,
)
_NOT_OFFERED: Final = "no_file"


@dataclass(frozen=True)
class _Fate:
    exam: PlannedExam
    views: tuple[PlannedView, ...]
    reasons: tuple[RejectionReason, ...]  # of its rejected files

    @property
    def system(self) -> str:
        return self.views[0].acquisition_system if self.views else self.exam.acquisition_system

    @property
    def reason(self) -> str:
        """Why the exam is left out."""
        of_exam = next((reason for reason in _OF_EXAMS if reason in self.reasons), None)
        if of_exam is not None:
            return of_exam.value
        counts = Counter(reason.value for reason in self.reasons)
        return min(counts, key=lambda reason: (-counts[reason], reason))


def _fates(plan: IngestPlan) -> list[_Fate]:
    views: dict[str, list[PlannedView]] = defaultdict(list)
    for view in plan.accepted:
        views[view.exam_hash].append(view)
    reasons: dict[str, list[RejectionReason]] = defaultdict(list)
    for rejection in plan.rejected:
        reasons[rejection.file].append(rejection.reason)
    return [
        _Fate(
            exam,
            tuple(views[exam.exam_hash]),
            tuple(reason for file in dict.fromkeys(exam.files) for reason in reasons[file]),
        )
        for exam in plan.exams
    ]


def _sorted(counts: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(counts).items()))


def _by_system(fates: Iterable[_Fate]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for fate in fates:
        row = table.setdefault(fate.system, {"original": 0, "exams": 0, "views": 0})
        row["original"] += 1
        row["exams"] += bool(fate.views)
        row["views"] += len(fate.views)
    return dict(sorted(table.items()))


def exam_counts(plan: IngestPlan) -> Mapping[str, Any]:
    """Counts exams, as JSON types.

    Args:
        plan: The plan as it was carried out.

    Returns:
        ``exams_found`` = ``exams_kept`` + sum of ``exams_left_out`` (by reason); ``exams_found_by_class``;
        ``incomplete_exams``, kept with less than four views, and ``incomplete_by_reason``, where an exam counts under
        each reason for which a file of it was rejected, or ``no_file``; ``systems`` with original exams, kept exams
        and views; ``files_without_exam``, rejected files that nothing assigns to an exam.
    """
    fates = _fates(plan)
    kept = [fate for fate in fates if fate.views]
    incomplete = [fate for fate in kept if {view.view for view in fate.views} != set(VIEWS)]
    assigned = {file for fate in fates for file in fate.exam.files}
    classes = Counter(fate.exam.density or UNKNOWN for fate in fates)
    return {
        "exams_found": len(fates),
        "exams_kept": len(kept),
        "exams_left_out": _sorted(fate.reason for fate in fates if not fate.views),
        "exams_found_by_class": {name: classes[name] for name in (*DENSITY_CLASSES, UNKNOWN)},
        "incomplete_exams": len(incomplete),
        "incomplete_by_reason": _sorted(
            reason for fate in incomplete for reason in ({reason.value for reason in fate.reasons} or {_NOT_OFFERED})
        ),
        "systems": _by_system(fates),
        "files_without_exam": sum(rejection.file not in assigned for rejection in plan.rejected),
    }
