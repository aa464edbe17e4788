"""A Beam runner that executes the fused stages of a pipeline as tasks of an engine; a subclass provides the engine.

Beam's own runners for Spark and Flink are Java job servers. Here Beam's Python code optimises the pipeline into fused
stages and executes the bundles (:mod:`stage_tasks`). The engine distributes them over its workers and repeats what a
lost worker had not finished.

A stage begins when the previous one has ended. Its input are files that finished tasks reported (:mod:`stage_files`),
and the run accepts one report per task. Elements come in the order of the stages and tasks that made them, so that a
result does not depend on timing. The engine's shuffle is not used, because it would compute a lost part again: Beam's
sources and combiners draw random keys, name things by UUID and size batches by the clock, so a part that is computed
again may not match what others have read before. Only batch pipelines: no user state, timers or unbounded sources.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner, translations
from apache_beam.runners.portability.fn_api_runner.execution import (
    ENCODED_IMPULSE_VALUE,
    BundleContextManager,
    FnApiRunnerExecutionContext,
    ListBuffer,
)
from apache_beam.runners.portability.fn_api_runner.worker_handlers import StateServicer, WorkerHandlerManager
from apache_beam.runners.runner import PipelineState

from pipeline.beam.staged.stage_files import Block, Piece, StageFiles
from pipeline.beam.staged.stage_tasks import Grouping, Output, Reading, StageTask, TaskReport

Execute = Callable[[StageTask, Sequence[Reading]], Sequence[TaskReport]]
"""Execute one task per reading, and return one report per task, in any order."""

_PROCESS: Final = common_urns.sdf_components.PROCESS_SIZED_ELEMENTS_AND_RESTRICTIONS.urn


class LostElementsError(RuntimeError):
    """The reports of an engine do not cover all tasks and all of their input; the message names the stage."""


class _SideInputs(StateServicer):
    """Replace Beam's state service while the run fills it with side inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[bytes, bytes] = {}

    def append_raw(self, state_key: beam_fn_api_pb2.StateKey, data: bytes) -> Any:
        name = state_key.SerializeToString()
        self.values[name] = self.values.get(name, b"") + data
        return super().append_raw(state_key, b"")


def reports_in_order(stage: str, readings: Sequence[Reading], reports: Sequence[TaskReport]) -> list[TaskReport]:
    """Return reports in the order of their tasks.

    Raises:
        LostElementsError: A task has no report, or two reports, or has not read all of its input.
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
    """A running pipeline: the buffers between its stages."""

    def __init__(
        self,
        context: FnApiRunnerExecutionContext,
        stages: Sequence[translations.Stage],
        files: StageFiles,
        parts: int,
        execute: Execute,
    ):
        """Create a run.

        Args:
            context: Beam's context of all stages.
            stages: The stages, in the order of execution.
            files: The files between stages.
            parts: Maximum number of tasks per stage; stages that read several buffers may have more.
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

    def run_stage(self, stage: translations.Stage) -> None:
        """Run a stage to its end.

        Raises:
            LostElementsError: The engine lost elements.
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
            for report in reports_in_order(stage.name, readings, self._execute(task, readings)):
                for piece in report.pieces:
                    self._buffers[piece.buffer].append(piece)

    @property
    def bytes_between_stages(self) -> int:
        """Size of the elements that stages have written for others so far, bytes."""
        return sum(piece.length for pieces in self._buffers.values() for piece in pieces)

    def _sources(self, stage: translations.Stage) -> Mapping[str, bytes]:
        """Return the input buffer of each transform of a stage that has one."""
        known = self._context.input_transform_to_buffer_id
        names = [transform.unique_name for transform in stage.transforms]
        return {name: known[name] for name in names if name in known}

    def _readings(self, name: str, buffer: bytes) -> list[Reading]:
        """Divide a buffer into the inputs of tasks."""
        pieces = self._buffers.get(buffer, [])
        grouping = self._grouping(buffer)
        if grouping is not None or buffer in self._spread:
            parts = sorted({piece.part for piece in pieces})
            inputs = [[piece for piece in pieces if piece.part == part] for part in parts]
        else:
            tasks = min(self._parts, len(pieces))
            inputs = [pieces[len(pieces) * i // tasks : len(pieces) * (i + 1) // tasks] for i in range(tasks)]
        return [Reading(name, tuple(part), grouping) for part in inputs]

    def _output(self, manager: BundleContextManager, name: str, buffer: bytes) -> Output:
        by_key = self._group_of(buffer) is not None
        if not by_key and buffer not in self._spread:
            return Output(buffer)
        port = manager.process_bundle_descriptor.transforms[name].spec.payload
        coder = beam_fn_api_pb2.RemoteGrpcPort.FromString(port).coder_id
        return Output(buffer, self._parts, self._context.safe_coders.get(coder, coder), by_key)

    def _group_of(self, buffer: bytes) -> str | None:
        """Return the transform that groups a buffer; None if there is none."""
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
            raise NotImplementedError(f"{transform}: this runner cannot group by a custom window function.")
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


LOG: Final = logging.getLogger(__name__)


def python_reason(message: str) -> str:
    """Return the Python traceback in a Java engine's message about a failed task."""
    _, found, trace = message.partition("Traceback (most recent call last)")
    return (found + trace).partition("\n\tat ")[0].strip() if found else message


class StagedRunner(fn_runner.FnApiRunner, abc.ABC):
    """Run a batch pipeline stage by stage; a subclass provides the engine."""

    def __init__(self) -> None:
        super().__init__()
        self._options = PipelineOptions([])

    @staticmethod
    def supported_requirements() -> tuple[str, ...]:
        """Return the requirements of pipelines that this runner supports."""
        return (
            common_urns.requirements.REQUIRES_BUNDLE_FINALIZATION.urn,
            common_urns.requirements.REQUIRES_SPLITTABLE_DOFN.urn,
        )

    @abc.abstractmethod
    def engine(self, options: PipelineOptions) -> tuple[Execute, int, str]:
        """Return the engine, the maximum number of tasks per stage, and the folder for files between stages."""

    def run_via_runner_api(
        self, pipeline_proto: beam_runner_api_pb2.Pipeline, options: PipelineOptions
    ) -> fn_runner.RunnerResult:
        """Run a pipeline to its end."""
        self._options = options
        return super().run_via_runner_api(pipeline_proto, options)

    def run_stages(
        self, stage_context: translations.TransformContext, stages: Sequence[translations.Stage]
    ) -> fn_runner.RunnerResult:
        """Run sorted stages."""
        manager = WorkerHandlerManager(stage_context.components.environments, self._provision_info)
        context = FnApiRunnerExecutionContext(
            list(stages),
            manager,
            stage_context.components,
            stage_context.safe_coders,
            stage_context.data_channel_coders,
            num_workers=1,
        )
        context.setup()
        execute, parts, scratch = self.engine(self._options)
        files = StageFiles.fresh(scratch)
        try:
            run = StagedRun(context, stages, files, parts, execute)
            for stage in stages:
                run.run_stage(stage)
            LOG.info("%d stages handed %d bytes on.", len(stages), run.bytes_between_stages)
        finally:
            files.remove()
            manager.close_all()
        return fn_runner.RunnerResult(PipelineState.DONE, {})
