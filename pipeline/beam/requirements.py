"""Check what a Beam runner needs on this machine, before a run begins rather than an hour into it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from components.common.files import read_key_file
from pipeline.beam.config import BeamConfig, DataflowBeam, FlinkBeam, FlinkJobServer, PortableBeam, SparkBeam

_CONNECT: Final = 10.0  # seconds
_INSTALL: Final = ".uv/bin/uv pip install --python .venv/bin/python"  # .venv has no pip
SPARK_JAVA: Final = (8, 11, 17)  # Spark 3.5


class BeamRunnerError(RuntimeError):
    """A runner cannot be used from this machine; the message says what is missing and how to get it."""


def find_java(environment: Mapping[str, str]) -> Path | None:
    """Return the path of the program ``java``, found as Spark and Beam find it: in ``JAVA_HOME``, else on the path."""
    if home := environment.get("JAVA_HOME"):
        program = Path(home, "bin", "java")
        return program if program.is_file() else None
    found = shutil.which("java", path=environment.get("PATH"))
    return Path(found).resolve() if found else None


def java_version(program: Path) -> int | None:
    """Return Java's major version; None if it is unknown."""
    try:
        text = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    except OSError:
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else None


def _java(needed: tuple[int, ...], runner: str, environment: Mapping[str, str]) -> str | None:
    versions = " or ".join(map(str, needed))
    remedy = f"Install Java {versions} (Debian: openjdk-17-jre-headless) or set JAVA_HOME to where it is."
    program = find_java(environment)
    if program is None:
        return f"{runner} needs Java, and it is not installed. {remedy}"
    version = java_version(program)
    return None if version in needed else f"{runner} needs Java {versions}. {remedy} Received: {version} of {program}"


def _module(name: str, sentence: str) -> str | None:
    return None if importlib.util.find_spec(name) else sentence


def _reachable(address: str, what: str) -> str | None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT).close()
    except (OSError, OverflowError) as error:
        return f"{what} at {address} cannot be reached ({error}): start it, or correct the address."
    return None


def _task_key(environment: Mapping[str, str]) -> str | None:
    try:
        find_task_key(environment)
    except TaskKeyError as error:
        return f"The runner flink shares a key with its workers. {error}"
    return None


def _flink(config: FlinkBeam, environment: Mapping[str, str]) -> list[Callable[[], str | None]]:
    return [lambda: _task_key(environment), lambda: _reachable(config.master, "The Flink JobManager")]


def _portable(config: PortableBeam) -> list[Callable[[], str | None]]:
    checks: list[Callable[[], str | None]] = [lambda: _reachable(config.job_endpoint, "Beam's job server")]
    pool = config.worker_pool
    if pool is not None and config.flink is None and config.spark_master is None and _is_here(config.job_endpoint):
        # A job server on this machine without a cluster asks the pool itself. Prism ends if there is none.
        checks.append(lambda: _reachable(pool, "The worker pool (breast-density worker-pool)"))
    if config.flink is not None:
        flink = config.flink
        checks.append(lambda: _other_flink(flink, config.slots))
    return checks


def _is_here(address: str) -> bool:
    return address.rpartition(":")[0] in ("localhost", "127.0.0.1")


def _flink_rest(master: str, path: str) -> Any:
    """Return what a JobManager answers; an empty mapping if it cannot be asked, because only the job server must."""
    try:
        with urllib.request.urlopen(f"http://{master}/{path}", timeout=_CONNECT) as response:
            return json.load(response)
    except (OSError, ValueError):
        return {}


def _other_flink(flink: FlinkJobServer, slots: int) -> str | None:
    """Compare a Flink version with the installed Beam, and with the cluster if it can be asked from here."""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    published = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    if flink.version not in published:
        return (
            f"Beam {version('apache-beam')} has job servers for Flink {', '.join(published)}: deploy one of them, and"
            f" set beam.flink.version. Received: {flink.version}"
        )
    found = str(_flink_rest(flink.master, "config").get("flink-version", ""))
    if found and not f"{found}.".startswith(f"{flink.version}."):
        return (
            f"The Flink cluster at {flink.master} is of another version than its job server: set beam.flink.version, or"
            f" deploy Flink {flink.version}. Received: {found}"
        )
    overview = _flink_rest(flink.master, "overview")
    machines, total = int(overview.get("taskmanagers", 0)), int(overview.get("slots-total", 0))
    if machines and total != machines * slots:
        return (
            f"The Flink cluster at {flink.master} has {total} slots on {machines} TaskManagers: set beam.slots to the"
            f" slots of each. Received: {slots}"
        )
    return None


def _spark(config: SparkBeam, environment: Mapping[str, str]) -> list[Callable[[], str | None]]:
    checks: list[Callable[[], str | None]] = [
        lambda: _module(
            "pyspark",
            f"The runner spark needs PySpark of the cluster's version: {_INSTALL} 'pyspark==3.5.*'",
        ),
        lambda: _java(SPARK_JAVA, "Spark", environment),
    ]
    if config.master.startswith("spark://"):
        masters = config.master.removeprefix("spark://").split(",")

        def one_reachable() -> str | None:
            problems = [_reachable(address, "The Spark master") for address in masters]
            return None if None in problems else problems[0]

        checks.append(one_reachable)
    return checks


def _dataflow(output: Path) -> list[Callable[[], str | None]]:
    extra = f"The runner dataflow needs Beam's extra for Google Cloud: {_INSTALL} 'apache-beam[gcp]'"
    local = (
        "Dataflow cannot write to a folder of this machine: run the pipeline on Kubeflow with its root on gs://."
        f" Received: output={output}"
    )
    return [lambda: _module("apitools", extra), lambda: local]


def missing(config: BeamConfig, output: Path, environment: Mapping[str, str]) -> list[str]:
    """Return what is missing for a local run with this runner.

    Args:
        config: Configuration of Beam.
        output: Output folder of the run.
        environment: Environment variables.

    Returns:
        One sentence per missing requirement, with the remedy; empty if nothing is missing.
    """
    checks: list[Callable[[], str | None]] = []
    if isinstance(config, FlinkBeam):
        checks = _flink(config, environment)
    elif isinstance(config, PortableBeam):
        checks = _portable(config)
    elif isinstance(config, SparkBeam):
        checks = _spark(config, environment)
    elif isinstance(config, DataflowBeam):
        checks = _dataflow(output)
    return [found for check in checks if (found := check()) is not None]


def require(config: BeamConfig, output: Path, environment: Mapping[str, str]) -> None:
    """Check that nothing is missing for a local run with this runner; arguments as for :func:`missing`.

    Raises:
        BeamRunnerError: Something is missing.
    """
    if found := missing(config, output, environment):
        raise BeamRunnerError(" ".join(found))


KEY_VARIABLE: Final = "BREAST_DENSITY_TASK_KEY"
_MIN_KEY_BYTES: Final = 16


class TaskKeyError(ValueError):
    """The task key is missing or cannot be used; the message says how to make one, and never contains the key."""


def find_task_key(environment: Mapping[str, str]) -> bytes:
    """Return the key that a driver shares with workers that it has no connection to.

    Args:
        environment: Environment variables: ``BREAST_DENSITY_TASK_KEY``, or ``BREAST_DENSITY_TASK_KEY_FILE`` with the
            name of a file.

    Returns:
        32 bytes.

    Raises:
        TaskKeyError: Neither or both variables are set, the key is shorter than 16 bytes, or its file cannot be used.
    """
    value, file = environment.get(KEY_VARIABLE), environment.get(f"{KEY_VARIABLE}_FILE")
    if (value is None) == (file is None):
        raise TaskKeyError(
            f"Set either {KEY_VARIABLE} or {KEY_VARIABLE}_FILE, the same for the driver and all workers; make a key"
            " with: openssl rand -hex 32"
        )
    key = os.fsencode(value) if value is not None else read_key_file(Path(file or ""), KEY_VARIABLE, TaskKeyError)
    if len(key.strip()) < _MIN_KEY_BYTES:
        raise TaskKeyError(
            f"The key of {KEY_VARIABLE} has {len(key.strip())} bytes, at least {_MIN_KEY_BYTES} are needed: make one"
            " with: openssl rand -hex 32"
        )
    return hashlib.sha256(b"breast-density tasks " + key.strip()).digest()
