"""The nodes that use Beam on a real Flink cluster that loses workers: the DirectRunner's records all the same.

``make test-flink`` fetches Flink and Java; without them this test skips.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from apache_beam import Create, Map, Pipeline
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.beam.requirements import KEY_VARIABLE
from pipeline.beam.staged.flink_runner import FlinkError, FlinkStageError, FlinkStageRunner
from pipeline.beam.staged.stage_job import JAR
from pipeline.beam.staged.stage_job.build import compile_job
from tests.clusters.flink import FlinkCluster, find_flink, flink_cluster
from tests.clusters.processes import free_port, stop
from tests.e2e.beam_nodes import Nodes, Outputs, assert_equal, outputs_though_workers_die, settings
from tests.waiting import LONG, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
LOST = "is no longer reachable"  # as the JobManager says it of a TaskManager


def kill_a_worker(cluster: FlinkCluster, nodes: Nodes, index: int, begun: Callable[[], bool]) -> None:
    """Kills a TaskManager and its pool as soon as something is true; the JobManager must notice."""
    log = cluster.folder / "jobmanager.log"
    nodes.until(begun)
    before = log.read_text().count(LOST)
    cluster.kill_worker(index)
    nodes.until(lambda: log.read_text().count(LOST) > before)


@pytest.fixture(scope="session")  # before the others of this scope, which are for nothing without them
def programs() -> tuple[Path, Path]:
    """Folders of Flink and of Java."""
    found = find_flink(os.environ)
    if found is None:
        pytest.skip("Flink or Java is not here; make test-flink fetches them.")
    return found


@pytest.fixture(scope="module")
def cluster(programs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """A JobManager; the tests add workers."""
    with flink_cluster(*programs, tmp_path_factory.mktemp("flink") / "cluster", workers=0) as running:
        yield running


def test_what_python_and_flink_say_of_a_failure_reaches_the_user(
    cluster: FlinkCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, cluster.environment[KEY_VARIABLE])

    def divide(numbers: list[int], master: str = cluster.master) -> None:
        arguments = [f"--flink_master={master}", f"--flink_scratch={tmp_path / 'scratch'}"]
        with Pipeline(runner=FlinkStageRunner(), options=PipelineOptions(arguments)) as pipeline:
            _ = pipeline | Create(numbers) | Map(lambda number: 12 // number)

    with pytest.raises(FlinkError, match="has no TaskManager: start one"):
        divide([1])
    cluster.add_worker()
    cluster.wait()
    divide([1, 2, 3])
    wait_for_the_pool(cluster, lambda: divide([1, 2, 3]))
    with pytest.raises(FlinkStageError, match=r"(?s)^Traceback .*ZeroDivisionError") as raised:
        divide([1, 0])
    assert "\tat " not in str(raised.value)
    monkeypatch.setenv(KEY_VARIABLE, "another key than the pools have")
    with pytest.raises(FlinkStageError, match=f"{KEY_VARIABLE} and the scratch folder must be the same"):
        divide([1])
    with pytest.raises(FlinkError, match="cannot be reached"):
        divide([1], f"127.0.0.1:{free_port()}")
    assert list((tmp_path / "scratch").iterdir()) == []


def wait_for_the_pool(cluster: FlinkCluster, run: Callable[[], None]) -> None:
    """Runs a pipeline while the pool is away: a TaskManager may come up long before its pool, and no task fails."""
    log = cluster.folder / "jobmanager.log"

    def deployed() -> int:
        return log.read_text().count("to RUNNING")

    before = deployed()
    stop(cluster.workers[0][1])
    with ThreadPoolExecutor(1) as driver:
        running = driver.submit(run)
        wait_until(lambda: deployed() != before, pause=0.1)
        cluster.restart_pool(0)
        running.result(LONG)
    assert "to FAILED" not in log.read_text()


def test_every_node_gives_what_the_direct_runner_gives_though_task_managers_are_killed(
    programs: tuple[Path, Path],
    cluster: FlinkCluster,
    start_nodes: Callable[[Path, Mapping[str, str]], Nodes],
    archive_of_nodes: Path,
    direct_outputs: Callable[[], Outputs],
    tmp_path: Path,
) -> None:
    while len(cluster.workers) < 2:  # one is left by the test above
        cluster.add_worker()
    cluster.wait()
    beam = {"runner": "flink", "master": cluster.master, "partitions": 2}
    nodes = start_nodes(settings(tmp_path, archive_of_nodes, beam), cluster.environment)
    kill = functools.partial(kill_a_worker, cluster, nodes)
    found = outputs_though_workers_die(nodes, tmp_path / "out" / "artifacts", kill, cluster.add_worker)
    assert_equal(found, direct_outputs())


def test_the_job_is_what_its_source_says(programs: tuple[Path, Path], tmp_path: Path) -> None:
    """With the compiler that made it, to the byte; another one may write other bytes for the same."""
    if shutil.which("javac") is None:
        pytest.skip("There is no javac (Debian: openjdk-17-jdk-headless)")
    built = tmp_path / "built.jar"
    compile_job(programs[0] / "lib", built)
    with zipfile.ZipFile(JAR) as kept, zipfile.ZipFile(built) as made:
        assert kept.namelist() == made.namelist()
    said = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=True).stdout
    if said.startswith("javac 17."):
        assert built.read_bytes() == JAR.read_bytes()
