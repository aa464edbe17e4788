"""What the configuration of Flink asks of Beam, for real: a job server and a pool of workers, all in processes apart.

The job server is the one of Beam's Python package. Flink's own comes from Maven Central, and takes the same arguments.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from components.common.files import write_whole
from components.common.stages import Stage, elements
from pipeline.beam.config import beam_arguments
from pipeline.config import load_config
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# A pool starts the `python` that it finds.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of a job server and of a pool."""
    folder = tmp_path_factory.mktemp("portable")
    with socket.create_server(("127.0.0.1", 0)) as server:
        pool = server.getsockname()[1]
    port_file = folder / "port"
    modules = [
        ["apache_beam.runners.portability.local_job_service_main", "--port", "0", "--port_file", str(port_file)],
        ["apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}"],
    ]
    processes = []
    try:
        for number, arguments in enumerate(modules):
            with (folder / f"{number}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen([sys.executable, "-m", *arguments], env=ENVIRONMENT, stdout=log, stderr=log)
                )

        def alive() -> None:
            assert all(process.poll() is None for process in processes)

        wait_until(lambda: port_file.exists() and port_file.read_text() and listens(pool), alive)
        yield f"127.0.0.1:{int(port_file.read_text())}", f"127.0.0.1:{pool}"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_work_goes_to_the_pool_and_no_main_session_with_it(addresses: tuple[str, str], tmp_path: Path) -> None:
    job_server, pool = addresses
    values = {"runner": "flink", "master": "127.0.0.1:1", "job_endpoint": job_server, "worker_pool": pool}
    arguments = beam_arguments(load_config(None, values_by_key={"beam": values}).beam, "out")
    written = [tmp_path / str(number) for number in range(5)]
    with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
        # Functions of installed modules travel by name; a worker could not import this test.
        _ = pipeline | beam.Create(elements(written)) | Stage("Write", write_whole, b"by a worker")
    assert [path.read_bytes() for path in written] == [b"by a worker"] * 5
