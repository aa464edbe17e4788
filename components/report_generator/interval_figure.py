"""Figures with 95 % intervals as dots and whiskers: values become places on an axis, the template draws them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from components.report_generator.page import Axis, IntervalLine, Intervals, Mark
from components.report_generator.text import interval_text, is_percent, metric_label, value_text
from components.statistics.intervals import SMALL_N, Figure

_NOBODY: Final = Figure(value=None, ci95=None, n=0)
_QUARTER: Final = 0.25
_SMALL: Final = 0.3  # figures up to here have an axis of their own
_STEPS: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)  # between ticks
_INTERVALS: Final = 5.5  # most of them
_WIDE: Final = 2  # metrics beside each other that leave room for all ticks
_TINY: Final = 1e-6  # multiples of 0.1 are not exact


@dataclass(frozen=True)
class IntervalRow:
    """A slice and its metrics by name."""

    label: str
    metrics: Mapping[str, Figure]

    @property
    def n(self) -> int:
        """The least number of observations behind its metrics."""
        return min((metric.n for metric in self.metrics.values()), default=0)


@dataclass(frozen=True)
class IntervalGroup:
    """Slices by one key; an empty title is not drawn."""

    title: str
    rows: Sequence[IntervalRow]


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``, in the unit of its metric."""

    low: float
    high: float
    ticks: tuple[float, ...] = field(default=())

    def place(self, value: float) -> float:
        """Returns where a value lies, in per cent of the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)


def _down(value: float, step: float) -> float:
    return round(step * math.floor(value / step + _TINY), 6)


def _up(value: float, step: float) -> float:
    return round(step * math.ceil(value / step - _TINY), 6)


def scale_of(metrics: Iterable[Figure]) -> Scale:
    """Chooses an axis with round ticks that holds values and intervals.

    Shares, kappa and the like end at 1 and begin at a quarter below the least; small figures, such as calibration
    errors, begin at 0 and end at a tenth above the largest.
    """
    drawn = [x for m in metrics if m.value is not None for x in (m.value, *(m.ci95 or ()))]
    least, most = min(drawn, default=0.0), max(drawn, default=1.0)
    if least >= 0 and most <= _SMALL:
        low, high = 0.0, max(0.1, _up(most, 0.1))
    else:
        low, high = min(0.75, _down(least, _QUARTER)), max(1.0, _up(most, _QUARTER))
    step = next((s for s in _STEPS if (high - low) / s < _INTERVALS), _STEPS[-1])
    low, high = _down(low, step), _up(high, step)
    return Scale(low, high, tuple(round(low + step * i, 6) for i in range(round((high - low) / step) + 1)))


def _tick_text(name: str, value: float) -> str:
    return f"{100 * value:.0f}" if is_percent(name) else f"{value:.2f}".rstrip("0").rstrip(".")


def axis_of(name: str, scale: Scale, reference: float | None = None, *, narrow: bool = False) -> Axis:
    """Labels an axis with the metric and its unit.

    Args:
        name: Metric name.
        scale: From where to where.
        reference: Value of the whole set, drawn as a dashed line.
        narrow: There is room for the texts of the first and the last tick alone.
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
    """Places a metric on an axis."""
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
    """Draws slices with 95 % intervals.

    Args:
        caption: What is shown, of which set.
        names: Metrics, a column each; a row that lacks one says ``undefined``.
        groups: Slices, from top to bottom; groups without rows are left out.
        references: Values of the whole set by metric, drawn as dashed lines.
        note: Text under the figure.

    Returns:
        The block. Every column has an axis of its own, which all its rows share.
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
