"""Section "Drift": new exams against earlier ones, and held-out exams against those that are trained on."""

from __future__ import annotations

from typing import Final

from components.drift_monitor import Comparison, DriftSummary, Moved
from components.report_generator.page import Block, Cell, Note, Section, Table, missing

_VERDICTS: Final = {
    "alert": Cell("✗ moved", tone="fail"),
    "chance": Cell("too few exams to tell", tone="muted"),
    "alike": Cell("✓ alike", tone="pass"),
}
_TITLES: Final = {"drift": "Drift", "skew": "Skew"}
_UNSEEN: Final = {"drift": "no earlier training exam", "skew": "no training exam"}


def _row(moved: Moved) -> tuple[Cell, ...]:
    return (
        Cell(moved.feature),
        Cell(f"{moved.distance:.3f}", moved.measure),
        Cell(f"{moved.threshold:g}"),
        Cell(f"{moved.chance:.3f}"),
        Cell(moved.detail),
        _VERDICTS[moved.verdict],
    )


def _blocks(comparison: Comparison) -> list[Block]:
    title = f"{_TITLES[comparison.kind]}: {comparison.subject} against {comparison.reference}"
    if comparison.remark:
        return [Note(f"{title}. {comparison.remark}", "muted")]
    tables: list[Block] = [
        Table(
            f"{title}; n = {comparison.exams:,} and {comparison.reference_exams:,} exams",
            ("Feature", "Distance", "Threshold", "Chance", "Moved", "Verdict"),
            tuple(map(_row, comparison.features)),
        )
    ]
    if comparison.unseen:
        tables.append(
            Table(
                f"Acquisition systems of the {comparison.subject} that {_UNSEEN[comparison.kind]} is of",
                ("System", "Exams"),
                tuple((Cell(unseen.system, tone="warn"), Cell(f"{unseen.exams:,}")) for unseen in comparison.unseen),
            )
        )
    return tables


def drift_section(drift: DriftSummary | None) -> Section:
    """Shows both comparisons, feature by feature."""
    if drift is None:
        return Section("drift", "Drift", (missing("drift report", "DriftMonitor"),))
    many = len(drift.alerts)
    head = (
        Note(f"✗ Alerts: {many:,}, listed at the head of this page.", "warn") if many else Note("✓ No alert.", "pass")
    )
    note = Note(
        "L-infinity is the largest difference of a value's share, Jensen-Shannon the divergence of histograms: 0 is"
        " equal, 1 disjoint. Thresholds are in schema/schema.pbtxt. Chance is what so few exams of one population"
        " exceed once in a hundred times, all features together. A feature has moved where its distance exceeds both.",
        "muted",
    )
    return Section("drift", "Drift", (head, *(b for c in drift.comparisons for b in _blocks(c)), note))
