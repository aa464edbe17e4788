"""Building blocks of the page. Sections compose them, the template draws them, neither knows the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

Tone = Literal["", "pass", "fail", "warn", "muted"]


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


@dataclass(frozen=True)
class Tables:
    """Narrow tables side by side where the page is wide enough."""

    kind: ClassVar[str] = "tables"
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Picture:
    """An inlined picture; without ``uri`` the place says that there is none."""

    uri: str | None
    alt: str
    caption: str = ""
    detail: str = ""
    tone: Tone = ""


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
class Note:
    """A paragraph."""

    kind: ClassVar[str] = "note"
    text: str
    tone: Tone = ""


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


Block: TypeAlias = Table | Tables | Charts | Gallery | Note | Heading | Code | Fold


@dataclass(frozen=True)
class Section:
    """A section of the page and its anchor."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """A headline figure with its interval and sample size."""

    label: str
    value: str
    interval: str
    n: str
    warning: str = ""


@dataclass(frozen=True)
class Verdict:
    """The head of the page: the verdict, what was judged, the state of each gatekeeper, headline figures."""

    word: str
    sentence: str
    tone: Tone
    subject: str
    states: tuple[Cell, ...]
    tiles: tuple[Tile, ...] = field(default=())


def missing(what: str, node: str) -> Note:
    """Says that a section has nothing to show.

    Args:
        what: What is missing, such as ``ingest report``.
        node: Node that would have written it.
    """
    return Note(f"Missing: no {what} was given to this report (node {node}).", "warn")
