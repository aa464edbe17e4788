"""Show the progress of long work: live lines on a terminal, plain lines in a log."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from components.common.progress import Progress, read_progress
from components.dicom_example_gen.rejection_summary import rejection_warnings
from components.dicom_example_gen.report import SUMMARY_FILE

_REFRESH_S: Final = 0.5
_PLAIN_LINE_S: Final = 20.0


@dataclass(frozen=True)
class NodeResult:
    """The result of a node.

    Attributes:
        node: Node id.
        cached: TFX used the outputs of an earlier execution.
        seconds: Duration, s.
        outputs: URI of each output artifact, by output name.
    """

    node: str
    cached: bool
    seconds: float
    outputs: dict[str, str]


def duration(seconds: float) -> str:
    """Return a duration as text: ``4.2 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def progress_text(progress: Progress, seconds: float) -> str:
    """Return the progress of a node as text: items, items per second, time left, last note."""
    if not progress.done:
        return ""
    rate = progress.done / max(seconds, 1e-6)
    parts = [f"{progress.done}/{progress.total or '?'} {progress.unit}", f"{rate:.1f} {progress.unit}/s"]
    if progress.total > progress.done:
        parts.append(f"{duration((progress.total - progress.done) / rate)} left")
    if progress.note:
        parts.append(progress.note)
    return ", ".join(parts)


def _warnings(result: NodeResult) -> list[str]:
    """Return the warnings of DicomExampleGen, and the reasons why it rejected many images."""
    folder = result.outputs.get("ingest_report")
    if folder is None:
        return []
    summary = json.loads(Path(folder, SUMMARY_FILE).read_text(encoding="utf-8"))
    return [*summary["warnings"], *rejection_warnings(summary["found"], summary["by_reason"])]


@dataclass(frozen=True)
class _Watched:
    """A node that works.

    Attributes:
        label: Number and name.
        progress_file: Where it writes its progress.
        started: Monotonic time, s.
    """

    label: str
    progress_file: Path
    started: float

    def state(self) -> str:
        """Return its line."""
        seconds = time.monotonic() - self.started
        return f"{self.label:<34} {duration(seconds):>9}  {progress_text(read_progress(self.progress_file), seconds)}"


class ConsoleObserver:
    """Show the nodes of a run while they work, one or several at once, and leave one line per node."""

    def __init__(self, terminal: TextIO):
        """Create the observer.

        Args:
            terminal: Where to write: live lines if it is a terminal, plain lines otherwise.
        """
        self._console = Console(file=terminal, highlight=False, soft_wrap=True)
        self._nodes: dict[str, _Watched] = {}
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self, node: str, number: int, count: int, progress_file: Path) -> None:
        """Begin to watch a node."""
        watched = _Watched(f"[{number:>2}/{count}] {node}", progress_file, time.monotonic())
        self._nodes = {**self._nodes, node: watched}
        if self._watcher is None:
            self._stop.clear()
            watch = self._watch_live if self._console.is_terminal else self._watch_plain
            self._watcher = threading.Thread(target=watch, daemon=True)
            self._watcher.start()

    def finish(self, result: NodeResult) -> None:
        """Print the final line of a node, and the warnings of ingest below it."""
        watched = self._nodes[result.node]
        progress = read_progress(watched.progress_file)
        self._nodes = {node: other for node, other in self._nodes.items() if node != result.node}
        if not self._nodes:
            self.stop()
        if result.cached:
            self._console.print(f"{watched.label:<34} cached", markup=False)
        else:
            done = f"{progress.done} {progress.unit}" if progress.done > 1 else ""
            note = f"  ({progress.note})" if progress.note else ""
            line = f"{watched.label:<34} {duration(result.seconds):>9}  {done}{note}"
            self._console.print(line.rstrip(), markup=False)
        for warning in _warnings(result):
            self._console.print(f"warning  {warning}", markup=False)

    def stop(self) -> None:
        """Stop watching; a failed run calls this too."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def _watch_live(self) -> None:
        with Live(console=self._console, transient=True, refresh_per_second=4) as live:
            while not self._stop.wait(_REFRESH_S):
                states = "\n".join(watched.state() for watched in self._nodes.values())
                live.update(Text(states, overflow="ellipsis", no_wrap=True))

    def _watch_plain(self) -> None:
        while not self._stop.wait(_PLAIN_LINE_S):
            for watched in self._nodes.values():
                self._console.print(watched.state().rstrip(), markup=False)


@contextmanager
def watching(terminal: TextIO) -> Iterator[ConsoleObserver]:
    """Yield an observer that stops watching at the end, also after an error."""
    observer = ConsoleObserver(terminal)
    try:
        yield observer
    finally:
        observer.stop()
