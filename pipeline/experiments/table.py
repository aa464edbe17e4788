"""Arrange metrics in tables: the axes of an experiment along rows and columns, beside the values of the slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from rich.table import Table as RichTable
from rich.text import Text

from components.report_generator.page import Cell, Table
from components.report_generator.text import interval_text, value_text
from components.statistics.intervals import SMALL_N, Figure
from components.statistics.metrics import COMPARED, short_name
from pipeline.experiments.declarations import EXAMS, Arm, Axis, Experiment, Key, Published

# Names as in the slides. Other metrics have the short name of the catalogue.
_SLIDE_NAMES: Final[Mapping[str, str]] = {
    "accuracy": "test accuracy",
    "macro_recall": "recall",
    "macro_precision": "precision",
    "quadratic_kappa": "quadratic kappa",
    "macro_auc": "macAUC",
    "top_2_accuracy": "top-2",
    "top_3_accuracy": "top-3",
    "dense_accuracy": "superclass",
    EXAMS: "exams",
}


@dataclass(frozen=True)
class Entry:
    """One cell.

    Attributes:
        text: The value; empty if there is none.
        interval: Its 95 % interval.
        published: The value in the slides.
        small: It has too few observations for an assessment.
    """

    text: str = ""
    interval: str = ""
    published: str = ""
    small: bool = False


@dataclass(frozen=True)
class Layout:
    """A table.

    Attributes:
        caption: Title.
        headings: Headings of the columns that hold row headings.
        columns: Headings of the others.
        rows: Row headings and cells, from top to bottom.
    """

    caption: str
    headings: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Entry, ...]], ...]


def figure_name(name: str) -> str:
    """Return the name of a metric as the slides have it."""
    return _SLIDE_NAMES.get(name) or short_name(name)


def _difference(entry: Entry) -> Entry:
    """Show the sign of a difference; differences of shares are in points."""
    sign = "" if entry.text.startswith(("-", "undefined")) else "+"
    return replace(entry, text=sign + entry.text.replace("%", "points"), interval=entry.interval.replace("%", "points"))


def _entry(name: str, figure: Figure | None, published: float | None, signed: bool) -> Entry:
    if figure is None:
        return Entry()
    if name == EXAMS:
        return Entry(f"{figure.n:,}", small=figure.n < SMALL_N)
    beside = "" if published is None else value_text(name, published)
    entry = Entry(value_text(name, figure.value), interval_text(name, figure), beside, figure.n < SMALL_N)
    return _difference(entry) if signed else entry


def _group_of(experiment: Experiment) -> Mapping[str, Arm]:
    return {arm.name: arm for arm in experiment.arms}


def lay_out(
    experiment: Experiment, figures: Mapping[Key, Figure], published: Published | None, differences: bool = False
) -> Layout:
    """Arrange metrics in the form of an experiment.

    Args:
        experiment: Defines rows and columns.
        figures: Metrics by arm, part and name; arms and parts are shown in this order.
        published: Values of the slides to show beside them.
        differences: The values are differences from the baseline, and are shown with their sign.

    Returns:
        The table. Axes with one value along the rows are not shown.
    """
    names: dict[Axis, list[str]] = {
        "arm": list(dict.fromkeys(arm for arm, _, _ in figures)),
        "part": list(dict.fromkeys(part for _, part, _ in figures)),
        "figure": [name for name in experiment.figures if not differences or name in COMPARED],
    }
    axes: tuple[Axis, ...] = (*experiment.rows, experiment.columns)
    rest: tuple[Axis, ...] = tuple(axis for axis in ("arm", "part", "figure") if axis not in axes)
    fixed = {axis: names[axis][0] for axis in rest}
    combinations: list[dict[Axis, str]] = [{}]
    for axis in experiment.rows:
        combinations = [{**row, axis: value} for row in combinations for value in names[axis]]
    arms = _group_of(experiment)
    grouped = any(arm.group for arm in experiment.arms)
    rows = []
    for row in combinations:
        entries = []
        for column in names[experiment.columns]:
            place = {**fixed, **row, experiment.columns: column}
            key = (place["arm"], place["part"], place["figure"])
            beside = published.figures.get(key) if published else None
            entries.append(_entry(key[2], figures.get(key), beside, differences))
        headings: list[str] = []
        for axis in experiment.rows:
            if axis == "arm" and grouped:
                arm = arms[row["arm"]]
                headings += [arm.group, arm.label]
            else:
                headings.append(figure_name(row[axis]) if axis == "figure" else row[axis])
        if any(entry.text for entry in entries):
            rows.append((tuple(headings), tuple(entries)))
    columns = names[experiment.columns]
    shown = [figure_name(name) for name in columns] if experiment.columns == "figure" else columns
    count = len(experiment.rows) + (1 if grouped and "arm" in experiment.rows else 0)
    return Layout(
        f"{experiment.title}: difference from {experiment.baseline}, exam by exam" if differences else experiment.title,
        ("",) * count,
        tuple(shown),
        tuple(rows),
    )


def _unrepeated(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Blank outer headings that repeat those above."""
    shown: list[tuple[str, ...]] = []
    before: tuple[str, ...] = ()
    for row in rows:
        same = 0
        while same < len(row) - 1 and row[: same + 1] == before[: same + 1]:
            same += 1
        shown.append(("",) * same + row[same:])
        before = row
    return shown


def rich_table(layout: Layout) -> RichTable:
    """Return a table for a terminal."""
    table = RichTable(title=layout.caption, title_justify="left")
    for heading in layout.headings:
        table.add_column(heading, no_wrap=True)
    for column in layout.columns:
        table.add_column(column)
    shown = _unrepeated([headings for headings, _ in layout.rows])
    for number, (headings, (_, entries)) in enumerate(zip(shown, layout.rows, strict=True)):
        if number and len(headings) > 1 and headings[0]:
            table.add_section()
        table.add_row(*headings, *map(_rich_cell, entries))
    return table


def _rich_cell(entry: Entry) -> Text:
    text = Text(entry.text)
    if entry.interval:
        text.append(f"  {entry.interval}", "dim")
    if entry.published:
        text.append(f"\nslides {entry.published}", "cyan")
    return text


def page_tables(layout: Layout) -> list[Table]:
    """Return blocks of the HTML page: one table per outer heading if there are several headings."""
    outer = len(layout.headings) > 1
    tables = []
    for name, rows in groupby(layout.rows, lambda row: row[0][0] if outer else ""):
        caption = f"{layout.caption}: {name}" if outer else layout.caption
        cells = tuple((Cell(", ".join(headings[outer:])), *map(_page_cell, entries)) for headings, entries in rows)
        tables.append(Table(caption, ("\u00a0", *layout.columns), cells))
    return tables


def _page_cell(entry: Entry) -> Cell:
    detail = " · ".join(filter(None, (entry.interval, entry.published and f"slides {entry.published}")))
    return Cell(entry.text, detail, "muted" if entry.small else "")
