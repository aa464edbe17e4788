"""The ingest report: one row per file, and a summary with the data set's table.

The report contains file names, so that their owner can find the files, but no identifiers: no name, number, date or UID
of a person.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from components.dicom.rejections import Rejection, RejectionReason
from components.dicom_example_gen.plan.ingest_plan import IngestPlan, PlannedView
from components.dicom_example_gen.plan.membership import PlannedExam
from schema.features import DENSITY_CLASSES, SPLITS, UNKNOWN, UNKNOWN_INT, VIEWS

SUMMARY_FILE: Final = "summary.json"
# Suffixes of known kinds of files. Others may be part of a person's name or number (``letter.rossi``, ``1.2.840.99``).
_SUFFIXES: Final = (
    ".bmp .csv .dcm .doc .docx .gif .gz .htm .html .ini .jpeg .jpg .json .log .md .nii .npy "
    ".pdf .png .rtf .tar .tif .tiff .txt .xls .xlsx .xml .yaml .yml .zip"
)
_KNOWN_SUFFIXES: Final = frozenset(_SUFFIXES.split())

# Reasons that concern the exam or its patient as a whole.
_OF_EXAMS: Final = (
    RejectionReason.LEFT_OUT_BY_DISTRIBUTION,
    RejectionReason.SPLIT_CONFLICT,
    RejectionReason.MIXED_PATIENTS,
    RejectionReason.SEVERAL_EXAMS,
    RejectionReason.AMBIGUOUS_LABEL,
    RejectionReason.INVALID_LABEL,
    RejectionReason.NO_LABEL,
)
_NO_FILE: Final = "no_file"


def _accepted_row(view: PlannedView) -> dict[str, Any]:
    return {
        "file": view.file,
        "outcome": "accepted",
        "view": view.view,
        "split": view.split,
        "density": view.density,
        "exam_id": view.exam_hash,
        "acquisition_system": view.acquisition_system,
        "remarks": [remark.value for remark in view.remarks],
        "exam_by": view.exam_by,
        "label_by": view.label_by,
    }


def _rejected_row(rejection: Rejection) -> dict[str, Any]:
    return {
        "file": rejection.file,
        "outcome": "rejected",
        "reason": rejection.reason.value,
        "tag": rejection.tag,
        "value": rejection.value,
        "message": rejection.message,
    }


def file_rows(plan: IngestPlan) -> list[dict[str, Any]]:
    """Return the rows of ``files.jsonl``: every candidate once, sorted by file, as JSON types."""
    rows = [_accepted_row(v) for v in plan.accepted] + [_rejected_row(r) for r in plan.rejected]
    return sorted(rows, key=lambda row: row["file"])


def _exams(views: Iterable[PlannedView]) -> dict[str, list[PlannedView]]:
    exams: dict[str, list[PlannedView]] = defaultdict(list)
    for view in views:
        exams[view.exam_hash].append(view)
    return exams


def _ages(exams: Mapping[str, list[PlannedView]]) -> dict[str, dict[str, Any]]:
    """Return statistics of ages per class, years, over exams with known age; ``sd`` is that of a sample."""
    by_class: dict[str, list[int]] = {c: [] for c in DENSITY_CLASSES}
    for views in exams.values():
        age = next((v.patient_age for v in views if v.patient_age != UNKNOWN_INT), None)
        if age is not None:
            by_class[views[0].density].append(age)
    return {
        density: {
            "n": len(ages),
            "mean": round(statistics.fmean(ages), 2) if ages else None,
            "sd": round(statistics.stdev(ages), 2) if len(ages) > 1 else None,
            "median": statistics.median(ages) if ages else None,
            "counts": {str(age): count for age, count in sorted(Counter(ages).items())},
        }
        for density, ages in by_class.items()
    }


def _split(accepted: Iterable[PlannedView], name: str) -> dict[str, Any]:
    views = [view for view in accepted if view.split == name]
    classes = Counter({view.exam_hash: view.density for view in views}.values())
    return {
        "exams": len({view.exam_hash for view in views}),
        "views": len(views),
        "patients": len({view.patient_hash for view in views}),
        "by_class": {c: classes[c] for c in DENSITY_CLASSES},
    }


def _kinds(ignored: Mapping[str, int]) -> dict[str, int]:
    kinds: Counter[str] = Counter()
    for kind, count in ignored.items():
        kinds["other" if kind.startswith(".") and kind not in _KNOWN_SUFFIXES else kind] += count
    return dict(sorted(kinds.items()))


@dataclass(frozen=True)
class _ExamResult:
    exam: PlannedExam
    views: tuple[PlannedView, ...]
    reasons: tuple[RejectionReason, ...]  # of its rejected files

    @property
    def system(self) -> str:
        return self.views[0].acquisition_system if self.views else self.exam.acquisition_system

    @property
    def reason(self) -> str:
        """Why the exam is left out: a reason for the whole exam, or else that of most of its files."""
        of_exam = next((reason for reason in _OF_EXAMS if reason in self.reasons), None)
        if of_exam is not None:
            result: str = of_exam.value
            return result
        counts = Counter(reason.value for reason in self.reasons)
        return min(counts, key=lambda reason: (-counts[reason], reason))


def _exam_results(plan: IngestPlan) -> list[_ExamResult]:
    views: dict[str, list[PlannedView]] = defaultdict(list)
    for view in plan.accepted:
        views[view.exam_hash].append(view)
    reasons: dict[str, list[RejectionReason]] = defaultdict(list)
    for rejection in plan.rejected:
        reasons[rejection.file].append(rejection.reason)
    return [
        _ExamResult(
            exam,
            tuple(views[exam.exam_hash]),
            tuple(reason for file in dict.fromkeys(exam.files) for reason in reasons[file]),
        )
        for exam in plan.exams
    ]


def _sorted(counts: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(counts).items()))


def _by_system(results: Iterable[_ExamResult]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for result in results:
        row = table.setdefault(result.system, {"original": 0, "exams": 0, "views": 0})
        row["original"] += 1
        row["exams"] += bool(result.views)
        row["views"] += len(result.views)
    return dict(sorted(table.items()))


def exam_counts(plan: IngestPlan) -> Mapping[str, Any]:
    """Return the numbers of exams for the thesis' table "Data preparation", as JSON types.

    An exam is left out if none of its images is accepted.

    Args:
        plan: The plan after decoding.

    Returns:
        ``exams_found`` = ``exams_kept`` + sum of ``exams_left_out`` (per reason); ``exams_found_by_class``;
        ``incomplete_exams``, kept with less than four views, and ``incomplete_by_reason``, where an exam counts for
        each reason that rejected one of its files, or for ``no_file``; ``systems`` with original exams, kept exams and
        views; ``files_without_exam``, rejected files without an exam.
    """
    results = _exam_results(plan)
    kept = [result for result in results if result.views]
    incomplete = [result for result in kept if {view.view for view in result.views} != set(VIEWS)]
    assigned = {file for result in results for file in result.exam.files}
    classes = Counter(result.exam.density or UNKNOWN for result in results)
    return {
        "exams_found": len(results),
        "exams_kept": len(kept),
        "exams_left_out": _sorted(result.reason for result in results if not result.views),
        "exams_found_by_class": {name: classes[name] for name in (*DENSITY_CLASSES, UNKNOWN)},
        "incomplete_exams": len(incomplete),
        "incomplete_by_reason": _sorted(
            reason for exam in incomplete for reason in ({reason.value for reason in exam.reasons} or {_NO_FILE})
        ),
        "systems": _by_system(results),
        "files_without_exam": sum(rejection.file not in assigned for rejection in plan.rejected),
    }


def summary(plan: IngestPlan, ignored: Mapping[str, int], warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return the summary of an ingest, as JSON types.

    Args:
        plan: The plan after decoding.
        ignored: Suffix or another kind -> number of files that are not candidates.
        warnings: ``Candidates.warnings``.

    Returns:
        ``found`` = ``accepted`` + ``rejected`` files, ``by_reason``, ``remarks`` of accepted files, what assigned them
        to exams and labels (``exam_by``, ``label_by``), ``ignored``; kept exams per class, ages per class, splits with
        their exams per class; ``labels_without_files``, ``bad_labels``, ``warnings``; the numbers of
        :func:`exam_counts`; and ``readings``: the kept exams with several readers by keyed hash, absent without any.
    """
    exams = _exams(plan.accepted)
    readings = [
        {
            "exam_id": exam,
            "patient_id": views[0].patient_hash,
            "split": views[0].split,
            "density": views[0].density,
            "readings": dict(views[0].readings),
        }
        for exam, views in sorted(exams.items())
        if views[0].readings
    ]
    densities = Counter(views[0].density for views in exams.values())
    reasons = Counter(r.reason.value for r in plan.rejected)
    remarks = Counter(remark.value for view in plan.accepted for remark in view.remarks)
    return {
        "found": len(plan.accepted) + len(plan.rejected),
        "accepted": len(plan.accepted),
        "rejected": len(plan.rejected),
        "by_reason": dict(sorted(reasons.items())),
        "remarks": dict(sorted(remarks.items())),
        "exam_by": dict(sorted(Counter(view.exam_by for view in plan.accepted).items())),
        "label_by": dict(sorted(Counter(view.label_by for view in plan.accepted).items())),
        "ignored": _kinds(ignored),
        "exams": {c: densities[c] for c in DENSITY_CLASSES},
        "labels_without_files": plan.labels_without_files,
        "bad_labels": plan.bad_labels,
        "warnings": [*warnings, *plan.warnings],
        "splits": {split: _split(plan.accepted, split) for split in SPLITS},
        "ages": _ages(exams),
        **exam_counts(plan),
        **({"readings": readings} if readings else {}),
    }
