"""Sealed files between a driver and workers: what another hand wrote, or wrote for another task, is not unpickled."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.beam.staged.stage_files import Piece, StageFiles, TaskFileError, TaskFiles
from pipeline.beam.staged.stage_tasks import Reading, StageTask, TaskReport

KEY, OTHER = bytes(32), bytes([1]) * 32
TASK = StageTask(b"Qzname's stage", {}, {}, StageFiles("folder", KEY))
READINGS = [Reading("reads", (Piece(b"b", part, 1, "file", 0, 1),)) for part in range(2)]


@pytest.fixture
def files(tmp_path: Path) -> TaskFiles:
    made = TaskFiles(str(tmp_path / "stage-0"), KEY)
    made.write_tasks(TASK, READINGS)
    return made


def test_a_task_arrives_as_it_was_given_and_nobody_else_reads_it(files: TaskFiles) -> None:
    assert files.read_task(1) == (TASK, READINGS[1])
    found = sorted(os.listdir(files.folder))
    assert found == ["stage", "task-0", "task-1"]  # nothing half written is left
    assert not any(b"Qzname" in Path(files.folder, name).read_bytes() for name in found)


def test_of_several_reports_the_last_one_counts_once(files: TaskFiles) -> None:
    assert not files.has_report(0)
    for report in (TaskReport(0, 1, ()), TaskReport(1, 5, ()), TaskReport(0, 2, ())):
        files.write_report(report)
    assert files.has_report(0)
    assert files.read_reports(2) == [TaskReport(0, 2, ()), TaskReport(1, 5, ())]
    with pytest.raises(TaskFileError, match="report-2 cannot be used"):
        files.read_reports(3)


class Harm:
    """What a pickle of another hand would do."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.remove, ("harm",)


def another_task(files: TaskFiles) -> TaskFiles:
    folder = Path(files.folder)
    (folder / "task-0").write_bytes((folder / "task-1").read_bytes())
    return files


def another_stage(files: TaskFiles) -> TaskFiles:
    other = TaskFiles(files.folder.replace("stage-0", "stage-1"), KEY)
    Path(files.folder).rename(other.folder)
    return other


def another_key(files: TaskFiles) -> TaskFiles:
    return TaskFiles(files.folder, OTHER)


def a_bare_pickle(files: TaskFiles) -> TaskFiles:
    Path(files.folder, "task-0").write_bytes(pickle.dumps(Harm()))
    return files


def an_empty_file(files: TaskFiles) -> TaskFiles:
    Path(files.folder, "stage").write_bytes(b"")
    return files


@pytest.mark.parametrize("change", [another_task, another_stage, another_key, a_bare_pickle, an_empty_file])
def test_what_was_not_written_for_this_task_is_refused_unread(
    files: TaskFiles, change: Callable[[TaskFiles], TaskFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harm").touch()
    with pytest.raises(TaskFileError, match="BREAST_DENSITY_TASK_KEY and the scratch folder must be the same"):
        change(files).read_task(0)
    assert (tmp_path / "harm").exists()
