"""What ``beam.runner: portable`` asks of Beam, for real: a job server, and the pool of workers in processes apart.

The job server is the one of Beam's Python package. Flink's own comes from Maven Central, and takes the same arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, beam_job_api_pb2
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from google.protobuf import json_format

from components.common.files import write_whole
from components.common.stages import Stage, elements
from pipeline.beam.config import beam_arguments, identity
from pipeline.beam.worker_pool import difference
from pipeline.config import load_config
from tests.clusters.prism import start_pools, wait_for_pools
from tests.clusters.processes import free_port, stop
from tests.waiting import HANG

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


class JobServer(LocalJobServicer):
    """Beam's job server, which keeps the options that it is sent. It knows two options of Flink's, as Flink's does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.options: list[dict[str, Any]] = []

    def DescribePipelineOptions(self, request: Any, context: Any = None, timeout: Any = None) -> Any:  # noqa: N802
        kind = beam_job_api_pb2.PipelineOptionType.INTEGER
        names = ("number_of_execution_retries", "execution_retry_delay")
        options = [beam_job_api_pb2.PipelineOptionDescriptor(name=name, type=kind) for name in names]
        return beam_job_api_pb2.DescribePipelineOptionsResponse(options=options)

    def Prepare(self, request: Any, context: Any = None, timeout: Any = None) -> Any:  # noqa: N802
        self.options.append(json_format.MessageToDict(request.pipeline_options))
        return super().Prepare(request, context, timeout)


@pytest.fixture(scope="module")
def job_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[JobServer, str]]:
    server = JobServer(tmp_path_factory.mktemp("staging"))
    port = server.start_grpc_server(0)
    yield server, f"127.0.0.1:{port}"
    server.stop(timeout=1)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a pool."""
    port, log = free_port(), tmp_path_factory.mktemp("pool") / "pool.log"
    process = start_pools(port, 1, log)
    try:
        wait_for_pools(process, log)
        assert sys.executable in log.read_text()
        yield f"127.0.0.1:{port}"
    finally:
        stop(process)


def test_work_goes_to_the_pool_and_no_main_session_with_it(
    job_server: tuple[JobServer, str], pool: str, tmp_path: Path
) -> None:
    server, address = job_server
    flink = {"master": "jobmanager:8081", "version": "1.20", "restarts": 5}
    values = {"runner": "portable", "job_endpoint": address, "worker_pool": pool, "flink": flink}
    arguments = beam_arguments(load_config(None, values_by_key={"beam": values}).beam, "out")
    written = [tmp_path / str(number) for number in range(5)]
    with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
        # Functions of installed modules travel by name; a worker could not import this test.
        _ = pipeline | beam.Create(elements(written)) | Stage("Write", write_whole, b"by a worker")
    assert [path.read_bytes() for path in written] == [b"by a worker"] * 5
    # A job server that is not told its cluster runs everything in its own process.
    sent = server.options[-1]
    assert sent["beam:option:flink_master:v1"] == "jobmanager:8081"
    assert int(sent["beam:option:number_of_execution_retries:v1"]) == 5
    assert int(sent["beam:option:execution_retry_delay:v1"]) == 10_000
    assert sent["beam:option:sdk_worker_parallelism:v1"] == "2"


def test_a_pool_of_another_version_starts_no_worker(pool: str) -> None:
    with grpc.insecure_channel(pool) as channel:
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        request = beam_fn_api_pb2.StartWorkerRequest(worker_id="1", params=identity() | {"apache-beam": "2.1"})
        answer = stub.StartWorker(request, timeout=HANG)
    assert f"This worker pool has apache-beam {beam.__version__} instead of 2.1: start" in answer.error
    assert difference(identity()) is None
    assert difference({}) is None  # Beam's own drivers do not say
    assert "new-part None instead of 1" in str(difference({"new-part": "1"}))


def test_a_port_in_use_is_one_sentence(pool: str, tmp_path: Path) -> None:
    port = int(pool.rpartition(":")[2])
    process = start_pools(port, 1, tmp_path / "log")
    assert process.wait(HANG) == 1
    assert f"Error: 127.0.0.1:{port} cannot be used (Address already in use): give" in (tmp_path / "log").read_text()
