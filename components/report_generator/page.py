"""Blocks of a page, and their rendering to HTML. Sections compose blocks; only the template knows how they look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Literal, TypeAlias

from components.common.templates import render
from schema.features import DENSITY_CLASSES

Tone = Literal["", "pass", "fail", "warn", "muted"]
_NUMBER: Final = re.compile(r"[-+−]?\d[\d.,]*(\s?%)?( of \d[\d,]*)?")
_NO_NUMBER: Final = ("", "–", "undefined")


@dataclass(frozen=True)
class Cell:
    """A table cell: text, smaller detail below it, and a tone, which never carries information that the text lacks."""

    text: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column holds the row headings. An empty ``detail`` of a cell is not drawn."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """True for each column that holds only numbers; these columns are aligned to the right."""
        texts = [[row[column].text for row in self.rows] for column in range(len(self.columns))]
        return tuple(
            any(column) and all(t in _NO_NUMBER or _NUMBER.fullmatch(t) is not None for t in column) for column in texts
        )


@dataclass(frozen=True)
class Tables:
    """Narrow tables, side by side if the page is wide enough."""

    kind: ClassVar[str] = "tables"
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Mark:
    """A value and its interval on an axis. Positions are in per cent of the axis, ``None`` if nothing is drawn."""

    text: str
    interval: str = ""
    at: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Axis:
    """The axis of one column of an interval figure. Positions are in per cent of the axis."""

    label: str
    ticks: tuple[tuple[float, str], ...]
    reference: float | None = None


@dataclass(frozen=True)
class IntervalLine:
    """A row of an interval figure. If ``few`` is true, the dots are hollow and the row is flagged as too small."""

    label: str
    n: int
    few: bool
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Intervals:
    """Metrics with their 95 % intervals, one row per slice, one column per metric."""

    kind: ClassVar[str] = "intervals"
    caption: str
    axes: tuple[Axis, ...]
    groups: tuple[tuple[str, tuple[IntervalLine, ...]], ...]
    note: str = ""


@dataclass(frozen=True)
class ConfusionCell:
    """A cell of a confusion matrix: count, share of the row and shade (0 to 10)."""

    count: str
    share: str
    shade: int


@dataclass(frozen=True)
class ConfusionRow:
    """One row of a confusion matrix: the predictions for one label."""

    density: str
    n: str
    cells: tuple[ConfusionCell, ...]


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: one row per label, one column per predicted class."""

    kind: ClassVar[str] = "confusion"
    caption: str
    rows: tuple[ConfusionRow, ...]


@dataclass(frozen=True)
class Confusions:
    """Confusion matrices, side by side if the page is wide enough."""

    kind: ClassVar[str] = "confusions"
    matrices: tuple[Confusion, ...]


@dataclass(frozen=True)
class Segment:
    """The part of a bar that belongs to one density class, in per cent. ``text`` is empty if it does not fit."""

    density: str
    start: float
    width: float
    text: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars that show class distributions, one row each: name, segments, total."""

    kind: ClassVar[str] = "bars"
    caption: str
    bars: tuple[tuple[str, tuple[Segment, ...], str], ...]


@dataclass(frozen=True)
class Picture:
    """An inlined picture. If ``uri`` is None, the page shows a placeholder. Sizes are in pixels, 0 if unknown."""

    uri: str | None
    alt: str
    caption: str = ""
    detail: str = ""
    tone: Tone = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Charts:
    """Charts, side by side if the page is wide enough."""

    kind: ClassVar[str] = "charts"
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Gallery:
    """Images in four columns (two on a phone)."""

    kind: ClassVar[str] = "gallery"
    title: str
    pictures: tuple[Picture, ...]
    note: str = ""


@dataclass(frozen=True)
class Case:
    """An explained view: its pictures side by side, the prediction, and whether the prediction is correct."""

    pictures: tuple[Picture, ...]
    right: bool
    title: str
    grade: str
    label: str
    probabilities: tuple[Segment, ...]
    probability_text: str
    detail: str


@dataclass(frozen=True)
class CaseGroup:
    """Explained views that belong together, and a sentence about each kind that is missing."""

    title: str
    cases: tuple[Case, ...]
    lacking: str = ""


@dataclass(frozen=True)
class Cases:
    """Groups of explained views, two in a row (one on a phone). ``density`` is shown in the heading if it is given."""

    kind: ClassVar[str] = "cases"
    title: str
    groups: tuple[CaseGroup, ...]
    note: str = ""
    density: str = ""


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    kind: ClassVar[str] = "note"
    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    kind: ClassVar[str] = "items"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Code:
    """Preformatted text."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Fold:
    """Blocks that are hidden until the reader opens them."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: tuple[Block, ...]


Block: TypeAlias = (
    Table | Tables | Intervals | Confusions | Bars | Charts | Gallery | Cases | Note | Items | Heading | Code | Fold
)


@dataclass(frozen=True)
class Section:
    """A section of the page and its anchor."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """A main metric on its axis, with its sample size."""

    label: str
    mark: Mark
    axis: Axis
    n: str
    few: bool


@dataclass(frozen=True)
class Verdict:
    """The head of the page.

    Attributes:
        word: The verdict.
        sentence: The reason.
        tone: Colour of the verdict.
        subject: What was judged.
        states: Result of each check.
        tiles: Main metrics.
        warnings: What a reader must know before trusting the metrics.
    """

    word: str
    sentence: str
    tone: Tone
    subject: str
    states: tuple[Cell, ...]
    tiles: tuple[Tile, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())


def missing_note(what: str, node: str) -> Note:
    """Return the note of a section that has nothing to show.

    Args:
        what: Name of the missing input, such as ``ingest report``.
        node: Node that writes this input.
    """
    return Note(f"Missing: no {what} (output of node {node}).", "warn")


# These files are part of the cache key of each node that uses this module, see fingerprint.py.
DATA_FILES: Final = ("templates/blocks.html.j2", "templates/report.css", "templates/report.html.j2")


def render_page(title: str, about: Sequence[str], sections: Sequence[Section], verdict: Verdict | None = None) -> str:
    """Render a page.

    Equal arguments give equal bytes. The page loads nothing: style and pictures are inlined, there is no script, and a
    content security policy forbids requests.

    Args:
        title: Heading of the page.
        about: Lines below the heading, such as name and date of the run.
        sections: Sections in their order; the contents list names all of them.
        verdict: Head of the page; None if nothing was judged.

    Returns:
        HTML text, to be written as UTF-8.
    """
    values = {"title": title, "about": about, "sections": sections, "verdict": verdict, "densities": DENSITY_CLASSES}
    return render(Path(__file__).parent, DATA_FILES, "report.html.j2", **values)
