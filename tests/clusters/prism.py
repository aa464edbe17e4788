"""Beam's runner Prism and worker pools of this project, as separate processes on this machine."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.beam.worker_pool import READY
from tests.clusters.processes import find_in_log, free_port, start, stop, wait
from tests.waiting import wait_until

_PROJECT: Final = Path(__file__).parents[2]
_HOST: Final = "127.0.0.1"


def find_prism() -> Path | None:
    """Return the program that ``make test-prism`` builds, or one on the path; None if there is none."""
    places = os.pathsep.join((str(_PROJECT / ".prism"), os.environ.get("PATH", os.defpath)))
    found = shutil.which("prism", path=places)
    return Path(found) if found else None


@dataclass(frozen=True)
class PrismCluster:
    """A job server, and pools that share a port.

    Attributes:
        job_endpoint: Address of the job server.
        worker_pool: Address of the pools.
        pool_log: What the pools write.
        prism_log: What the job server writes.
    """

    job_endpoint: str
    worker_pool: str
    pool_log: Path
    prism_log: Path

    def workers(self) -> list[tuple[int, int]]:
        """Return the process of each worker that was started, and that of its pool."""
        found = re.findall(r"is process (\d+) of pool (\d+)", self.pool_log.read_text(errors="replace"))
        return [(int(worker), int(pool)) for worker, pool in found]

    def kill_pool(self) -> int:
        """Kill the pool of the newest worker; return the process of that worker, which must end too."""
        worker, pool = self.workers()[-1]
        os.kill(pool, signal.SIGKILL)
        return worker


def start_pools(port: int, number: int, log: Path) -> subprocess.Popen[bytes]:
    """Start the command ``worker-pool``, without our ``python`` on its path, where Beam's own pool looks for one."""
    environment = {**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(_PROJECT)}
    command = [sys.executable, "-m", "pipeline.cli", "worker-pool", "--port", str(port), "--number", str(number)]
    return start(command, environment, log)


def wait_for_pools(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until all pools take jobs."""

    def alive() -> None:
        assert process.poll() is None, log.read_text()[-2000:]

    wait_until(lambda: find_in_log(log, f"({READY})"), alive)


@contextlib.contextmanager
def prism_cluster(program: Path, folder: Path, pools: int = 2) -> Iterator[PrismCluster]:
    """Start a job server and pools; stop them at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    port, job_port = free_port(), free_port()
    pool_log, prism_log = folder / "pools.log", folder / "prism.log"
    with contextlib.ExitStack() as running:
        pool = start_pools(port, pools, pool_log)
        running.callback(stop, pool)
        wait_for_pools(pool, pool_log)  # Prism ends when it cannot reach a pool
        process = start([str(program), f"-job_port={job_port}", "-serve_http=false"], os.environ, prism_log)
        running.callback(stop, process)
        wait(partial(find_in_log, prism_log, "(endpoint)"), process, prism_log)
        yield PrismCluster(f"{_HOST}:{job_port}", f"{_HOST}:{port}", pool_log, prism_log)
