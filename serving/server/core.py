"""What gRPC and REST share: the versions of the model, a bounded queue of predictions, the metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeVar

import grpc
from numpy.typing import NDArray

from serving.server.config import ServerConfig
from serving.server.manager import ModelManager
from serving.server.metrics import REQUEST_LATENCY, RUNTIME_LATENCY, Metrics
from serving.server.model import LoadedModel
from serving.wire.errors import StatusError

Api = Literal["Predict", "Classify", "Regress"]
_OTHER_MODEL: Final = "other"  # a metric's label must not take names that clients send
_RUNTIME: Final = "TF1"  # TensorFlow Serving's name of its session
# TensorFlow Serving's responses: texts of gRPC's server and of TensorFlow's session.
FULL: Final = "Server Threadpool Exhausted"
OVERDUE: Final = "Timed out waiting for notification"

T = TypeVar("T")


def overdue() -> StatusError:
    """Return the error of a request that exceeded its time."""
    return StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, OVERDUE)


def _shutting_down() -> StatusError:
    return StatusError(grpc.StatusCode.UNAVAILABLE, "Server is shutting down")


class _Task:
    """A call that can be cancelled before it starts. Cancelling also releases its inputs."""

    def __init__(self, call: Callable[[], object], wanted: Callable[[], bool], deadline: float) -> None:
        self._call: Callable[[], object] | None = call
        self._wanted = wanted
        self._deadline = deadline

    def cancel(self) -> None:
        self._call = None

    def run(self) -> object:
        call, self._call = self._call, None
        if call is None or time.monotonic() >= self._deadline or not self._wanted():
            raise overdue()
        return call()


class WorkQueue:
    """Runs calls in a fixed number of threads behind a queue of fixed length.

    No call runs after its client stopped waiting for it.
    """

    def __init__(self, running: int, queued: int) -> None:
        """Create the threads.

        Args:
            running: Calls at the same time.
            queued: Calls that may wait.
        """
        self._pool = futures.ThreadPoolExecutor(running, thread_name_prefix="predict")
        self._places = threading.BoundedSemaphore(running + queued)
        self._unfinished: set[futures.Future[object]] = set()

    def run(self, call: Callable[[], T], seconds: float, wanted: Callable[[], bool] = lambda: True) -> T:
        """Run a call, and return its result or raise its error.

        Args:
            call: Function to run.
            seconds: Longest wait for the result, s. A call that already started runs to its end.
            wanted: Called just before the call starts; if it returns False, the call does not run.

        Raises:
            StatusError: RESOURCE_EXHAUSTED if the queue is full, DEADLINE_EXCEEDED after ``seconds``, UNAVAILABLE
                after the queue is stopped.
        """
        if not self._places.acquire(blocking=False):
            raise StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL)
        task = _Task(call, wanted, time.monotonic() + seconds)
        try:
            future = self._pool.submit(task.run)
        except RuntimeError:  # shut down
            self._places.release()
            raise _shutting_down() from None
        # The place is free when the task leaves the queue, not when its client leaves: so the queue stays bounded.
        self._unfinished.add(future)
        future.add_done_callback(self._ended)
        try:
            return future.result(timeout=seconds)  # type: ignore[return-value]  # the pool is typed for all tasks
        except futures.CancelledError:
            raise _shutting_down() from None
        except futures.TimeoutError:
            task.cancel()
            raise overdue() from None

    def _ended(self, future: futures.Future[object]) -> None:
        self._unfinished.discard(future)
        self._places.release()

    def stop(self) -> bool:
        """Accept no more calls. Waiting calls are refused, started calls run to their end.

        Returns:
            True if no call runs any more.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._unfinished


class ServerCore:
    """Runs predictions within the limits.

    Attributes:
        manager: The versions that are served.
        config: Configuration of the server.
        metrics: Counts and latencies.
        work: Queue of the predictions.
    """

    def __init__(self, manager: ModelManager, config: ServerConfig) -> None:
        """Create the queue. The caller starts and stops the manager."""
        self.manager = manager
        self.config = config
        self.metrics = Metrics()
        self.work = WorkQueue(config.limits.running, config.limits.queued)

    def stop(self) -> bool:
        """Accept no more predictions; return True if none runs any more."""
        return self.work.stop()

    def run(self, call: Callable[[], T], seconds: float, wanted: Callable[[], bool] = lambda: True) -> T:
        """Run a call through the queue.

        Args:
            call: Function to run; it includes all work that depends on the size of a request.
            seconds: Remaining time of the client, s; the server's limit also applies.
            wanted: Returns True if the client still waits; called just before the call runs.

        Raises:
            StatusError: RESOURCE_EXHAUSTED if too many calls wait, DEADLINE_EXCEEDED if the time is over, and the
                errors of the call.
        """
        seconds = min(seconds, self.config.limits.request_seconds)
        if seconds <= 0:
            raise overdue()
        return self.work.run(call, seconds, wanted)

    def infer(
        self, model: LoadedModel, signature: str, inputs: Mapping[str, NDArray[Any]], output_filter: Sequence[str] = ()
    ) -> dict[str, NDArray[Any]]:
        """Call a signature of a version and record its latency; call it within `run`.

        Args:
            model: The version to call.
            signature: Name of the signature; empty is the default one.
            inputs: Array by input name.
            output_filter: Names of the requested outputs; empty is all.

        Returns:
            Array by output name.

        Raises:
            StatusError: See `LoadedModel.predict`.
        """
        started = time.perf_counter()
        outputs = model.predict(signature, inputs, output_filter)
        self.metrics.latency(RUNTIME_LATENCY, self.manager.name, "Predict", _RUNTIME, time.perf_counter() - started)
        return outputs

    @contextmanager
    def counted(self, name: str, api: Api, entrypoint: Literal["GRPC", "REST"]) -> Iterator[None]:
        """Count one request by its status. As in TensorFlow Serving, only successful requests have a latency.

        Args:
            name: Name of the model in the request.
            api: Method of the request.
            entrypoint: Protocol of the request.
        """
        model = name if name == self.manager.name else _OTHER_MODEL
        started = time.perf_counter()
        try:
            yield
        except StatusError as error:
            self.metrics.count(model, error.code.name)
            raise
        except Exception:
            self.metrics.count(model, grpc.StatusCode.INTERNAL.name)
            raise
        self.metrics.count(model, grpc.StatusCode.OK.name)
        self.metrics.latency(REQUEST_LATENCY, model, api, entrypoint, time.perf_counter() - started)
