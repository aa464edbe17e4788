"""Figures that the template draws: class distributions, confusion matrices, metrics with 95 % intervals.

These functions turn values into positions in per cent; the template turns positions into SVG and HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from components.report_generator.artifacts import ReadSliceMetrics
from components.report_generator.page import (
    Axis,
    Bars,
    Confusion,
    ConfusionCell,
    ConfusionRow,
    IntervalLine,
    Intervals,
    Mark,
    Segment,
)
from components.report_generator.text import interval_text, is_percent, metric_label, share, value_text
from components.statistics.intervals import SMALL_N, Figure
from schema.features import DENSITY_CLASSES

_LEAST_WITH_TEXT: Final = 9.0  # per cent of the bar that a short text requires


def segments(shares: Sequence[float], texts: Sequence[str] | None = None) -> tuple[Segment, ...]:
    """Return the segments of a bar, one per density class.

    Args:
        shares: One number per class, in the order A to D. Their sum does not have to be 1.
        texts: Text of each segment, shown if it fits; None for no texts.

    Returns:
        Segments that fill the bar, without those of size 0; empty if all shares are 0.
    """
    total = sum(shares)
    if total <= 0:
        return ()
    found = []
    start = 0.0
    for index, density in enumerate(DENSITY_CLASSES):
        width = 100 * shares[index] / total
        text = texts[index] if texts and width >= _LEAST_WITH_TEXT else ""
        if width > 0:
            found.append(Segment(density, round(start, 2), round(width, 2), text))
        start += width
    return tuple(found)


def class_bars(caption: str, counts: Mapping[str, Mapping[str, int]]) -> Bars:
    """Return one bar per set, which shows the distribution of its classes.

    Args:
        caption: What is counted.
        counts: Counts by class, for each set by its name.
    """
    bars = []
    for name, by_class in counts.items():
        numbers = [by_class.get(density, 0) for density in DENSITY_CLASSES]
        texts = [f"{density} {number:,}" for density, number in zip(DENSITY_CLASSES, numbers, strict=True)]
        bars.append((name, segments(numbers, texts), f"n = {sum(numbers):,}"))
    return Bars(caption, tuple(bars))


def _cell(count: int, total: int) -> ConfusionCell:
    return ConfusionCell(f"{count:,}", share(count, total), round(10 * count / total) if total else 0)


def confusion_figure(metrics: ReadSliceMetrics, caption: str) -> Confusion:
    """Return a confusion matrix with counts and shares of the row.

    Args:
        metrics: Metrics of the slice. Rows of its matrix are labels, columns are predictions.
        caption: Kind and set of the observations.
    """
    rows = (
        ConfusionRow(density, f"{sum(counts):,}", tuple(_cell(count, sum(counts)) for count in counts))
        for density, counts in zip(DENSITY_CLASSES, metrics.confusion_matrix, strict=True)
    )
    return Confusion(caption, tuple(rows))


_NOBODY: Final = Figure(value=None, ci95=None, n=0)
_QUARTER: Final = 0.25
_SMALL: Final = 0.3  # metrics up to this value have an axis that begins at 0
_STEPS: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)  # possible distances between ticks
_MAX_STEPS: Final = 5.5  # of an axis
_WIDE: Final = 2  # number of columns up to which all tick labels fit
_TINY: Final = 1e-6  # tolerance, because multiples of 0.1 are not exact


@dataclass(frozen=True)
class IntervalRow:
    """A slice and its metrics by name."""

    label: str
    metrics: Mapping[str, Figure]

    @property
    def n(self) -> int:
        """Smallest number of observations of its metrics."""
        return min((metric.n for metric in self.metrics.values()), default=0)


@dataclass(frozen=True)
class IntervalGroup:
    """Slices by one key. An empty title is not drawn."""

    title: str
    rows: Sequence[IntervalRow]


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``, in the unit of its metric."""

    low: float
    high: float
    ticks: tuple[float, ...] = field(default=())

    def place(self, value: float) -> float:
        """Return the position of a value, in per cent of the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)


def _down(value: float, step: float) -> float:
    return round(step * math.floor(value / step + _TINY), 6)


def _up(value: float, step: float) -> float:
    return round(step * math.ceil(value / step - _TINY), 6)


def scale_of(metrics: Iterable[Figure]) -> Scale:
    """Choose an axis with round ticks that contains all values and intervals.

    Shares, kappa and similar metrics end at 1 and begin at the next quarter below the smallest value. Small metrics,
    such as calibration errors, begin at 0 and end at the next tenth above the largest value.
    """
    drawn = [x for m in metrics if m.value is not None for x in (m.value, *(m.ci95 or ()))]
    least, most = min(drawn, default=0.0), max(drawn, default=1.0)
    if least >= 0 and most <= _SMALL:
        low, high = 0.0, max(0.1, _up(most, 0.1))
    else:
        low, high = min(0.75, _down(least, _QUARTER)), max(1.0, _up(most, _QUARTER))
    step = next((s for s in _STEPS if (high - low) / s < _MAX_STEPS), _STEPS[-1])
    low, high = _down(low, step), _up(high, step)
    return Scale(low, high, tuple(round(low + step * i, 6) for i in range(round((high - low) / step) + 1)))


def _tick_text(name: str, value: float) -> str:
    return f"{100 * value:.0f}" if is_percent(name) else f"{value:.2f}".rstrip("0").rstrip(".")


def axis_of(name: str, scale: Scale, reference: float | None = None, *, narrow: bool = False) -> Axis:
    """Label an axis with the metric and its unit.

    Args:
        name: Metric name.
        scale: Range and ticks.
        reference: Value of the whole set, drawn as a dashed line.
        narrow: Label only the first and the last tick.
    """
    unit = ", %" if is_percent(name) else ""
    place = None if reference is None else scale.place(reference)
    last = len(scale.ticks) - 1
    ticks = tuple(
        (scale.place(tick), "" if narrow and 0 < i < last else _tick_text(name, tick))
        for i, tick in enumerate(scale.ticks)
    )
    return Axis(f"{metric_label(name)}{unit}", ticks, place)


def mark_of(name: str, metric: Figure, scale: Scale) -> Mark:
    """Place a metric on an axis."""
    if metric.value is None:
        return Mark(value_text(name, None))
    low, high = metric.ci95 or (None, None)
    return Mark(
        value_text(name, metric.value),
        interval_text(name, metric),
        scale.place(metric.value),
        None if low is None else scale.place(low),
        None if high is None else scale.place(high),
    )


def interval_figure(
    caption: str,
    names: Sequence[str],
    groups: Sequence[IntervalGroup],
    references: Mapping[str, float | None] | None = None,
    note: str = "",
) -> Intervals:
    """Return a figure of metrics by slice, with 95 % intervals.

    Args:
        caption: Metrics and set that are shown.
        names: Metrics, one per column. A row without a metric shows ``undefined``.
        groups: Slices, from top to bottom. Groups without rows are not drawn.
        references: Values of the whole set by metric, drawn as dashed lines.
        note: Text below the figure.

    Returns:
        The block. Each column has its own axis, which all rows share.
    """
    shown = [group for group in groups if group.rows]
    scales = {n: scale_of(r.metrics.get(n, _NOBODY) for g in shown for r in g.rows) for n in names}
    lines = tuple(
        (
            group.title,
            tuple(
                IntervalLine(
                    row.label,
                    row.n,
                    row.n < SMALL_N,
                    tuple(mark_of(name, row.metrics.get(name, _NOBODY), scales[name]) for name in names),
                )
                for row in group.rows
            ),
        )
        for group in shown
    )
    narrow = len(names) > _WIDE
    axes = tuple(axis_of(name, scales[name], (references or {}).get(name), narrow=narrow) for name in names)
    return Intervals(caption, axes, lines, note)
