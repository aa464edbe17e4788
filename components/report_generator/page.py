"""Building blocks of a page. Sections compose them, the template draws them, neither knows the other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, TypeAlias

Tone = Literal["", "pass", "fail", "warn", "muted"]
_NUMBER: Final = re.compile(r"[-+−]?\d[\d.,]*(\s?%)?( of \d[\d,]*)?")
_NO_NUMBER: Final = ("", "–", "undefined")


@dataclass(frozen=True)
class Cell:
    """A table cell: text, smaller detail under it, and a tone that is never the only sign."""

    text: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column holds row headings. An empty ``detail`` of a cell is not drawn."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Tells which columns hold numbers alone, and are aligned to the right."""
        texts = [[row[column].text for row in self.rows] for column in range(len(self.columns))]
        return tuple(
            any(column) and all(t in _NO_NUMBER or _NUMBER.fullmatch(t) is not None for t in column) for column in texts
        )


@dataclass(frozen=True)
class Tables:
    """Narrow tables side by side where the page is wide enough."""

    kind: ClassVar[str] = "tables"
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Mark:
    """A figure on an axis; places in per cent of the axis, ``None`` where there is nothing to draw."""

    text: str
    interval: str = ""
    at: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Axis:
    """What one column of an interval figure measures; places in per cent of the axis."""

    label: str
    ticks: tuple[tuple[float, str], ...]
    reference: float | None = None


@dataclass(frozen=True)
class IntervalLine:
    """A line of an interval figure; ``few`` observations are drawn hollow and named."""

    label: str
    n: int
    few: bool
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Intervals:
    """Figures with their 95 % intervals, one line a slice, one column a metric."""

    kind: ClassVar[str] = "intervals"
    caption: str
    axes: tuple[Axis, ...]
    groups: tuple[tuple[str, tuple[IntervalLine, ...]], ...]
    note: str = ""


@dataclass(frozen=True)
class ConfusionCell:
    """Count, share of the row and shade (0 to 10) of a cell."""

    count: str
    share: str
    shade: int


@dataclass(frozen=True)
class ConfusionRow:
    """What has one label, and how it was graded."""

    density: str
    n: str
    cells: tuple[ConfusionCell, ...]


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix; rows the label, columns the grade of the model."""

    kind: ClassVar[str] = "confusion"
    caption: str
    rows: tuple[ConfusionRow, ...]


@dataclass(frozen=True)
class Confusions:
    """Confusion matrices side by side where the page is wide enough."""

    kind: ClassVar[str] = "confusions"
    matrices: tuple[Confusion, ...]


@dataclass(frozen=True)
class Segment:
    """A density class's part of a bar, in per cent of it; ``text`` is empty where it would not fit."""

    density: str
    start: float
    width: float
    text: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars that show how classes are shared out, one line each: name, segments, total."""

    kind: ClassVar[str] = "bars"
    caption: str
    bars: tuple[tuple[str, tuple[Segment, ...], str], ...]


@dataclass(frozen=True)
class Picture:
    """An inlined picture; without ``uri`` the place says that there is none. Size in pixels, 0 if not known."""

    uri: str | None
    alt: str
    caption: str = ""
    detail: str = ""
    tone: Tone = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Charts:
    """Charts side by side where the page is wide enough."""

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
    """A graded view: its picture, its heat map, what the model gave for it, and whether that is the label."""

    image: Picture | None
    overlay: Picture
    right: bool
    title: str
    grade: str
    label: str
    probabilities: tuple[Segment, ...]
    probability_text: str
    detail: str


@dataclass(frozen=True)
class CaseGroup:
    """Graded views that belong together, and a sentence where a kind of them is lacking."""

    title: str
    cases: tuple[Case, ...]
    lacking: str = ""


@dataclass(frozen=True)
class Cases:
    """Graded views in groups, four in a row (one on a phone); ``density`` marks the heading of a class."""

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
    """Blocks that are folded away until asked for."""

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
    """A headline figure on its axis, with its sample size."""

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
        sentence: Why.
        tone: How it is coloured.
        subject: What was judged.
        states: Each gatekeeper.
        tiles: Headline figures.
        cautions: What a reader must know before believing them.
    """

    word: str
    sentence: str
    tone: Tone
    subject: str
    states: tuple[Cell, ...]
    tiles: tuple[Tile, ...] = field(default=())
    cautions: tuple[str, ...] = field(default=())


def missing(what: str, node: str) -> Note:
    """Says that a section has nothing to show.

    Args:
        what: What is missing, such as ``ingest report``.
        node: Node that would have written it.
    """
    return Note(f"Missing: no {what} was given to this report (node {node}).", "warn")
