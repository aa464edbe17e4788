"""A Spark cluster on this machine, of separate processes, for tests and benchmarks: one master and some workers.

Everything listens on the loopback address, and whoever talks to it must know a secret that is made anew each time: a
Spark master runs what it is given.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

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
    executor_memory: int = 512


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
    environment = {
        **os.environ,
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

        def address() -> str | None:
            found = re.search(r"Starting Spark master at (spark://\S+)", log.read_text(errors="replace"))
            return found and found.group(1)

        cluster = SparkCluster(_wait(address, master, log), environment, folder)
        for number in range(size.workers):
            own = folder / f"worker-{number}.log"
            arguments = ["--host", _HOST, "--port", "0", "--webui-port", "0", "--cores", str(size.cores)]
            arguments += ["--memory", "4g", "--work-dir", str(folder / "work"), cluster.master_url]
            worker = _start([*launch, "org.apache.spark.deploy.worker.Worker", *arguments], environment, own)
            running.callback(_stop, worker)
            cluster.workers.append(worker)
        for number, worker in enumerate(cluster.workers):
            own = folder / f"worker-{number}.log"
            _wait(lambda own=own: "ok" if "Successfully registered" in own.read_text() else None, worker, own)
        yield cluster
