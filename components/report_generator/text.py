"""Texts and table cells for numbers, metrics and sample sizes."""

from __future__ import annotations

import math
from typing import Final

from components.report_generator.page import Cell
from components.statistics.intervals import SMALL_N, Figure
from components.statistics.metrics import words_of
from schema.features import DENSITY_CLASSES

SMALL_N_REMARK: Final = "too few"
SMALL_N_NOTE: Final = f"Too few: n < {SMALL_N}, too small to judge."
NOTHING: Final = "–"
_PER_CENT: Final = "\u00a0%"  # the number and its unit stay on one line


def metric_label(name: str) -> str:
    """Return the name of a metric in words."""
    return words_of(name).label


def is_percent(name: str) -> bool:
    """Return True if a metric is a share, shown in per cent."""
    return words_of(name).unit == "share"


def view_name(view: str) -> str:
    """Return ``CC_R`` as ``CC R``, kept on one line."""
    return view.replace("_", "\u00a0")


def value_text(name: str, value: float | None) -> str:
    """Format a metric: ``86.2 %`` (no-break space) or ``0.853``; ``undefined`` if there is no value."""
    if value is None or not math.isfinite(value):
        return "undefined"
    if words_of(name).unit == "count":
        return f"{value:.0f}"
    return f"{100 * value:.1f}{_PER_CENT}" if is_percent(name) else f"{value:.3f}"


def interval_text(name: str, metric: Figure) -> str:
    """Format a 95 % interval in the unit of the metric; empty for an undefined metric."""
    if metric.value is None:
        return ""
    if metric.ci95 is None:
        return "no interval"
    low, high = metric.ci95
    if words_of(name).unit == "count":
        return f"{low:.1f} to {high:.1f}"
    return f"{100 * low:.1f} to {100 * high:.1f}{_PER_CENT}" if is_percent(name) else f"{low:.3f} to {high:.3f}"


def metric_cell(name: str, metric: Figure | None) -> Cell:
    """Return a cell with value and 95 % interval; it is muted if the sample is small."""
    if metric is None:
        return Cell(NOTHING, tone="muted")
    return Cell(value_text(name, metric.value), interval_text(name, metric), "muted" if metric.n < SMALL_N else "")


def n_cell(n: int) -> Cell:
    """Return a cell with a sample size, flagged if it is small."""
    return Cell(f"{n:,}", SMALL_N_REMARK, "warn") if n < SMALL_N else Cell(f"{n:,}")


def share(part: int, whole: int) -> str:
    """Format ``part`` of ``whole`` in per cent."""
    return f"{100 * part / whole:.0f}{_PER_CENT}" if whole else NOTHING


def number(value: float | None, digits: int = 0) -> str:
    """Format a number that may be unknown."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def passed_cell(passed: bool) -> Cell:
    """Return a cell with the text passed or failed, with a sign in addition to the colour."""
    return Cell("✓ passed", tone="pass") if passed else Cell("✗ failed", tone="fail")


def class_order(density: str) -> tuple[int, str]:
    """Return a sort key: A to D, then other values by name."""
    return (
        DENSITY_CLASSES.index(density) if density in DENSITY_CLASSES else len(DENSITY_CLASSES),
        density,
    )
