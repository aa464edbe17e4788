"""By what the figures are sliced, and which slice says something at which level.

An exam is in a slice if any of its images is, with all its views. For what all images of an exam share (system,
manufacturer, class, age, year) that is the plain meaning. The pectoral status differs between the images: at exam
level its slices overlap and read "exams with at least one such image".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from components.statistics.scores import Level
from schema import features as f

AGE_BAND: Final = "age_band"  # made of patient_age
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
_NOT_APPLICABLE: Final = "not_applicable"


def age_band(age: int) -> str:
    """Names the band of an age in years: ``under 40``, ``40 to 49`` and so on, ``70 and over``, ``unknown``."""
    if age < 0:
        return f.UNKNOWN
    if age < 40:
        return "under 40"
    if age >= 70:
        return "70 and over"
    decade = age // 10 * 10
    return f"{decade} to {decade + 9}"


def slice_value(key: str, value: object) -> str:
    """Writes a slice's value; an unknown number is ``unknown``."""
    text = str(value)
    return f.UNKNOWN if text == "" or (key == f.ACQUISITION_YEAR and text == str(f.UNKNOWN_INT)) else text


def says_something(level: Level, chosen: Mapping[str, str]) -> bool:
    """Tells whether a slice has a meaning at a level.

    Every exam is in the slices of its views and, by its CC views, among those where the pectoral muscle is not to be
    expected; whether a breast is in a slice because of the other one, cannot be told.
    """
    if level == "view":
        return True
    if f.VIEW in chosen:
        return False
    status = chosen.get(f.PECTORAL_STATUS)
    return status is None or (level == "exam" and status != _NOT_APPLICABLE)
