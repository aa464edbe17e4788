"""The DirectRunner with threads: all elements, spread over the workers, and none lost while a buffer is flushed."""

from __future__ import annotations

import threading
import time
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.worker.data_plane import TimeBasedBufferingClosableOutputStream
from apache_beam.testing.util import assert_that
from apache_beam.transforms.environments import EmbeddedPythonGrpcEnvironment

from components.common.stages import Stage, elements
from pipeline.beam.config import DirectBeam, image_beam_arguments
from pipeline.beam.direct import ThreadsRunner
from tests.waiting import HANG

YEAR_MS = 365 * 24 * 3600 * 1000


def test_beam_itself_loses_what_is_written_during_a_flush_by_time() -> None:
    """Once this fails, Beam is mended, and its own mode ``multi_threading`` can be taken again."""
    sent: list[bytes] = []
    begun, written = threading.Event(), threading.Event()

    def send(data: bytes) -> None:
        sent.append(data)
        begun.set()
        assert written.wait(HANG)

    stream = TimeBasedBufferingClosableOutputStream(sent.append, send, time_flush_threshold_ms=1)
    stream.write(b"first")
    assert begun.wait(HANG)
    stream.write(b"second")
    written.set()
    stream.close()
    assert b"".join(sent) == b"first"


def thread(value: int) -> tuple[int, int]:
    time.sleep(0.01)
    return value, threading.get_ident()


def test_all_elements_come_back_and_are_spread_over_the_workers() -> None:
    def check(found: list[Any]) -> None:
        results = found[0].results
        assert [value for value, _ in results] == list(range(40))
        assert len({number for _, number in results}) >= 2

    with beam.Pipeline(argv=image_beam_arguments(DirectBeam(), 2)) as pipeline:
        assert isinstance(pipeline.runner, ThreadsRunner)
        assert_that(pipeline | beam.Create(elements(range(40)), reshuffle=False) | Stage("Spread", thread), check)


def test_no_worker_flushes_by_time() -> None:
    environment = ThreadsRunner()._default_environment
    assert isinstance(environment, EmbeddedPythonGrpcEnvironment)
    assert environment.data_buffer_time_limit_ms == pytest.approx(YEAR_MS)
