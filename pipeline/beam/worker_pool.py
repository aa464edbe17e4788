"""The pool of Python workers for Beam's job servers: ``breast-density worker-pool``.

Beam's own pool starts the ``python`` that it finds on its path, which may be another one: the job server then waits
for a minute, and the job fails without a reason. It also imports TensorFlow again for each job. Here one process
imports once what most jobs need, and forks all pools and all workers. No worker starts for a driver with another
version of Python, Beam or this package, because its results could differ without an error.

Several pools share a port, and the kernel gives each job to one of them. A pool that is killed takes its workers with
it and fails its own jobs; the others serve the next.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as fn_pb2
from apache_beam.portability.api import beam_fn_api_pb2_grpc as fn_grpc

from pipeline.beam.config import identity
from pipeline.beam.preload import preload

_LOG: Final = logging.getLogger(__name__)
READY: Final = "worker pools take jobs"
_THREADS: Final = 16
_MESSAGE: Final = 65536  # bytes, at most; addresses and ids


class WorkerPoolError(RuntimeError):
    """The pools cannot start, or have ended."""


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


class _Servicer(fn_grpc.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc, unused-ignore]
    """One pool: asks the process that it was forked from for workers, because a process with gRPC cannot be forked.

    Source: apache/beam, beam_fn_api.proto, BeamFnExternalWorkerPool
    """

    def __init__(self, parent: socket.socket):
        self._parent, self._one_at_a_time = parent, threading.Lock()

    def _ask(self, **request: str) -> Any:
        with self._one_at_a_time:
            self._parent.send(json.dumps(request).encode())
            return json.loads(self._parent.recv(_MESSAGE))

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in Beam's protocol
        """Start a worker for a job."""
        del context
        if problem := difference(request.params):
            _LOG.error("No worker for %s. %s", request.control_endpoint.url, problem)
            return fn_pb2.StartWorkerResponse(error=problem)
        process = self._ask(start=request.worker_id, control=request.control_endpoint.url)
        _LOG.info("Worker %s is process %d of pool %d.", request.worker_id, process, os.getpid())
        return fn_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in Beam's protocol
        """Stop a worker, if it is one of this pool's."""
        del context
        self._ask(stop=request.worker_id)
        return fn_pb2.StopWorkerResponse()


def _end_with(pipe: int) -> None:
    """End this process when the other end of a pipe is closed, by whatever end of the process that has it."""

    def watch() -> None:
        os.read(pipe, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _be_a_pool(host: str, port: int, parent: socket.socket) -> None:
    # Beam's job servers keep idle connections alive for the length of a job.
    pings = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=[("grpc.so_reuseport", 1), *pings])
    fn_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(_Servicer(parent), server)
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    parent.send(b'{"ready": ""}')
    server.wait_for_termination()


def _be_a_worker(control: str, worker: str) -> None:
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    SdkHarness(control, worker_id=worker).run()


@dataclass
class _Pool:
    process: int
    connection: socket.socket
    workers: dict[str, int] = field(default_factory=dict)


def _end(process: int) -> None:
    """Kill a child process, if it has not ended, and reap it."""
    if os.waitpid(process, os.WNOHANG)[0] == 0:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


class _Parent:
    """The process that forks pools and workers. It has one thread, and no connection but to its pools."""

    def __init__(self, host: str, port: int):
        self._host, self._port = host, port
        self._alive, self._open = os.pipe()  # all others end when the second end is closed
        self._pools: list[_Pool] = []
        self._selector = selectors.DefaultSelector()

    def _fork(self, run: Callable[[], None], kept: socket.socket | None = None) -> int:
        process = os.fork()
        if process:
            return process
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(self._open)
            self._selector.close()
            for pool in self._pools:
                pool.connection.close()
            if kept is not None:
                kept.close()
            _end_with(self._alive)
            run()
        except BaseException:
            _LOG.exception("Process %d ends.", os.getpid())
            os._exit(1)
        os._exit(0)

    def add_pool(self) -> None:
        """Fork a pool."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = self._fork(lambda: _be_a_pool(self._host, self._port, theirs), kept=ours)
        theirs.close()
        pool = _Pool(process, ours)
        self._pools.append(pool)
        self._selector.register(ours, selectors.EVENT_READ, pool)

    def _answer(self, pool: _Pool, request: Mapping[str, str]) -> None:
        answer = 0
        if "start" in request:
            worker, control = request["start"], request["control"]
            answer = pool.workers[worker] = self._fork(lambda: _be_a_worker(control, worker))
        elif (process := pool.workers.pop(request["stop"], None)) is not None:
            _end(process)
        pool.connection.send(json.dumps(answer).encode())

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve the pools until all have ended."""
        waiting = len(self._pools)
        while self._pools:
            for key, _ in self._selector.select():
                pool = key.data
                message = pool.connection.recv(_MESSAGE)
                request = json.loads(message or "{}")
                if not message:
                    _LOG.error("Pool %d has ended, and %d workers with it.", pool.process, len(pool.workers))
                    self._selector.unregister(pool.connection)
                    self._pools.remove(pool)
                    for process in (*pool.workers.values(), pool.process):
                        _end(process)
                elif "ready" in request:
                    waiting -= 1
                    if not waiting:
                        on_ready()
                else:
                    self._answer(pool, request)


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
        on_ready: Called with a sentence when all pools take jobs.

    Raises:
        WorkerPoolError: The port is in use, or all pools have ended.
    """
    _require_free(host, port)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    preload()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    parent = _Parent(host, port)
    for _ in range(number):
        parent.add_pool()
    what = ", ".join(f"{name} {value}" for name, value in identity().items())
    parent.run(lambda: on_ready(f"{number} {READY} at {host}:{port}: {what}, {sys.executable}"))
    raise WorkerPoolError("All worker pools have ended: start the command again.")
