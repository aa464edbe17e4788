"""Beam stages that count their elements: each element has one result, or the run stops.

A node is one Beam pipeline of consecutive stages. A stage spreads its elements over the workers and gathers their
results in one element, from which the next stage is planned. Elements describe work, such as a shard's name, and
results are small rows; images stay inside a worker.

Runners have lost elements before (also the DirectRunner in mode ``multi_processing``). A data set that is smaller
without notice is worse than a run that stops. So elements are numbered, and a marker element holds their count. The
marker also holds the context of the next stage, which replaces Beam side inputs.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam
import cv2

_MARKER: Final = -1
# Parameters of mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_KEPT: Final = 256 * 2**20  # bytes


class LostRecordsError(RuntimeError):
    """Beam lost elements, or returned some of them twice."""


@dataclass(frozen=True)
class Element:
    """One element of a stage, or its result.

    Attributes:
        index: Position in the stage's input; -1 for the marker.
        value: The element or its result; for the marker, the number of elements and the context.
    """

    index: int
    value: Any


@dataclass(frozen=True)
class Gathered:
    """Results of a stage.

    Attributes:
        results: One per element, in the order of the input.
        context: The context of the elements.
    """

    results: list[Any]
    context: Any


def elements(values: Iterable[Any], context: Any = None) -> list[Element]:
    """Return the input of a stage.

    Args:
        values: Work for the workers.
        context: Value to return with the results.

    Returns:
        Numbered elements, and the marker.
    """
    numbered = [Element(index, value) for index, value in enumerate(values)]
    return [*numbered, Element(_MARKER, (len(numbered), context))]


def gather(found: Iterable[Element], stage: str) -> Gathered:
    """Check that a stage returned one result per element, and sort the results.

    Args:
        found: Results and marker, in any order.
        stage: Name of the stage, for the message.

    Returns:
        The results and the context.

    Raises:
        LostRecordsError: Results are missing or repeated.
    """
    found = list(found)
    by_index = {element.index: element.value for element in found}
    count, context = by_index.pop(_MARKER, (None, None))
    if count is None or len(found) != count + 1 or by_index.keys() != set(range(count)):
        wanted = "all" if count is None else count
        raise LostRecordsError(
            f"{stage}: Beam must give one result for each of {wanted} elements; run again, or with another"
            f" runner. Received: {len(found)} results for {len(by_index)} elements."
        )
    return Gathered([by_index[index] for index in range(count)], context)


def prepare_worker() -> None:
    """Prepare this process for work on one image after another; a second call changes nothing.

    There is one worker per core, so threads of OpenCV would only compete for the cores.

    A mammogram needs several buffers of 17 MB. By default, glibc returns each to the system, which maps and zeroes it
    again for the next image: a sixth of the time of JPEG-LS or JPEG 2000 decoding. Here glibc keeps freed blocks of up
    to 256 MiB. The process never holds more than its peak. Other C libraries are not changed.
    """
    cv2.setNumThreads(1)
    name = ctypes.util.find_library("c")
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None) if name else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_KEPT)


class _Work(beam.DoFn):
    """Apply a function to the value of each element, and keep the element's number."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]):
        super().__init__()  # type: ignore[no-untyped-call]  # Beam's, without types
        self._function = function
        self._args = args

    def setup(self) -> None:
        prepare_worker()

    def process(self, keyed: tuple[int, Iterable[Element]]) -> Iterator[tuple[int, Element]]:
        for element in keyed[1]:
            is_marker = element.index == _MARKER
            yield _MARKER, element if is_marker else Element(element.index, self._function(element.value, *self._args))


def _by_index(element: Element) -> tuple[int, Element]:
    return element.index, element


def _gathered(keyed: tuple[int, Iterable[Element]], stage: str) -> Gathered:
    return gather(keyed[1], stage)


class Stage(beam.PTransform[Any, Any]):
    """Spread elements over the workers, and gather their results: ``Element`` in, one ``Gathered`` out."""

    def __init__(self, name: str, function: Callable[..., Any], *args: Any):
        """Initialize the stage.

        Args:
            name: Name in Beam and in messages.
            function: Function of a module (Beam sends its name to the workers): element's value and ``args`` to result.
            args: Further arguments; Beam sends them inside the pipeline, so keep them small.
        """
        super().__init__(name)
        self._function = function
        self._args = args

    def expand(self, given: beam.PCollection[Any]) -> beam.PCollection[Any]:
        """Add the stage to a pipeline. Grouping by number keeps Beam from fusing elements into one worker's chain."""
        gathered: beam.PCollection[Any] = (
            given
            | "Number" >> beam.Map(_by_index)
            | "Spread" >> beam.GroupByKey()
            | "Work" >> beam.ParDo(_Work(self._function, self._args))
            | "ToOne" >> beam.GroupByKey()
            | "Gather" >> beam.Map(_gathered, self.label)
        )
        return gathered
