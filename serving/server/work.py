"""Bounded work: so many predictions run at once, so many wait, and none runs that nobody waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Final, TypeVar

import grpc

from serving.wire.errors import StatusError

# The texts of gRPC's own server and of TensorFlow's session, which TensorFlow Serving answers with.
FULL: Final = "Server Threadpool Exhausted"
OVERDUE: Final = "Timed out waiting for notification"

T = TypeVar("T")


def overdue() -> StatusError:
    """Makes the error of a request whose time is over."""
    return StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, OVERDUE)


def _shutting_down() -> StatusError:
    return StatusError(grpc.StatusCode.UNAVAILABLE, "Server is shutting down")


class _Task:
    """A call that can be given up until it begins, which also lets go of its inputs."""

    def __init__(self, call: Callable[[], object], wanted: Callable[[], bool], deadline: float) -> None:
        self._call: Callable[[], object] | None = call
        self._wanted = wanted
        self._deadline = deadline

    def give_up(self) -> None:
        self._call = None

    def run(self) -> object:
        call, self._call = self._call, None
        if call is None or time.monotonic() >= self._deadline or not self._wanted():
            raise overdue()
        return call()


class WorkQueue:
    """Runs calls in a fixed number of threads behind a queue of fixed length."""

    def __init__(self, running: int, queued: int) -> None:
        """Makes the threads.

        Args:
            running: Calls at once.
            queued: Calls that may wait.
        """
        self._pool = futures.ThreadPoolExecutor(running, thread_name_prefix="predict")
        self._places = threading.BoundedSemaphore(running + queued)

    def run(self, call: Callable[[], T], seconds: float, wanted: Callable[[], bool] = lambda: True) -> T:
        """Runs a call and returns what it returns, or raises what it raises.

        Args:
            call: What to run.
            seconds: Longest wait for the result, s. A call that has begun goes on after it, unheard.
            wanted: Asked just before the call begins; where it says no, the call is not run.

        Raises:
            StatusError: RESOURCE_EXHAUSTED where the queue is full, DEADLINE_EXCEEDED after ``seconds``, UNAVAILABLE
                once the queue is stopped.
        """
        if not self._places.acquire(blocking=False):
            raise StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL)
        task = _Task(call, wanted, time.monotonic() + seconds)
        try:
            future = self._pool.submit(task.run)
        except RuntimeError:  # shut down
            self._places.release()
            raise _shutting_down() from None
        # Freed when the task has left the queue, not when its client has: the queue stays as short as it says.
        future.add_done_callback(lambda _: self._places.release())
        try:
            # The pool is typed for all tasks, this one returns what the caller gave.
            return future.result(timeout=seconds)  # type: ignore[return-value]
        except futures.CancelledError:
            raise _shutting_down() from None
        except futures.TimeoutError:
            task.give_up()
            raise overdue() from None

    def stop(self) -> None:
        """Takes no more calls; those that wait are refused, those that have begun end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
