"""The slices of an evaluation, and the form in which a slice is written as JSON.

An exam is in a slice, with all its views, if any of its images is. For properties that all images of an exam share
(system, manufacturer, class, age, year) that is the plain meaning. The pectoral status differs between the images: at
exam level its slices overlap and mean "exams with at least one such image".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from components.statistics.intervals import SMALL_N, Figure
from components.statistics.scores import Level
from schema import features as f

AGE_BAND: Final = "age_band"  # computed from patient_age
SLICES: Final = (
    (),
    (f.ACQUISITION_SYSTEM,),
    (f.MANUFACTURER,),
    (f.DENSITY,),
    (f.VIEW,),
    (AGE_BAND,),
    (f.PECTORAL_STATUS,),
    (f.ACQUISITION_YEAR,),
    (f.ACQUISITION_SYSTEM, f.DENSITY),
)
METRICS_FILE: Final = "exam_metrics.json"  # in the folder of the evaluation
_NOT_APPLICABLE: Final = "not_applicable"


def age_band(age: int) -> str:
    """Return the band of an age in years: ``under 40``, ``40 to 49`` and so on, ``70 and over``, ``unknown``."""
    if age < 0:
        return f.UNKNOWN
    if age < 40:
        return "under 40"
    if age >= 70:
        return "70 and over"
    decade = age // 10 * 10
    return f"{decade} to {decade + 9}"


def slice_value(key: str, value: object) -> str:
    """Return the value of a slice as text; an unknown number is ``unknown``."""
    text = str(value)
    return f.UNKNOWN if text == "" or (key == f.ACQUISITION_YEAR and text == str(f.UNKNOWN_INT)) else text


def has_meaning(level: Level, chosen: Mapping[str, str]) -> bool:
    """Return True if a slice has a meaning at a level.

    Every exam is in the slices of its views. Because of its CC views, every exam is also in the slice in which no
    pectoral muscle is expected. For breasts it is unknown whether a breast is in a slice because of the other breast.
    """
    if level == "view":
        return True
    if f.VIEW in chosen:
        return False
    status = chosen.get(f.PECTORAL_STATUS)
    return status is None or (level == "exam" and status != _NOT_APPLICABLE)


def slice_entry(
    chosen: Mapping[str, str],
    matrix: NDArray[Any],
    figures: Mapping[str, Figure],
    ungraded: int,
    change: Mapping[str, Figure] | None = None,
) -> dict[str, Any]:
    """Return a slice as JSON has it, for the node and for the command ``evaluate``.

    Args:
        chosen: Keys and values; empty for all.
        matrix: int [4, 4], rows are the true class.
        figures: Metrics by name.
        ungraded: Observations without a grade.
        change: Comparison with the latest pushed model, by name.

    Returns:
        ``slice``, ``n`` (graded), ``ungraded``, ``small`` (too few to judge), ``confusion_matrix``, ``metrics``, and
        ``change`` if it was given.
    """
    n = int(matrix.sum())
    entry: dict[str, Any] = {
        "slice": dict(chosen),
        "n": n,
        "ungraded": ungraded,
        "small": n < SMALL_N,
        "confusion_matrix": matrix.tolist(),
        "metrics": {name: figure.to_dict() for name, figure in sorted(figures.items())},
    }
    if change is not None:
        entry["change"] = {name: figure.to_dict() for name, figure in change.items()}
    return entry
