"""What a runner needs on this machine, looked up before a run begins rather than an hour into it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pipeline.beam.config import BeamConfig, DataflowBeam, FlinkBeam, SparkBeam
from pipeline.beam.task_key import TaskKeyError, find_task_key

_CONNECT: Final = 10.0  # seconds
_INSTALL: Final = ".uv/bin/uv pip install --python .venv/bin/python"  # .venv has no pip
SPARK_JAVA: Final = (8, 11, 17)  # Spark 3.5
_FLINK_JAVA: Final = (11, 17)


class BeamRunnerError(RuntimeError):
    """A runner cannot be used from this machine; the message tells what is missing and how to get it."""


def find_java(environment: Mapping[str, str]) -> Path | None:
    """Finds Java's program as Spark and Beam do: of ``JAVA_HOME``, or else of the path."""
    if home := environment.get("JAVA_HOME"):
        program = Path(home, "bin", "java")
        return program if program.is_file() else None
    found = shutil.which("java", path=environment.get("PATH"))
    return Path(found).resolve() if found else None


def java_version(program: Path) -> int | None:
    """Asks Java for its major version; None where it does not say."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    except OSError:
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found.group(1)) if found else None


def _java(needed: tuple[int, ...], runner: str, environment: Mapping[str, str]) -> str | None:
    versions = " or ".join(map(str, needed))
    remedy = f"Install Java {versions} (Debian: openjdk-17-jre-headless) or set JAVA_HOME to where it is."
    program = find_java(environment)
    if program is None:
        return f"{runner} needs Java, and there is none. {remedy}"
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
    if not config.by_job_server:
        return [lambda: _task_key(environment), lambda: _reachable(config.master, "The Flink JobManager")]
    if config.job_endpoint is not None:
        endpoint = config.job_endpoint
        return [lambda: _reachable(endpoint, "The Flink job server")]
    checks: list[Callable[[], str | None]] = [
        lambda: _java(_FLINK_JAVA, "Beam's Flink job server", environment),
        lambda: _reachable(config.master, "The Flink JobManager"),
    ]
    jar = config.job_server_jar
    if jar is not None:
        sentence = f"{jar} is no file: fetch beam-runners-flink-VERSION-job-server of the installed Beam's version."
        checks.append(lambda: None if jar.is_file() else sentence)
    return checks


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
        "Dataflow's machines cannot write to a folder of this one: run the pipeline on Kubeflow with its root on gs://."
        f" Received: output={output}"
    )
    return [lambda: _module("apitools", extra), lambda: local]


def missing(config: BeamConfig, output: Path, environment: Mapping[str, str]) -> list[str]:
    """Tells what a local run with this runner lacks.

    Args:
        config: Configuration of Beam.
        output: Folder for everything the run writes.
        environment: Variables of this process.

    Returns:
        One sentence each, with the remedy; empty when all is there.
    """
    checks: list[Callable[[], str | None]] = []
    if isinstance(config, FlinkBeam):
        checks = _flink(config, environment)
    elif isinstance(config, SparkBeam):
        checks = _spark(config, environment)
    elif isinstance(config, DataflowBeam):
        checks = _dataflow(output)
    return [found for check in checks if (found := check()) is not None]


def require(config: BeamConfig, output: Path, environment: Mapping[str, str]) -> None:
    """Makes sure that a local run with this runner lacks nothing; arguments as of :func:`missing`.

    Raises:
        BeamRunnerError: It lacks something.
    """
    if found := missing(config, output, environment):
        raise BeamRunnerError(" ".join(found))
