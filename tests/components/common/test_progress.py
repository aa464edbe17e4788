"""Progress through one file, from threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.common.progress import PROGRESS_FILE_VARIABLE, Progress, advance, expect, read_progress
from tests.waiting import HANG

PROJECT = Path(__file__).parents[3]


def test_without_a_listener_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS_FILE_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    expect(3, "images")
    advance()
    assert list(tmp_path.iterdir()) == []


def test_counts_unit_and_last_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress"
    assert read_progress(path) == Progress()
    monkeypatch.setenv(PROGRESS_FILE_VARIABLE, str(path))
    expect(4, "images")
    expect(2, "images")
    advance(3, note="loss 0.5")
    advance()
    assert read_progress(path) == Progress(done=4, total=6, unit="images", note="loss 0.5")


def test_an_unfinished_last_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    path.write_text("expect\t5\timages\ndone\t1\t\ndone\t")
    assert read_progress(path) == Progress(done=1, total=5, unit="images")


def test_threads_and_processes_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress"
    monkeypatch.setenv(PROGRESS_FILE_VARIABLE, str(path))
    script = (
        "from components.common.progress import advance, expect\n"
        "expect(300, 'images')\nfor _ in range(300): advance(note='of a process')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, env=dict(os.environ)) for _ in range(2)]
    with ThreadPoolExecutor(8) as threads:
        expect(800, "images")
        list(threads.map(lambda _: advance(), range(800)))
    assert [process.wait(timeout=HANG) for process in processes] == [0, 0]
    assert read_progress(path) == Progress(done=1400, total=1400, unit="images", note="of a process")


def test_a_note_of_several_lines_is_kept_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress"
    monkeypatch.setenv(PROGRESS_FILE_VARIABLE, str(path))
    expect(2, "images")
    advance(note="first line\nsecond line")
    advance()
    assert read_progress(path).done == 2
