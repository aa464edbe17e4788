"""Beam stages whose elements are counted: what goes in comes out, or the run stops.

A node is one Beam pipeline of stages in a row. The elements of a stage are spread over the workers, and what they gave
is gathered to one element, from which the next stage is planned. Elements are descriptions of work, such as a shard's
name, and results are small rows; images stay inside a worker.

Runners have lost elements before (the DirectRunner's ``multi_processing`` mode among them), and a data set that is
silently smaller is worse than a run that stops. So elements are numbered, and a mark that travels with them tells how
many there are; the mark also carries what the next stage must know besides, which saves Beam side inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam

from components.common.worker import prepare_worker

_MARK: Final = -1


class LostRecordsError(RuntimeError):
    """Beam gave back fewer, or other, elements than went in."""


@dataclass(frozen=True)
class Element:
    """One element of a stage, or its result.

    Attributes:
        index: Position in the stage's input; -1 for the mark.
        value: The element or its result; number of elements and context for the mark.
    """

    index: int
    value: Any


@dataclass(frozen=True)
class Gathered:
    """What a stage gave.

    Attributes:
        results: One an element, in the order of the input.
        context: As it was given with the elements.
    """

    results: list[Any]
    context: Any


def elements(values: Iterable[Any], context: Any = None) -> list[Element]:
    """Makes a stage's input.

    Args:
        values: What the workers are to do.
        context: What comes out beside the results.

    Returns:
        Numbered elements, and the mark.
    """
    numbered = [Element(index, value) for index, value in enumerate(values)]
    return [*numbered, Element(_MARK, (len(numbered), context))]


def gather(found: Iterable[Element], stage: str) -> Gathered:
    """Checks that a stage gave one result an element, and sorts them.

    Args:
        found: Results and mark, in any order.
        stage: Name of the stage, for the message.

    Returns:
        The results and the context.

    Raises:
        LostRecordsError: Results are missing, or came twice.
    """
    found = list(found)
    by_index = {element.index: element.value for element in found}
    count, context = by_index.pop(_MARK, (None, None))
    if count is None or len(found) != count + 1 or by_index.keys() != set(range(count)):
        wanted = "all" if count is None else count
        raise LostRecordsError(
            f"{stage}: Beam must give one result for each of {wanted} elements; run again, with another runner or"
            f" direct_running_mode. Received: {len(found)} results for {len(by_index)} elements."
        )
    return Gathered([by_index[index] for index in range(count)], context)


class _Work(beam.DoFn):
    """Applies a function to the value of each element, which keeps its number."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]):
        super().__init__()
        self._function = function
        self._args = args

    def setup(self) -> None:
        prepare_worker()

    def process(self, keyed: tuple[int, Iterable[Element]]) -> Iterator[tuple[int, Element]]:
        for element in keyed[1]:
            is_mark = element.index == _MARK
            yield _MARK, element if is_mark else Element(element.index, self._function(element.value, *self._args))


def _by_index(element: Element) -> tuple[int, Element]:
    return element.index, element


def _gathered(keyed: tuple[int, Iterable[Element]], stage: str) -> Gathered:
    return gather(keyed[1], stage)


class Stage(beam.PTransform):
    """Spreads elements over the workers, and gathers their results: ``Element`` in, one ``Gathered`` out."""

    def __init__(self, name: str, function: Callable[..., Any], *args: Any):
        """Makes the stage.

        Args:
            name: Name in Beam and in messages.
            function: Function of a module (it travels to the workers by name): element's value and ``args`` to result.
            args: Further arguments; they travel inside the pipeline, so keep them small.
        """
        super().__init__(name)
        self._function = function
        self._args = args

    def expand(self, given: beam.PCollection) -> beam.PCollection:
        """Lays out the stage. Grouping by number is what spreads: no two elements are fused into one worker's chain."""
        return (
            given
            | "Number" >> beam.Map(_by_index)
            | "Spread" >> beam.GroupByKey()
            | "Work" >> beam.ParDo(_Work(self._function, self._args))
            | "ToOne" >> beam.GroupByKey()
            | "Gather" >> beam.Map(_gathered, self.label)
        )
