"""The nodes that use Beam, through Beam's own job server Prism and two worker pools: the DirectRunner's records.

``make test-prism`` builds Prism; without it this test skips.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.clusters.prism import find_prism, prism_cluster
from tests.e2e.beam_nodes import Nodes, Outputs, assert_equal, settings
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="session")  # before the others of this scope, which are for nothing without it
def prism() -> Path:
    found = find_prism()
    if found is None:
        pytest.skip("Prism is not here; make test-prism builds it.")
    return found


def alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_every_node_gives_what_the_direct_runner_gives_and_a_killed_pool_no_short_result(
    prism: Path,
    start_nodes: Callable[[Path, Mapping[str, str]], Nodes],
    archive_of_nodes: Path,
    direct_outputs: Callable[[], Outputs],
    tmp_path: Path,
) -> None:
    with prism_cluster(prism, tmp_path / "cluster", pools=2) as cluster:
        beam = {"runner": "portable", "job_endpoint": cluster.job_endpoint, "worker_pool": cluster.worker_pool}
        lost = start_nodes(settings(tmp_path / "lost", archive_of_nodes, beam), os.environ)
        lost.until(lambda: any((tmp_path / "lost" / "out" / "artifacts" / "MammogramPreprocessor").rglob("*.gz")))
        worker = cluster.kill_pool()
        wait_until(lambda: not alive(worker))  # no worker without its pool
        code = lost.ends()
        assert code != 0, "a run whose workers were killed in the midst of a node has ended well"
        # What was written is whole, or has not been given a name that a later node reads.
        made = tmp_path / "lost" / "out" / "artifacts" / "MammogramPreprocessor"
        assert not list(made.rglob("Split-*/*.gz.tmp*"))

        # The same command again: the other pool does the work, and what was done is taken from the cache.
        again = start_nodes(tmp_path / "lost" / "settings.yaml", os.environ)
        assert_equal(again.outputs(), direct_outputs())
        assert {pool for _, pool in cluster.workers()} > {cluster.workers()[-1][1]}
