"""What a source offers for ingest, before any file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.common.location import Location
from components.dicom.rejections import Rejection
from components.sources.labels import Label, RowProblem


@dataclass(frozen=True)
class Candidate:
    """One file offered for ingest.

    Attributes:
        file: Path relative to the source's root, POSIX style.
        line: Row of the manifest or label table (the header is row 1, blank rows do not count), 0 for a folder.
        view: View named by the row, or None (then the file itself must say).
        label: Label given by the row, or None (then planning matches one).
        rejection: What is wrong with the row, or None.
        exam_id: Exam that the row names, known even where the row is bad; empty = none. It may identify a person.
    """

    file: str
    line: int = 0
    view: str | None = None
    label: Label | None = None
    rejection: Rejection | None = None
    exam_id: str = ""


@dataclass(frozen=True)
class Candidates:
    """All that a source offers.

    Attributes:
        root: Folder that candidates' names are relative to.
        found: Candidates sorted by file, then line.
        labels: exam_id -> label or problem, of a folder's labels file; empty for other sources.
        ignored: Suffix (or ``DICOMDIR``, or what else tells them) -> files of a folder that are no candidates.
        tables: Label files that were read.
        warnings: What a person should know of the tables or the files as a whole, sentences that identify nobody.
    """

    root: Location
    found: tuple[Candidate, ...]
    labels: Mapping[str, Label | RowProblem] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    tables: tuple[Location, ...] = ()
    warnings: tuple[str, ...] = ()
