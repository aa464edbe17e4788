"""Section "Familiarity": how many test exams the model calls unlike its training exams."""

from __future__ import annotations

from typing import Final

from components.report_generator.artifacts import Familiarity, FamiliaritySlice
from components.report_generator.page import Block, Cell, Note, Section, Table, missing_note
from components.report_generator.text import n_cell, number
from components.statistics.intervals import Figure

_LEVELS: Final = {"0.05": "5 %", "0.25": "25 %", "0.5": "median", "0.75": "75 %", "0.95": "95 %"}
_EXPECTED: Final = 0.05  # share of familiar exams that the threshold calls unlike


def _share_cell(unlike: Figure) -> Cell:
    if unlike.value is None:
        return Cell("undefined", tone="muted")
    low, high = unlike.ci95 or (0.0, 1.0)
    return Cell(f"{100 * unlike.value:.1f}\u00a0%", f"{100 * low:.1f} to {100 * high:.1f}\u00a0%")


def _row(found: FamiliaritySlice) -> tuple[Cell, ...]:
    name = ", ".join(found.slice.values()) or "All"
    levels = (Cell(number(found.quantiles.get(level), 2)) for level in _LEVELS)
    return (Cell(name), n_cell(found.n), _share_cell(found.unlike), *levels)


def familiarity_section(familiarity: Familiarity | None) -> Section:
    """Show the share of test exams that are unlike the training exams, and the distribution of their familiarity."""
    blocks: list[Block] = []
    if familiarity is None:
        blocks.append(missing_note("familiarity of the test exams", "Evaluator"))
    elif not familiarity.available:
        text = f"The model cannot tell whether an exam is unlike its training exams: {familiarity.reason}."
        blocks.append(Note(text, "warn"))
    else:
        overall = familiarity.overall
        low = overall.unlike.ci95[0] if overall and overall.unlike.ci95 else 0.0
        if low > _EXPECTED:
            text = "More test exams than expected are unlike the training exams: the splits differ."
            blocks.append(Note(text, "warn"))
        columns = ("Exams", "n", "Unlike the training exams", *_LEVELS.values())
        note = (
            "Familiarity: threshold / distance of the pictures from the training pictures; below 1 is unlike them. The"
            " threshold is made for 5 % of such exams of the training systems. It says nothing about whether a grade is"
            " right. Below each share: its 95 % interval."
        )
        rows = tuple(_row(found) for found in familiarity.slices)
        blocks.append(Table("Familiarity of the test exams", columns, rows, note))
    return Section("familiarity", "Familiarity", tuple(blocks))
