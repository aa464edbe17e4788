"""Processes of a cluster on this machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

_START: Final = 120.0  # seconds; a busy machine takes a while


class ClusterError(RuntimeError):
    """The cluster did not start; the message ends with the log's last lines."""


def said(log: Path, pattern: str) -> str | None:
    """Finds a pattern's first group in a log; None where it is not there yet."""
    found = re.search(pattern, log.read_text(errors="replace"))
    return found.group(1) if found else None


def wait(until: Callable[[], str | None], process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits for what a starting process is to say or do.

    Raises:
        ClusterError: It ended, or did not within two minutes.
    """
    deadline = time.monotonic() + _START
    while (found := until()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            ended = " | ".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ClusterError(f"{log.name}: the process did not come up within {_START:.0f} s: {ended}")
        time.sleep(0.1)
    return found


def start(arguments: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a process in a group of its own, which writes to a log."""
    with log.open("wb") as output:
        return subprocess.Popen(arguments, env=environment, stdout=output, stderr=output, start_new_session=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def stop_all(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ends processes."""
    for process in processes:
        stop(process)
