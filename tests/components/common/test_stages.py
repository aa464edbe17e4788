"""Stages count the elements that go through Beam, and prepare their workers."""

from __future__ import annotations

import ast
import operator
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that

from components.common.stages import Gathered, LostRecordsError, Stage, elements, gather

# Touches as many fresh pages as four images have, again and again; prints the page faults of the later rounds.
_SCRIPT = """
import resource, sys
from components.common.stages import prepare_worker
if sys.argv[1] == "prepared":
    prepare_worker()
for round in range(6):
    if round == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [b"x" * 17_000_000 for _ in range(4)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def thread(value: int) -> int:
    time.sleep(0.01)
    return threading.get_ident()


def run(count: int, folder: Path, mode: str, workers: int) -> tuple[list[int], list[Any]]:
    """Run two consecutive stages; return the second's results and its context."""
    arguments = [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}", "--sdk_container_image=none"]
    with beam.Pipeline(argv=arguments) as pipeline:
        _ = (
            pipeline
            | beam.Create(elements(range(count), context=["begun"]), reshuffle=False)
            | Stage("First", operator.neg)
            | "Again" >> beam.FlatMap(lambda g: elements(g.results, context=[*g.context, len(g.results)]))
            | Stage("Second", operator.abs)
            | "Save"
            >> beam.Map(lambda g, file: Path(file).write_text(repr((g.results, g.context))), str(folder / "out"))
        )
    return ast.literal_eval((folder / "out").read_text())


@pytest.mark.parametrize(("mode", "workers"), [("in_memory", 1), ("multi_threading", 2)])
@pytest.mark.parametrize("count", [0, 1, 150])
def test_all_results_are_returned_in_order(count: int, mode: str, workers: int, tmp_path: Path) -> None:
    results, context = run(count, tmp_path, mode, workers)
    assert results == list(range(count))
    assert context == ["begun", count]


def test_elements_are_spread_over_the_workers() -> None:
    with beam.Pipeline(argv=["--direct_running_mode=multi_threading", "--direct_num_workers=2"]) as pipeline:
        threads = pipeline | beam.Create(elements(range(40)), reshuffle=False) | Stage("Spread", thread)
        assert_that(
            threads, lambda found: len(set(found[0].results)) >= 2 or pytest.fail("one thread did all the work")
        )


def test_lost_or_repeated_elements_stop_the_run() -> None:
    whole = elements("abc", context="plan")
    assert gather(reversed(whole), "S") == Gathered(["a", "b", "c"], "plan")
    for found in (whole[1:], [*whole, whole[0]], [*whole[:2], whole[0], whole[3]], whole[:3], []):
        with pytest.raises(LostRecordsError, match=r"S: Beam must give one result for each of (3|all) elements"):
            gather(found, "S")


def test_a_lost_element_stops_the_pipeline_by_name() -> None:
    with (
        pytest.raises(Exception, match=r"LostRecordsError.*First|First.*Received: 3 results"),
        beam.Pipeline() as pipeline,
    ):
        _ = pipeline | beam.Create(elements(range(3))[1:], reshuffle=False) | Stage("First", operator.neg)


def _faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _SCRIPT, how], check=True, capture_output=True, text=True).stdout)


def test_a_prepared_worker_maps_its_buffers_once() -> None:
    assert _faults("prepared") < _faults("plain") / 5
