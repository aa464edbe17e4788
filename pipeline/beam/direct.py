"""Beam's DirectRunner with a thread per worker, which does not lose what a worker writes while it is flushed."""

from __future__ import annotations

from typing import Final

from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonGrpcEnvironment, python_sdk_capabilities

_NEVER_MS: Final = 365 * 24 * 3600 * 1000


class ThreadsRunner(FnApiRunner):
    """Beam's ``direct_running_mode=multi_threading`` without its flushes by time.

    In that mode a thread flushes the buffer of each worker every second: it sends a copy, then clears the buffer. An
    element that the worker writes in between is lost (Beam 2.74, `TimeBasedBufferingClosableOutputStream` of its data
    plane). A busy machine makes the gap long: ingest lost one of 18 elements. Here a worker sends them when they
    fill 10 MB, and at the end of its bundle.
    """

    def __init__(self) -> None:
        """Create the runner; ``direct_num_workers`` of the pipeline's options is the number of workers."""
        environment = EmbeddedPythonGrpcEnvironment(
            data_buffer_time_limit_ms=_NEVER_MS, capabilities=python_sdk_capabilities()
        )
        super().__init__(default_environment=environment)
