"""How density classes are shared out, as bars with one segment a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from components.report_generator.page import Bars, Segment
from schema.features import DENSITY_CLASSES

_LEAST_WITH_TEXT: Final = 9.0  # per cent of the bar that a short text needs


def segments(shares: Sequence[float], texts: Sequence[str] | None = None) -> tuple[Segment, ...]:
    """Lays shares out in a row.

    Args:
        shares: A number a class, in the order A to D; they need not sum to 1.
        texts: What the segments say where there is room; nothing by default.

    Returns:
        Segments that fill the bar, those of nothing left out; empty where all shares are 0.
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
    """Draws a bar a set.

    Args:
        caption: What is counted.
        counts: By name of the set, the number by class.
    """
    bars = []
    for name, by_class in counts.items():
        numbers = [by_class.get(density, 0) for density in DENSITY_CLASSES]
        texts = [f"{density} {number:,}" for density, number in zip(DENSITY_CLASSES, numbers, strict=True)]
        bars.append((name, segments(numbers, texts), f"n = {sum(numbers):,}"))
    return Bars(caption, tuple(bars))
