"""Progress of a node, passed from Beam workers to the console through one append-only file.

Workers may be threads or processes, so the console cannot read counters in their memory. Each event is one short
line, appended with ``O_APPEND``, which POSIX makes atomic. If no listener set the file, the calls do nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROGRESS_FILE_VARIABLE: Final = "BREAST_DENSITY_PROGRESS_FILE"


@dataclass(frozen=True)
class Progress:
    """Progress of a node.

    Attributes:
        done: Items finished.
        total: Items expected, 0 while unknown.
        unit: What is counted, such as ``images`` or ``epochs``.
        note: Last remark, such as a loss.
    """

    done: int = 0
    total: int = 0
    unit: str = "items"
    note: str = ""


def _append(line: str) -> None:
    path = os.environ.get(PROGRESS_FILE_VARIABLE)
    if not path:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def expect(total: int, unit: str) -> None:
    """Announce ``total`` further items of ``unit``."""
    _append(f"expect\t{total}\t{unit}\n")


def advance(count: int = 1, note: str = "") -> None:
    """Report ``count`` items as finished, with an optional remark."""
    _append(f"done\t{count}\t{' '.join(note.split())}\n")  # an event is one line


def read_progress(path: Path) -> Progress:
    """Read a progress file; an absent or empty file means no progress."""
    done, total, unit, note = 0, 0, "items", ""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return Progress()
    for line in lines:
        kind, count, text = line.split("\t", 2)
        if kind == "expect":
            if text != unit:  # the node's next stage counts something else
                done, total = 0, 0
            total, unit = total + int(count), text
        else:
            done, note = done + int(count), text or note
    return Progress(done, total, unit, note)
