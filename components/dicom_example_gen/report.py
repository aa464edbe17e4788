"""The ingest report: one row a file, and a summary with the data set's table.

Files are named, for their owner must find them; identifiers are not: no name, number, date or UID of a
person.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from components.dicom.rejections import Rejection
from components.dicom_example_gen.plan.exam_counts import exam_counts
from components.dicom_example_gen.plan.ingest_plan import IngestPlan, PlannedView
from schema.features import DENSITY_CLASSES, SPLITS, UNKNOWN_INT

SUMMARY_FILE: Final = "summary.json"
# Suffixes that name a kind of file. Others may be part of a person's name or number (``letter.rossi``, ``1.2.840.99``).
_KNOWN_SUFFIXES: Final = (
    *(
        ".bmp",
        ".csv",
        ".dcm",
        ".doc",
        ".docx",
        ".gif",
        ".gz",
        ".htm",
        ".html",
        ".ini",
        ".jpeg",
        ".jpg",
        ".json",
        ".log",
    ),
    *(".md", ".nii", ".npy", ".pdf", ".png", ".rtf", ".tar", ".tif", ".tiff", ".txt", ".xls", ".xlsx", ".xml", ".yaml"),
    *(".yml", ".zip"),
)


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
    """Returns the rows of ``files.jsonl``: every candidate once, sorted by file, as JSON types."""
    rows = [_accepted_row(v) for v in plan.accepted] + [_rejected_row(r) for r in plan.rejected]
    return sorted(rows, key=lambda row: row["file"])


def _exams(views: Iterable[PlannedView]) -> dict[str, list[PlannedView]]:
    exams: dict[str, list[PlannedView]] = defaultdict(list)
    for view in views:
        exams[view.exam_hash].append(view)
    return exams


def _ages(exams: Mapping[str, list[PlannedView]]) -> dict[str, dict[str, Any]]:
    """Ages by class, years, over exams whose age is known; the deviation is that of a sample."""
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


def summary(plan: IngestPlan, ignored: Mapping[str, int], warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Summarises an ingest, as JSON types.

    Args:
        plan: The plan as it was carried out.
        ignored: Suffix, or what else tells them -> files that were no candidates.
        warnings: ``Candidates.warnings``.

    Returns:
        ``found`` = ``accepted`` + ``rejected`` files, ``by_reason``, ``remarks`` of accepted files, what joined them to
        exams and labels (``exam_by``, ``label_by``), ``ignored``; kept exams by class, ages by class, splits with their
        exams by class; ``labels_without_files``, ``bad_labels``, ``warnings``; and what
        :func:`exam_counts.exam_counts` counts.
    """
    exams = _exams(plan.accepted)
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
    }
