"""One Beam pipeline as a sequence of fused stages, each a set of tasks that any engine may execute, repeat or move.

A stage begins when the one before has ended: its input are files that finished tasks reported (:mod:`stage_files`), and
the run takes one report a task. Elements come in the order in which stages and tasks made them, so that a result does
not depend on timing. Batch only: no user state, timers or unbounded sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.runners.portability.fn_api_runner.execution import (
    ENCODED_IMPULSE_VALUE,
    BundleContextManager,
    FnApiRunnerExecutionContext,
    ListBuffer,
)
from apache_beam.runners.portability.fn_api_runner.worker_handlers import StateServicer

from pipeline.beam.stage_files import Block, Piece, StageFiles
from pipeline.beam.stage_tasks import Grouping, Output, Reading, Report, StageTask

Execute = Callable[[StageTask, Sequence[Reading]], Sequence[Report]]
"""Executes one task for each reading and gives one report of each, in any order."""

_PROCESS: Final = common_urns.sdf_components.PROCESS_SIZED_ELEMENTS_AND_RESTRICTIONS.urn


class LostElementsError(RuntimeError):
    """An engine's reports are not one of each task about all that it was given; the message tells the stage."""


class _SideInputs(StateServicer):
    """Takes the place of Beam's state service while the run fills it with side inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[bytes, bytes] = {}

    def append_raw(self, state_key: beam_fn_api_pb2.StateKey, data: bytes) -> Any:
        name = state_key.SerializeToString()
        self.values[name] = self.values.get(name, b"") + data
        return super().append_raw(state_key, b"")


def in_order(stage: str, readings: Sequence[Reading], reports: Sequence[Report]) -> list[Report]:
    """Puts reports into the order of their tasks.

    Raises:
        LostElementsError: A task has no report, or two, or has not read all that was written for it.
    """
    ordered = sorted(reports, key=lambda report: report.number)
    wanted = [(number, sum(piece.length for piece in reading.pieces)) for number, reading in enumerate(readings)]
    found = [(report.number, report.read) for report in ordered]
    if found != wanted:
        raise LostElementsError(
            f"{stage}: {len(wanted)} tasks were given {sum(read for _, read in wanted)} bytes of elements; run again."
            f" Received: {len(found)} reports, of {sum(read for _, read in found)} bytes"
        )
    return ordered


class StagedRun:
    """A pipeline that runs: the buffers between its stages."""

    def __init__(
        self,
        context: FnApiRunnerExecutionContext,
        stages: Sequence[translations.Stage],
        files: StageFiles,
        parts: int,
        execute: Execute,
    ):
        """Makes a run.

        Args:
            context: Beam's, of all stages.
            stages: In the order in which they will run.
            files: What lies between stages.
            parts: Tasks of a stage, at most, but for stages that read several buffers.
            execute: The engine.
        """
        self._context = context
        self._files = files
        self._parts = parts
        self._execute = execute
        impulse = files.write([Block(translations.IMPULSE_BUFFER, 0, ENCODED_IMPULSE_VALUE)])
        self._buffers: dict[bytes, list[Piece]] = {translations.IMPULSE_BUFFER: list(impulse)}
        self._side_inputs = {
            consumer: source
            for sources in context.side_input_descriptors_by_stage.values()
            for consumer, source in sources.items()
        }
        self._spread = {
            buffer
            for stage in stages
            if any(transform.spec.urn == _PROCESS for transform in stage.transforms)
            for buffer in self._sources(stage).values()
        }

    def stage(self, stage: translations.Stage) -> None:
        """Runs a stage to its end.

        Raises:
            LostElementsError: The engine lost something.
        """
        manager = self._context.bundle_manager_for(stage)
        descriptor = manager.process_bundle_descriptor
        outputs = {name: self._output(manager, name, buffer) for name, buffer in manager.stage_data_outputs.items()}
        task = StageTask(descriptor.SerializeToString(), outputs, self._collect_side_inputs(stage), self._files)
        readings = [
            reading for name, buffer in self._sources(stage).items() for reading in self._readings(name, buffer)
        ]
        for output in outputs.values():
            self._buffers.setdefault(output.buffer, [])
        if readings:
            for report in in_order(stage.name, readings, self._execute(task, readings)):
                for piece in report.pieces:
                    self._buffers[piece.buffer].append(piece)

    @property
    def handed_on(self) -> int:
        """Bytes of elements that stages have written for others so far."""
        return sum(piece.length for pieces in self._buffers.values() for piece in pieces)

    def _sources(self, stage: translations.Stage) -> Mapping[str, bytes]:
        """Gives the buffer of each transform of a stage that reads one."""
        known = self._context.input_transform_to_buffer_id
        names = [transform.unique_name for transform in stage.transforms]
        return {name: known[name] for name in names if name in known}

    def _readings(self, name: str, buffer: bytes) -> list[Reading]:
        """Cuts a buffer into the inputs of tasks."""
        pieces = self._buffers.get(buffer, [])
        grouping = self._grouping(buffer)
        if grouping is not None or buffer in self._spread:
            parts = sorted({piece.part for piece in pieces})
            cut = [[piece for piece in pieces if piece.part == part] for part in parts]
        else:
            tasks = min(self._parts, len(pieces))
            cut = [pieces[len(pieces) * i // tasks : len(pieces) * (i + 1) // tasks] for i in range(tasks)]
        return [Reading(name, tuple(part), grouping) for part in cut]

    def _output(self, manager: BundleContextManager, name: str, buffer: bytes) -> Output:
        by_key = self._group_of(buffer) is not None
        if not by_key and buffer not in self._spread:
            return Output(buffer)
        port = manager.process_bundle_descriptor.transforms[name].spec.payload
        coder = beam_fn_api_pb2.RemoteGrpcPort.FromString(port).coder_id
        return Output(buffer, self._parts, self._context.safe_coders.get(coder, coder), by_key)

    def _group_of(self, buffer: bytes) -> str | None:
        """Gives the transform that groups a buffer, if one does."""
        if buffer == translations.IMPULSE_BUFFER:
            return None
        kind, name = translations.split_buffer_id(buffer)
        return name if kind == "group" else None

    def _grouping(self, buffer: bytes) -> Grouping | None:
        transform = self._group_of(buffer)
        if transform is None:
            return None
        components, context = self._context.pipeline_components, self._context
        [before] = components.transforms[transform].inputs.values()
        [after] = components.transforms[transform].outputs.values()
        windowing = components.pcollections[before].windowing_strategy_id
        if context.safe_windowing_strategies[windowing] != windowing:
            raise NotImplementedError(f"{transform}: a window function of one's own cannot be grouped by this runner.")
        return Grouping(
            context.safe_coders[context.data_channel_coders[before]],
            context.safe_coders[context.data_channel_coders[after]],
            windowing,
        )

    def _collect_side_inputs(self, stage: translations.Stage) -> Mapping[bytes, bytes]:
        names = {transform.unique_name for transform in stage.transforms}
        wanted = {consumer: source for consumer, source in self._side_inputs.items() if consumer[0] in names}
        for buffer, _ in wanted.values():
            if buffer not in self._context.pcoll_buffers and buffer in self._buffers:
                collected = ListBuffer(None)
                for piece in self._buffers[buffer]:
                    collected.append(self._files.read(piece))
                self._context.pcoll_buffers[buffer] = collected
        state = _SideInputs()
        self._context.worker_handler_manager.state_servicer = state
        self._context.commit_side_inputs_to_state(wanted)
        return state.values
