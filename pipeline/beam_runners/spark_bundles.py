"""What a Spark task does for Beam: it executes one bundle of a fused stage, or groups a partition by key.

All of it runs in Spark's Python workers, with Beam's own worker code.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apache_beam.coders.coder_impl import create_InputStream
from apache_beam.coders.coders import WindowedValueCoder
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    EmbeddedWorkerHandler,
    StateServicer,
    WorkerHandlerManager,
)

Numbered = tuple[int, int, bytes]
"""Partition and place where an element was made, and its encoding."""


class BundleError(RuntimeError):
    """A bundle failed in the worker; the message is the worker's traceback."""


@dataclass(frozen=True)
class StageTask:
    """A fused stage, as it travels to the workers.

    Attributes:
        descriptor: Serialized ``ProcessBundleDescriptor``.
        inputs: Ids of the transforms that read the bundle's input.
        outputs: Id of each transform that writes -> id of the buffer that its output belongs to.
        side_inputs: Serialized ``StateKey`` -> encoded values.
    """

    descriptor: bytes
    inputs: tuple[str, ...]
    outputs: Mapping[str, bytes]
    side_inputs: Mapping[bytes, bytes]


@dataclass(frozen=True)
class Grouping:
    """How a partition is grouped by key.

    Attributes:
        before: Id of the coder of the key-value pairs.
        after: Id of the coder of keys with all their values.
        windowing: Id of the windowing strategy.
    """

    before: str
    after: str
    windowing: str


def partition_of(key: bytes) -> int:
    """Hashes a key, alike in every process."""
    return zlib.crc32(key)


def _context(components: bytes) -> PipelineContext:
    return PipelineContext(beam_runner_api_pb2.Components.FromString(components))


def run_bundle(task: StageTask, partition: int, records: Iterable[tuple[str, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Executes a stage on one partition.

    Beam draws keys at random to spread elements (``Reshuffle``). Spark repeats only what was lost, and the rest of the
    shuffle keeps what it had, so a repeated bundle must draw the same keys: another key would lose an element or give
    it twice. So each bundle starts Python's random numbers from its stage and partition.

    Args:
        task: The stage.
        partition: Index of the partition.
        records: Id of a reading transform, and encoded elements for it. A partition without any is no bundle.

    Yields:
        Id of a buffer, and encoded elements for it.

    Raises:
        BundleError: User code failed.
    """
    given: dict[str, list[bytes]] = {name: [] for name in task.inputs}
    for name, data in records:
        given[name].append(data)
    if not any(given.values()):
        return
    descriptor = beam_fn_api_pb2.ProcessBundleDescriptor.FromString(task.descriptor)
    manager = WorkerHandlerManager({}, ExtendedProvisionInfo())
    manager.register_process_bundle_descriptor(descriptor)
    state = StateServicer()
    for key, values in task.side_inputs.items():
        state.append_raw(beam_fn_api_pb2.StateKey.FromString(key), values)
    random.seed(zlib.crc32(descriptor.id.encode()) + (partition << 32))
    worker = EmbeddedWorkerHandler(None, state, ExtendedProvisionInfo(), manager)
    try:
        yield from _process(worker, descriptor.id, given, task.outputs)
    finally:
        worker.stop_worker()


def _process(
    worker: EmbeddedWorkerHandler, descriptor: str, given: Mapping[str, list[bytes]], outputs: Mapping[str, bytes]
) -> Iterator[tuple[bytes, bytes]]:
    bundle = "bundle"  # one a handler
    for name, encoded in given.items():
        stream = worker.data_conn.output_stream(bundle, name)
        for data in encoded:
            stream.write(data)
        stream.close()
    request = beam_fn_api_pb2.ProcessBundleRequest(process_bundle_descriptor_id=descriptor)
    answer = worker.push(beam_fn_api_pb2.InstructionRequest(instruction_id=bundle, process_bundle=request)).get()
    if answer.error:
        raise BundleError(answer.error)
    if answer.process_bundle.residual_roots:
        raise BundleError("A splittable DoFn stopped before its restriction's end, which this runner cannot resume.")
    for output in worker.data_conn.input_elements(bundle, list(outputs)):
        if output.data:
            yield outputs[output.transform_id], output.data
    if answer.process_bundle.requires_finalization:
        finalize = beam_fn_api_pb2.FinalizeBundleRequest(instruction_id=bundle)
        answer = worker.push(beam_fn_api_pb2.InstructionRequest(finalize_bundle=finalize)).get()
        if answer.error:
            raise BundleError(answer.error)


def _decoded(coder: WindowedValueCoder, chunks: Iterable[bytes]) -> Iterator[Any]:
    for chunk in chunks:
        stream = create_InputStream(chunk)
        while stream.size() > 0:
            yield coder.get_impl().decode_from_stream(stream, True)


def by_key(
    components: bytes, grouping: Grouping, partition: int, chunks: Iterable[bytes]
) -> Iterator[tuple[bytes, Numbered]]:
    """Takes chunks of key-value pairs apart: encoded key, and the numbered pair."""
    coder = _context(components).coders[grouping.before]
    key_coder, pair_coder = coder.key_coder().get_impl(), coder.get_impl()
    for place, element in enumerate(_decoded(coder, chunks)):
        yield key_coder.encode(element.value[0]), (partition, place, pair_coder.encode_nested(element))


def grouped(components: bytes, grouping: Grouping, pairs: Iterable[tuple[bytes, Numbered]]) -> Iterator[bytes]:
    """Groups a shuffled partition by key, its values in the order in which they were made, whatever came first."""
    context = _context(components)
    buffer = GroupingBuffer(
        context.coders[grouping.before],
        context.coders[grouping.after],
        context.windowing_strategies[grouping.windowing],
    )
    for _, (_, _, pair) in sorted(pairs, key=lambda item: item[1][:2]):
        buffer.append(pair)
    return (chunk for chunk in buffer if chunk)


def one_by_one(
    components: bytes, coder: str, partition: int, chunks: Iterable[bytes]
) -> Iterator[tuple[int, Numbered]]:
    """Takes chunks of elements apart: place and the numbered element, to be dealt out in turn."""
    found = _context(components).coders[coder]
    for place, element in enumerate(_decoded(found, chunks)):
        yield place, (partition, place, found.get_impl().encode_nested(element))


def dealt(pairs: Iterable[tuple[int, Numbered]]) -> Iterator[bytes]:
    """Gives the elements that :func:`one_by_one` took apart and Spark dealt out, in the order of their making."""
    for _, (_, _, element) in sorted(pairs, key=lambda item: item[1][:2]):
        yield element
