"""Section "Drift": new exams compared with earlier ones, and held-out exams compared with the training exams."""

from __future__ import annotations

from typing import Final

from components.drift_monitor import Comparison, DriftSummary, Moved, PushedFamiliarity, shown
from components.report_generator.page import Block, Cell, Note, Section, Table, missing_note

_VERDICTS: Final = {
    "alert": Cell("✗ changed", tone="fail"),
    "chance": Cell("too few exams to tell", tone="muted"),
    "alike": Cell("✓ no change", tone="pass"),
}
_TITLES: Final = {"drift": "Drift", "skew": "Skew"}
_UNSEEN: Final = {"drift": "earlier training exams", "skew": "training exams"}


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
            ("Feature", "Distance", "Threshold", "Chance level", "Change", "Verdict"),
            tuple(map(_row, comparison.features)),
        )
    ]
    if comparison.unseen:
        tables.append(
            Table(
                f"Acquisition systems of the {comparison.subject} without {_UNSEEN[comparison.kind]}",
                ("System", "Exams"),
                tuple((Cell(unseen.system, tone="warn"), Cell(f"{unseen.exams:,}")) for unseen in comparison.unseen),
            )
        )
    return tables


def _familiarity(found: PushedFamiliarity) -> Note:
    if found.unlike is None or found.expected is None:
        return Note(found.remark, "muted")
    text = f"{shown(found.unlike)} of {found.unlike.n:,} exams of the {found.subject} are unlike the training exams of"
    text += f" model {found.version}, the latest one when they were compared; {shown(found.expected)} are expected."
    return Note(f"✗ {text}", "warn") if found.is_alert else Note(f"✓ {text}", "pass")


def drift_section(drift: DriftSummary | None) -> Section:
    """Show both comparisons, one row per feature, and what the pushed model knows of the new exams."""
    if drift is None:
        return Section("drift", "Drift", (missing_note("drift report", "DriftMonitor"),))
    many = len(drift.alerts)
    head = (
        Note(f"✗ Alerts: {many:,}, listed at the top of this page.", "warn") if many else Note("✓ No alerts.", "pass")
    )
    note = Note(
        "L-infinity: largest difference between the shares of a value. Jensen-Shannon: divergence of histograms. 0:"
        " equal, 1: disjoint. Thresholds are in schema/schema.pbtxt. Chance level: with this number of exams from one"
        " population, at least one feature exceeds it in 1 % of cases. A feature has changed if its distance exceeds"
        " both the threshold and the chance level.",
        "muted",
    )
    known = (_familiarity(drift.familiarity),) if drift.familiarity else ()
    return Section("drift", "Drift", (head, *known, *(b for c in drift.comparisons for b in _blocks(c)), note))
