"""The nodes that use Beam on a real Spark cluster that loses workers: the DirectRunner's records all the same.

``make test-spark`` fetches Spark and Java; without them this test skips.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.clusters.spark import SparkCluster, find_spark, spark_cluster
from tests.e2e.beam_nodes import Nodes, Outputs, assert_equal, outputs_though_workers_die, settings

LOST = "Lost executor"  # as Spark's driver says it
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# Nothing begins before both workers have an executor, so that each that is killed has one.
BOTH_WORKERS = {
    "spark.cores.max": "2",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "600s",
}


def kill_a_worker(cluster: SparkCluster, nodes: Nodes, index: int, begun: Callable[[], bool]) -> None:
    """Kills a worker that has an executor as soon as something is true; Spark must notice."""
    nodes.until(begun)
    lost = nodes.said.count(LOST)
    cluster.kill_worker(index)
    nodes.until(lambda: nodes.said.count(LOST) > lost)


@pytest.fixture(scope="session")  # before the others of this scope, which are for nothing without them
def programs() -> tuple[Path, Path]:
    """Folders of Spark and of Java."""
    found = find_spark(os.environ)
    if found is None:
        pytest.skip("Spark or Java is not here; make test-spark fetches them.")
    return found


def test_every_node_gives_what_the_direct_runner_gives_though_workers_are_killed(
    programs: tuple[Path, Path],
    start_nodes: Callable[[Path, Mapping[str, str]], Nodes],
    archive_of_nodes: Path,
    direct_outputs: Callable[[], Outputs],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "spark"
    with spark_cluster(*programs, tmp_path / "cluster") as cluster:
        beam = {"runner": "spark", "master": cluster.master_url, "partitions": 2, "properties": BOTH_WORKERS}
        nodes = start_nodes(settings(folder, archive_of_nodes, beam), cluster.environment)
        kill = functools.partial(kill_a_worker, cluster, nodes)
        found = outputs_though_workers_die(nodes, folder / "out" / "artifacts", kill, cluster.add_worker)
    assert_equal(found, direct_outputs())
