"""The ingest report: one row a file, and a summary with the data set's table.

Files are named, for their owner must find them; identifiers are not: no name, number, date or UID of a
person.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from components.dicom_example_gen.config import SPLITS
from components.dicom_example_gen.planning import IngestPlan, PlannedView
from components.dicom_example_gen.rejections import Rejection
from schema.features import DENSITY_CLASSES, UNKNOWN_INT, VIEWS


def _accepted_row(view: PlannedView) -> dict[str, Any]:
    return {
        "file": view.file,
        "outcome": "accepted",
        "view": view.view,
        "split": view.split,
        "density": view.density,
        "exam_id": view.exam_hash,
        "acquisition_system": view.acquisition_system,
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
        }
        for density, ages in by_class.items()
    }


def summary(plan: IngestPlan, ignored: Mapping[str, int]) -> dict[str, Any]:
    """Summarises an ingest, as JSON types.

    Args:
        plan: The plan as it was carried out.
        ignored: Suffix -> files that were no candidates.

    Returns:
        ``found`` = ``accepted`` + ``rejected`` files, ``by_reason``, ``ignored``, exams by class, splits,
        acquisition systems, ages by class, ``incomplete_exams`` (not all four views),
        ``labels_without_files``.
    """
    exams = _exams(plan.accepted)
    densities = Counter(views[0].density for views in exams.values())
    systems = sorted({v.acquisition_system for v in plan.accepted})
    reasons = Counter(r.reason.value for r in plan.rejected)
    return {
        "found": len(plan.accepted) + len(plan.rejected),
        "accepted": len(plan.accepted),
        "rejected": len(plan.rejected),
        "by_reason": dict(sorted(reasons.items())),
        "ignored": dict(ignored),
        "exams": {c: densities[c] for c in DENSITY_CLASSES},
        "incomplete_exams": sum({v.view for v in views} != set(VIEWS) for views in exams.values()),
        "labels_without_files": plan.labels_without_files,
        "splits": {
            split: {
                "exams": len({v.exam_hash for v in plan.accepted if v.split == split}),
                "views": sum(v.split == split for v in plan.accepted),
                "patients": len({v.patient_hash for v in plan.accepted if v.split == split}),
            }
            for split in SPLITS
        },
        "systems": {
            system: {
                "exams": len({v.exam_hash for v in plan.accepted if v.acquisition_system == system}),
                "views": sum(v.acquisition_system == system for v in plan.accepted),
            }
            for system in systems
        },
        "ages": _ages(exams),
    }
