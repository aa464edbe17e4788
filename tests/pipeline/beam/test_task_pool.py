"""The pool of Python workers, as a TaskManager speaks to it; ``tests/e2e/test_flink_cluster.py`` has a real one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.beam.requirements import KEY_VARIABLE, find_task_key
from pipeline.beam.staged.stage_files import TaskFiles
from pipeline.beam.staged.stage_tasks import Reading, StageTask, TaskReport
from pipeline.beam.staged.staged_runner import Execute, StagedRunner
from tests.waiting import HANG, wait_until

pytestmark = pytest.mark.slow

ENVIRONMENT = {**os.environ, KEY_VARIABLE: "a key of the tests of the pool"}


@pytest.fixture(scope="module")
def pool() -> Iterator[Path]:
    """The socket of a pool."""
    with tempfile.TemporaryDirectory(prefix="pool-") as folder:  # a socket's path has 107 bytes at most
        path = Path(folder) / "tasks"
        command = [sys.executable, "-m", "pipeline.beam.staged.task_pool", str(path)]
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        try:

            def alive() -> None:
                assert process.poll() is None

            wait_until(path.exists, alive)
            yield path
            process.send_signal(signal.SIGTERM)
            assert process.wait(HANG) == 0
        finally:
            process.kill()
            process.wait()


def connected(pool: Path, folder: str, number: int) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(HANG)
    connection.connect(str(pool))
    connection.sendall(f"{folder}\t{number}\n".encode())
    return connection


def ask(pool: Path, folder: str, number: int) -> str:
    with connected(pool, folder, number) as connection, connection.makefile(encoding="utf-8") as answer:
        return answer.read()


class Runner(StagedRunner):
    """Has a pool do all tasks, each of them twice."""

    def __init__(self, pool: Path, scratch: Path):
        super().__init__()
        self._pool, self._scratch = pool, scratch
        self.answers: list[str] = []

    def engine(self, options: PipelineOptions) -> tuple[Execute, int, str]:
        return self._execute, 2, str(self._scratch)

    def _execute(self, task: StageTask, readings: Sequence[Reading]) -> list[TaskReport]:
        files = TaskFiles(f"{task.files.folder}/stage-{len(self.answers)}", find_task_key(ENVIRONMENT))
        files.write_tasks(task, readings)
        numbers = [number for number in range(len(readings)) for _ in range(2)]
        self.answers += [ask(self._pool, files.folder, number) for number in numbers]
        assert {*self.answers} == {"done"}, self.answers[-1][-3000:]
        return files.read_reports(len(readings))


def test_a_task_that_is_given_again_is_not_done_again(pool: Path, tmp_path: Path) -> None:
    runner, traces = Runner(pool, tmp_path / "scratch"), tmp_path / "traces"
    traces.mkdir()

    def count(number: int) -> int:  # nested: a worker could not import this module
        (traces / f"{number}-{time.monotonic_ns()}").touch()
        return number

    with beam.Pipeline(runner=runner) as pipeline:
        _ = pipeline | beam.Create([1, 2, 3]) | beam.Map(count) | beam.GroupBy(lambda n: n % 2)
    assert sorted(path.name[0] for path in traces.iterdir()) == ["1", "2", "3"]


def test_an_error_is_answered_with_its_traceback(pool: Path, tmp_path: Path) -> None:
    answer = ask(pool, str(tmp_path / "nowhere"), 0)
    assert answer.startswith("Traceback")
    assert "TaskFileError" in answer


def test_a_task_ends_when_its_task_manager_hangs_up(pool: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def sleep(number: int) -> int:
        pid_file.write_text(str(os.getpid()))
        time.sleep(HANG)
        return number

    class HangsUp(Runner):
        def _execute(self, task: StageTask, readings: Sequence[Reading]) -> list[TaskReport]:
            files = TaskFiles(f"{task.files.folder}/stage", find_task_key(ENVIRONMENT))
            files.write_tasks(task, readings)
            with connected(self._pool, files.folder, 0):
                wait_until(lambda: pid_file.exists() and pid_file.read_text())
            raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):  # noqa: SIM117 - the pipeline runs when it is left
        with beam.Pipeline(runner=HangsUp(pool, tmp_path / "scratch")) as pipeline:
            _ = pipeline | beam.Impulse() | beam.Map(lambda _: 1) | beam.Map(sleep)
    process = Path(f"/proc/{pid_file.read_text()}")
    wait_until(lambda: not process.exists(), limit=HANG / 2)  # no zombie either


def test_a_pool_without_a_key_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.beam.staged.task_pool", str(tmp_path / "s")]
    environment = {name: value for name, value in ENVIRONMENT.items() if name != KEY_VARIABLE}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("Set either BREAST_DENSITY_TASK_KEY or")
