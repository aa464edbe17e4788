"""CPU time and memory of all processes of some sessions, from ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One process.

    Attributes:
        cpu: Seconds of user and system time so far, its own and that of children which have ended.
        peak: Largest resident size so far, MiB.
    """

    cpu: float
    peak: float


def _process(folder: Path, sessions: Collection[int]) -> Process | None:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        if int(fields[3]) not in sessions:
            return None
        [peak] = [line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM:")]
    except (OSError, ValueError):  # it has just ended, or is a zombie
        return None
    return Process(sum(map(int, fields[11:15])) / _TICK, int(peak.split()[1]) / 1024)


def processes_of(sessions: Collection[int]) -> dict[int, Process]:
    """List the processes of sessions, which are known by the id of their first process."""
    found = {int(path.name): _process(path, sessions) for path in Path("/proc").iterdir() if path.name.isdigit()}
    return {number: process for number, process in found.items() if process is not None}


def cpu_between(before: Mapping[int, Process], after: Mapping[int, Process]) -> float:
    """Return the CPU seconds that sessions have used; the time of an ended process counts as its parent's."""
    return sum(process.cpu for process in after.values()) - sum(process.cpu for process in before.values())
