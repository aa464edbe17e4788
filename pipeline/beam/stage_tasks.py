"""What a task does for Beam: it reads its part of a stage's input, executes one bundle, and writes what came out.

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

from pipeline.beam.stage_files import Block, Piece, StageFiles


class BundleError(RuntimeError):
    """A bundle failed in the worker; the message is the worker's traceback."""


@dataclass(frozen=True)
class Grouping:
    """How a part is grouped by key.

    Attributes:
        before: Id of the coder of the key-value pairs.
        after: Id of the coder of keys with all their values.
        windowing: Id of the windowing strategy.
    """

    before: str
    after: str
    windowing: str


@dataclass(frozen=True)
class Output:
    """Where elements go that a transform writes.

    Attributes:
        buffer: Id of the buffer.
        parts: Into how many parts elements are dealt; 0 leaves them together.
        coder: Id of their coder.
        by_key: Dealt by the hash of their key, else in turn.
    """

    buffer: bytes
    parts: int = 0
    coder: str = ""
    by_key: bool = False


@dataclass(frozen=True)
class StageTask:
    """A fused stage, as it travels to the workers.

    Attributes:
        descriptor: Serialized ``ProcessBundleDescriptor``.
        outputs: Id of each transform that writes -> where to.
        side_inputs: Serialized ``StateKey`` -> encoded values.
        files: Where input is read and output is written.
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
        pieces: What it consists of, in order.
        grouping: How it is grouped; None where it is not.
    """

    transform: str
    pieces: tuple[Piece, ...]
    grouping: Grouping | None = None


@dataclass(frozen=True)
class Report:
    """What a task did.

    Attributes:
        number: Of the task in its stage.
        read: Bytes of elements that it read.
        pieces: What it wrote.
    """

    number: int
    read: int
    pieces: tuple[Piece, ...]


def part_of(key: bytes, parts: int) -> int:
    """Deals a key to a part, alike in every process."""
    return zlib.crc32(key) % parts


def _context(descriptor: beam_fn_api_pb2.ProcessBundleDescriptor) -> PipelineContext:
    """Gives the coders and window functions of a stage."""
    return PipelineContext(
        beam_runner_api_pb2.Components(coders=descriptor.coders, windowing_strategies=descriptor.windowing_strategies)
    )


def run_task(task: StageTask, number: int, reading: Reading) -> Report:
    """Executes a stage on one part of its input.

    Args:
        task: The stage.
        number: Of the task in its stage.
        reading: The part.

    Returns:
        What was read and written; nothing of it counts before the run has taken this report.

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
    made: dict[str, list[bytes]] = {transform: [] for transform in task.outputs}
    for transform, data in run_bundle(descriptor, {reading.transform: chunks}, task):
        made[transform].append(data)
    blocks = (
        Block(output.buffer, part, dealt)
        for transform, output in task.outputs.items()
        for part, dealt in deal(context, output, b"".join(made[transform]), number).items()
    )
    return Report(number, read, task.files.write(blocks))


def run_bundle(
    descriptor: beam_fn_api_pb2.ProcessBundleDescriptor,
    given: Mapping[str, Iterable[bytes]],
    task: StageTask,
) -> Iterator[tuple[str, bytes]]:
    """Executes one bundle.

    Args:
        descriptor: The stage.
        given: Id of each reading transform -> encoded elements.
        task: The stage's side inputs and outputs.

    Yields:
        Id of a transform that writes, and encoded elements.

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
        yield from _process(worker, descriptor.id, given, list(task.outputs))
    finally:
        worker.stop_worker()


def _process(
    worker: EmbeddedWorkerHandler, descriptor: str, given: Mapping[str, Iterable[bytes]], outputs: list[str]
) -> Iterator[tuple[str, bytes]]:
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
    for output in worker.data_conn.input_elements(bundle, outputs):
        if output.data:
            yield output.transform_id, output.data
    if answer.process_bundle.requires_finalization:
        finalize = beam_fn_api_pb2.FinalizeBundleRequest(instruction_id=bundle)
        answer = worker.push(beam_fn_api_pb2.InstructionRequest(finalize_bundle=finalize)).get()
        if answer.error:
            raise BundleError(answer.error)


def _grouped(context: PipelineContext, grouping: Grouping, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Groups key-value pairs; keys and the values of a key stay in the order in which they come."""
    buffer = GroupingBuffer(
        context.coders[grouping.before],
        context.coders[grouping.after],
        context.windowing_strategies[grouping.windowing],
    )
    for chunk in chunks:
        buffer.append(chunk)
    return (chunk for chunk in buffer if chunk)


def deal(context: PipelineContext, output: Output, data: bytes, first: int) -> Mapping[int, bytes]:
    """Deals encoded elements out to the parts of their buffer; each part keeps their order.

    Args:
        context: With their coder.
        output: Where they go.
        data: The elements.
        first: Where dealing in turn begins, so that many tasks of few elements do not all begin with the same part.
    """
    if not output.parts:
        return {0: data}
    coder = context.coders[output.coder]
    assert isinstance(coder, WindowedValueCoder)
    key_coder = coder.key_coder().get_impl() if output.by_key else None
    dealt: dict[int, Any] = {}
    stream, place = create_InputStream(data), first
    while stream.size() > 0:
        element = coder.get_impl().decode_from_stream(stream, True)
        part = place % output.parts if key_coder is None else part_of(key_coder.encode(element.value[0]), output.parts)
        coder.get_impl().encode_to_stream(element, dealt.setdefault(part, create_OutputStream()), True)
        place += 1
    return {part: found.get() for part, found in dealt.items()}
