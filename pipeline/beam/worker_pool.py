"""The pool of Python workers for Beam's job servers: ``breast-density worker-pool``.

Beam's own pool starts the ``python`` that it finds on its path, which may be another one: the job server then waits
for a minute, and the job fails without a reason. It also imports TensorFlow again for each job. This pool forks its
workers from a process with this interpreter that has imported what most jobs need. It starts no worker for a driver
with another version of Python, Beam or this package, because their results could differ without an error.

Several pools share a port, and the kernel gives each job to one of them. So a pool that is killed ends its own jobs,
and the others serve the next.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any, Final

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as fn_pb2
from apache_beam.portability.api import beam_fn_api_pb2_grpc as fn_grpc

from pipeline.beam.config import identity
from pipeline.beam.preload import PRELOADED

_LOG: Final = logging.getLogger(__name__)
READY: Final = "worker pools take jobs"
_THREADS: Final = 16
_STOP_SECONDS: Final = 10.0


class WorkerPoolError(RuntimeError):
    """The pool cannot start, or has lost one of its processes."""


def _end_with_the_pool() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _work(control: str, worker: str) -> None:
    """Be a worker, until the job server closes the connection."""
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    threading.Thread(target=_end_with_the_pool, daemon=True).start()
    SdkHarness(control, worker_id=worker).run()


def _nothing() -> None:
    """Do nothing: the first process shows that the others can be forked."""


def difference(wanted: Mapping[str, str]) -> str | None:
    """Compare what a driver expects of its workers with what they would be.

    Args:
        wanted: ``identity()`` of the driver; empty for a driver that does not say.

    Returns:
        One sentence; None if they agree.
    """
    here = identity()
    other = [f"{name} {here.get(name)} instead of {value}" for name, value in wanted.items() if here.get(name) != value]
    if not other:
        return None
    return f"This worker pool has {' and '.join(other)}: start the pool with the driver's environment or image."


class WorkerPool(fn_grpc.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc, unused-ignore]
    """Starts and stops workers, each a process that is forked from one that has imported what it needs.

    Source: apache/beam, model/fn-execution/.../beam_fn_api.proto, BeamFnExternalWorkerPool
    """

    def __init__(self) -> None:
        """Start the process that workers are forked from."""
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._workers: dict[str, Any] = {}
        first = self._context.Process(target=_nothing)
        first.start()
        first.join()
        if first.exitcode:
            raise WorkerPoolError("No worker can be forked; the output above says why.")

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in Beam's protocol
        """Start a worker for a job."""
        del context
        if problem := difference(request.params):
            _LOG.error("No worker for %s. %s", request.control_endpoint.url, problem)
            return fn_pb2.StartWorkerResponse(error=problem)
        worker = self._context.Process(
            target=_work, args=(request.control_endpoint.url, request.worker_id), daemon=True
        )
        worker.start()
        self._workers[request.worker_id] = worker
        _LOG.info("Worker %s is process %d of pool %d.", request.worker_id, worker.pid or 0, os.getpid())
        return fn_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in Beam's protocol
        """Stop a worker, if it is one of this pool's."""
        del context
        worker = self._workers.pop(request.worker_id, None)
        if worker is not None:
            worker.terminate()
            worker.join(_STOP_SECONDS)
            worker.kill()
            worker.join()
        return fn_pb2.StopWorkerResponse()


def _serve(host: str, port: int, started: Any) -> None:
    """Be one pool, until its parent ends."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    server = grpc.server(
        ThreadPoolExecutor(_THREADS),
        # Beam's job servers keep idle connections alive for the length of a job.
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.max_ping_strikes", 0),
        ],
    )
    fn_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    started.release()
    _end_with_the_pool()


def _require_free(host: str, port: int) -> None:
    """Check that nothing listens: pools share their port, so the operating system would not refuse a second program.

    Raises:
        WorkerPoolError: Something does.
    """
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise WorkerPoolError(f"{host}:{port} cannot be used ({reason}): give another --port.") from error


def serve(host: str, port: int, number: int, on_ready: Callable[[str], None]) -> None:
    """Serve until this process is ended, or all pools are.

    Args:
        host: Address to listen at.
        port: Port to listen at.
        number: Number of pools that share the port.
        on_ready: Called once with a sentence when all pools take jobs.

    Raises:
        WorkerPoolError: The port is in use, a pool cannot start, or all pools have ended.
    """
    _require_free(host, port)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # pools and their workers end with this process
    context = get_context("spawn")
    started = context.Semaphore(0)
    pools = [context.Process(target=_serve, args=(host, port, started)) for _ in range(number)]
    for pool in pools:
        pool.start()
    for _ in pools:
        while not started.acquire(timeout=1):
            if not all(pool.is_alive() for pool in pools):
                raise WorkerPoolError("A worker pool cannot start; the output above says why.")
    what = ", ".join(f"{name} {value}" for name, value in identity().items())
    on_ready(f"{number} {READY} at {host}:{port}: {what}, {sys.executable}")
    for pool in pools:
        pool.join()
    raise WorkerPoolError("All worker pools have ended: start the command again.")
