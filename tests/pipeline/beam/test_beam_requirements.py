"""What is looked up before a run begins, on this machine as it is and as it might be."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions

from pipeline.beam.requirements import BeamRunnerError, find_java, java_version, missing, require
from pipeline.config import load_config

FLINK: dict[str, Any] = {"runner": "flink"}
PORTABLE: dict[str, Any] = {"runner": "portable", "worker_pool": "localhost:50000"}


def problems(environment: dict[str, str], **values: Any) -> list[str]:
    return missing(load_config(None, values_by_key={"beam": values}).beam, Path("runs/a"), environment)


def java_saying(version: str, folder: Path) -> dict[str, str]:
    """Write a program that prints a version as Java does; return an environment in which it is Java."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-01' >&2\n")
    program.chmod(0o755)
    return {"JAVA_HOME": str(folder)}


@pytest.fixture
def listening() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_the_direct_runner_needs_nothing() -> None:
    assert problems({}, runner="direct") == []


def test_flink_needs_its_job_manager_and_a_key(listening: str, nobody: str) -> None:
    environment = {"BREAST_DENSITY_TASK_KEY": "0123456789abcdef"}
    assert problems(environment, **FLINK, master=listening) == []
    [key, cluster] = problems({}, **FLINK, master=nobody)
    assert key.startswith("The runner flink shares a key with its workers. Set either BREAST_DENSITY_TASK_KEY or")
    assert f"The Flink JobManager at {nobody} cannot be reached" in cluster


def test_a_job_server_is_asked_for(listening: str, nobody: str) -> None:
    """A pool is where the workers are; only beside a job server of this machine it is here."""
    flink = {"master": nobody, "version": "1.20"}
    assert problems({}, **PORTABLE, job_endpoint=listening, flink=flink) == []  # only the job server must reach Flink
    [sentence] = problems({}, **PORTABLE, job_endpoint=nobody, flink=flink)
    assert f"Beam's job server at {nobody} cannot be reached" in sentence
    here = {"runner": "portable", "job_endpoint": listening}
    assert problems({}, **here, worker_pool=listening) == []
    [sentence] = problems({}, **here, worker_pool=nobody)
    assert f"The worker pool (breast-density worker-pool) at {nobody} cannot be reached" in sentence


def test_flink_is_one_that_the_installed_beam_has_a_job_server_for(listening: str, nobody: str) -> None:
    published = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    for version in ("1.17", "1.18", "1.19", "1.20", "2.0", "2.1", "2.2"):
        found = problems({}, **PORTABLE, job_endpoint=listening, flink={"master": nobody, "version": version})
        assert bool(found) == (version not in published), found
        assert all(f"has job servers for Flink {', '.join(published)}:" in sentence for sentence in found)


@pytest.mark.parametrize(
    ("version", "slots", "said"),
    [
        ("1.20.1", 2, ""),
        ("1.20", 2, ""),
        (
            "2.2.1",
            2,
            "of another version than its job server: set beam.flink.version, or deploy Flink 1.20. Received: 2.2.1",
        ),
        ("1.2.0", 2, "Received: 1.2.0"),
        ("1.20.1", 4, "has 8 slots on 2 TaskManagers: set beam.slots to the slots of each. Received: 2"),
    ],
)
def test_flink_is_compared_with_the_configuration(version: str, slots: int, said: str, listening: str) -> None:
    answers = {"/config": {"flink-version": version}, "/overview": {"taskmanagers": 2, "slots-total": 2 * slots}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flink = {"master": f"127.0.0.1:{server.server_address[1]}", "version": "1.20"}
        found = problems({}, **PORTABLE, job_endpoint=listening, flink=flink)
        server.shutdown()
    assert [said in sentence for sentence in found] == [True] * bool(said)


def test_spark_needs_pyspark_java_and_its_master(tmp_path: Path, listening: str, nobody: str) -> None:
    java = java_saying("17.0.9", tmp_path / "java")
    here = [] if importlib.util.find_spec("pyspark") else ["The runner spark needs PySpark"]
    found = problems(java, runner="spark", master=f"spark://{listening}")
    assert [sentence[:30] for sentence in found] == here
    found = problems(java, runner="spark", master=f"spark://{nobody}")
    assert f"The Spark master at {nobody} cannot be reached" in found[-1]
    # With several masters, one standing by is enough.
    found = problems(java, runner="spark", master=f"spark://{nobody},{listening}")
    assert [sentence[:30] for sentence in found] == here
    newest = java_saying("25.0.2", tmp_path / "newest")
    assert "Received: 25" in problems(newest, runner="spark", master="local[1]")[-1]


def test_dataflow_cannot_write_to_a_local_folder() -> None:
    with pytest.raises(BeamRunnerError, match="Kubeflow with its root on gs://"):
        require(
            load_config(
                None,
                values_by_key={
                    "beam": {
                        "runner": "dataflow",
                        "project": "hospital",
                        "region": "europe-west3",
                        "temp_location": "gs://bucket/a",
                        "worker_image": "a/b:1",
                    }
                },
            ).beam,
            Path("runs/a"),
            {},
        )


def test_java_is_found_where_the_environment_says(tmp_path: Path) -> None:
    environment = java_saying("17.0.9", tmp_path / "java")
    assert find_java(environment) == tmp_path / "java" / "bin" / "java"
    assert find_java({"PATH": str(tmp_path / "java" / "bin")}) == tmp_path / "java" / "bin" / "java"
    assert find_java({"JAVA_HOME": str(tmp_path), "PATH": os.environ["PATH"]}) is None  # what is said is meant
    assert java_version(tmp_path / "none") is None
