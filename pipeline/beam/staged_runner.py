"""A Beam runner that executes a pipeline's fused stages as tasks of an engine, which a subclass has.

Beam's own runners for Spark and Flink are Java job servers. Here Beam's Python code optimises the pipeline into fused
stages and executes the bundles (:mod:`stage_tasks`); the engine spreads them over its workers and repeats what a lost
worker had not finished. What lies between stages is in files (:mod:`staged_run`), not in the engine's shuffle: it would
compute a lost part of it again, and Beam's sources and combiners draw keys at random, name things by uuid and size
batches by the clock, so that a part computed again need not fit to what others have read before.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Sequence
from typing import Final

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner, translations
from apache_beam.runners.portability.fn_api_runner.execution import FnApiRunnerExecutionContext
from apache_beam.runners.portability.fn_api_runner.worker_handlers import WorkerHandlerManager
from apache_beam.runners.runner import PipelineState

from pipeline.beam.stage_files import StageFiles
from pipeline.beam.staged_run import Execute, StagedRun

LOG: Final = logging.getLogger(__name__)


def python_reason(message: str) -> str:
    """Finds the Python traceback in what a Java engine says of a task that failed."""
    _, found, trace = message.partition("Traceback (most recent call last)")
    return (found + trace).partition("\n\tat ")[0].strip() if found else message


class StagedRunner(fn_runner.FnApiRunner, abc.ABC):
    """Runs a batch pipeline stage by stage; a subclass has the engine."""

    def __init__(self) -> None:
        super().__init__()
        self._options = PipelineOptions([])

    @staticmethod
    def supported_requirements() -> tuple[str, ...]:
        """Tells what a pipeline may ask for."""
        return (
            common_urns.requirements.REQUIRES_BUNDLE_FINALIZATION.urn,
            common_urns.requirements.REQUIRES_SPLITTABLE_DOFN.urn,
        )

    @abc.abstractmethod
    def engine(self, options: PipelineOptions) -> tuple[Execute, int, str]:
        """Gives what executes tasks, how many a stage is cut into, and the folder for what lies between stages."""

    def run_via_runner_api(
        self, pipeline_proto: beam_runner_api_pb2.Pipeline, options: PipelineOptions
    ) -> fn_runner.RunnerResult:
        """Runs a pipeline to its end."""
        self._options = options
        return super().run_via_runner_api(pipeline_proto, options)

    def run_stages(
        self, stage_context: translations.TransformContext, stages: Sequence[translations.Stage]
    ) -> fn_runner.RunnerResult:
        """Runs sorted stages."""
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
                run.stage(stage)
            LOG.info("%d stages handed %d bytes on.", len(stages), run.handed_on)
        finally:
            files.remove()
            manager.close_all()
        return fn_runner.RunnerResult(PipelineState.DONE, {})
