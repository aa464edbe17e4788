"""A task of a stage: read a part of the stage's input, execute one bundle, write the output.

All of it runs in the workers of the cluster, with Beam's own worker code.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apache_beam.coders.coder_impl import create_InputStream, create_OutputStream
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

from pipeline.beam.staged.stage_files import Block, Piece, StageFiles


class BundleError(RuntimeError):
    """A bundle failed in the worker; the message is the worker's traceback."""


@dataclass(frozen=True)
class Grouping:
    """How a part is grouped by key.

    Attributes:
        before: Id of the coder of the key-value pairs.
        after: Id of the coder of keys with all of their values.
        windowing: Id of the windowing strategy.
    """

    before: str
    after: str
    windowing: str


@dataclass(frozen=True)
class Output:
    """The destination of elements that a transform writes.

    Attributes:
        buffer: Id of the buffer.
        parts: Number of parts that elements are distributed over; 0 keeps them together.
        coder: Id of their coder.
        by_key: True to distribute by the hash of the key; False to distribute in turn.
    """

    buffer: bytes
    parts: int = 0
    coder: str = ""
    by_key: bool = False


@dataclass(frozen=True)
class StageTask:
    """A fused stage, as it is sent to the workers.

    Attributes:
        descriptor: Serialized ``ProcessBundleDescriptor``.
        outputs: Destination by id of each transform that writes.
        side_inputs: Encoded values by serialized ``StateKey``.
        files: Files that input is read from and output is written to.
    """

    descriptor: bytes
    outputs: Mapping[str, Output]
    side_inputs: Mapping[bytes, bytes]
    files: StageFiles


@dataclass(frozen=True)
class Reading:
    """The input of one task.

    Attributes:
        transform: Id of the transform that reads it.
        pieces: Its pieces, in order.
        grouping: How it is grouped; None if it is not.
    """

    transform: str
    pieces: tuple[Piece, ...]
    grouping: Grouping | None = None


@dataclass(frozen=True)
class TaskReport:
    """What a task did.

    Attributes:
        number: Number of the task in its stage.
        read: Size of the elements that it read, bytes.
        pieces: Pieces that it wrote.
    """

    number: int
    read: int
    pieces: tuple[Piece, ...]


def part_of(key: bytes, parts: int) -> int:
    """Return the part of a key: the same in every process."""
    return zlib.crc32(key) % parts


def _context(descriptor: beam_fn_api_pb2.ProcessBundleDescriptor) -> PipelineContext:
    """Return the coders and window functions of a stage."""
    return PipelineContext(
        beam_runner_api_pb2.Components(coders=descriptor.coders, windowing_strategies=descriptor.windowing_strategies)
    )


def run_stage_task(task: StageTask, number: int, reading: Reading) -> TaskReport:
    """Execute a stage on one part of its input.

    Args:
        task: The stage.
        number: Number of the task in its stage.
        reading: The part.

    Returns:
        What was read and written. The output is used only after the run has accepted this report.

    Raises:
        BundleError: User code failed.
        StageFileError: The input cannot be read.
    """
    descriptor = beam_fn_api_pb2.ProcessBundleDescriptor.FromString(task.descriptor)
    context = _context(descriptor)
    chunks = [task.files.read(piece) for piece in reading.pieces]
    read = sum(map(len, chunks))
    if reading.grouping is not None:
        chunks = list(_grouped(context, reading.grouping, chunks))
    written: dict[str, list[bytes]] = {transform: [] for transform in task.outputs}
    for transform, data in run_bundle(descriptor, {reading.transform: chunks}, task):
        written[transform].append(data)
    blocks = (
        Block(output.buffer, part, elements)
        for transform, output in task.outputs.items()
        for part, elements in distribute(context, output, b"".join(written[transform]), number).items()
    )
    return TaskReport(number, read, task.files.write(blocks))


def run_bundle(
    descriptor: beam_fn_api_pb2.ProcessBundleDescriptor,
    inputs: Mapping[str, Iterable[bytes]],
    task: StageTask,
) -> Iterator[tuple[str, bytes]]:
    """Execute one bundle.

    Args:
        descriptor: The stage.
        inputs: Encoded elements by id of each transform that reads.
        task: The stage's side inputs and outputs.

    Yields:
        Id of a transform that writes, and its encoded elements.

    Raises:
        BundleError: User code failed.
    """
    manager = WorkerHandlerManager({}, ExtendedProvisionInfo())
    manager.register_process_bundle_descriptor(descriptor)
    state = StateServicer()
    for key, values in task.side_inputs.items():
        state.append_raw(beam_fn_api_pb2.StateKey.FromString(key), values)
    worker = EmbeddedWorkerHandler(None, state, ExtendedProvisionInfo(), manager)
    try:
        yield from _process(worker, descriptor.id, inputs, list(task.outputs))
    finally:
        worker.stop_worker()


def _process(
    worker: EmbeddedWorkerHandler, descriptor: str, inputs: Mapping[str, Iterable[bytes]], outputs: list[str]
) -> Iterator[tuple[str, bytes]]:
    bundle = "bundle"  # each handler executes one
    for name, encoded in inputs.items():
        stream = worker.data_conn.output_stream(bundle, name)
        for data in encoded:
            stream.write(data)
        stream.close()
    request = beam_fn_api_pb2.ProcessBundleRequest(process_bundle_descriptor_id=descriptor)
    response = worker.push(beam_fn_api_pb2.InstructionRequest(instruction_id=bundle, process_bundle=request)).get()
    if response.error:
        raise BundleError(response.error)
    if response.process_bundle.residual_roots:
        raise BundleError("A splittable DoFn stopped before the end of its restriction. This runner cannot resume it.")
    for output in worker.data_conn.input_elements(bundle, outputs):
        if output.data:
            yield output.transform_id, output.data
    if response.process_bundle.requires_finalization:
        finalize = beam_fn_api_pb2.FinalizeBundleRequest(instruction_id=bundle)
        response = worker.push(beam_fn_api_pb2.InstructionRequest(finalize_bundle=finalize)).get()
        if response.error:
            raise BundleError(response.error)


def _grouped(context: PipelineContext, grouping: Grouping, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Group key-value pairs; the order of keys, and of the values of a key, is kept."""
    buffer = GroupingBuffer(
        context.coders[grouping.before],
        context.coders[grouping.after],
        context.windowing_strategies[grouping.windowing],
    )
    for chunk in chunks:
        buffer.append(chunk)
    return (chunk for chunk in buffer if chunk)


def distribute(context: PipelineContext, output: Output, data: bytes, first: int) -> Mapping[int, bytes]:
    """Distribute encoded elements over the parts of their buffer; each part keeps their order.

    Args:
        context: Context with their coder.
        output: Their destination.
        data: The elements.
        first: First part of a distribution in turn, so that many tasks with few elements do not all begin with the
            same part.

    Returns:
        Encoded elements by number of the part.
    """
    if not output.parts:
        return {0: data}
    coder = context.coders[output.coder]
    assert isinstance(coder, WindowedValueCoder)
    key_coder = coder.key_coder().get_impl() if output.by_key else None
    streams: dict[int, Any] = {}
    stream, place = create_InputStream(data), first
    while stream.size() > 0:
        element = coder.get_impl().decode_from_stream(stream, True)
        part = place % output.parts if key_coder is None else part_of(key_coder.encode(element.value[0]), output.parts)
        coder.get_impl().encode_to_stream(element, streams.setdefault(part, create_OutputStream()), True)
        place += 1
    return {part: found.get() for part, found in streams.items()}
