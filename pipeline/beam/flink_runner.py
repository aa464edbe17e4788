"""Fused stages of Beam as Flink jobs: a part of a stage's input is a Flink task.

Neither Java nor PyFlink is needed here: the job is one class (:mod:`stage_job`), sent to the JobManager's REST service,
and each of its tasks asks the pool of Python workers beside its TaskManager (:mod:`task_pool`). PyFlink would start a
Python process for each job and TaskManager, and pins a Beam that is years older than ours.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions

from pipeline.beam.flink_rest import FlinkError, FlinkRest
from pipeline.beam.stage_job import JAR
from pipeline.beam.stage_tasks import Reading, Report, StageTask
from pipeline.beam.staged_run import Execute
from pipeline.beam.staged_runner import StagedRunner, python_reason
from pipeline.beam.task_files import TaskFiles
from pipeline.beam.task_key import find_task_key


class FlinkStageOptions(PipelineOptions):
    """Options of :class:`FlinkStageRunner`, beside Beam's ``--flink_master``."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--flink_partitions", type=int, default=0, help="of a stage; 0: twice the cluster's slots")
        parser.add_argument("--flink_scratch", default="", help="folder that the driver and all workers see")


class FlinkStageError(RuntimeError):
    """Flink gave a stage up; the message ends with the worker's error."""


class FlinkStageRunner(StagedRunner):
    """Runs a batch pipeline on Flink."""

    def engine(self, options: PipelineOptions) -> tuple[Execute, int, str]:
        """Connects to Flink."""
        own = options.view_as(FlinkStageOptions)
        if not own.flink_scratch:
            raise ValueError("--flink_scratch is missing: name a folder that the driver and all workers see.")
        key = find_task_key(os.environ)
        flink = FlinkRest(options.view_as(FlinkRunnerOptions).flink_master)
        slots = flink.slots()
        if not slots:
            raise FlinkError("The Flink cluster has no TaskManager: start one, with a pool of workers beside it.")
        jar, number = flink.upload(JAR), itertools.count()

        def execute(task: StageTask, readings: Sequence[Reading]) -> list[Report]:
            stage = f"stage-{next(number)}"
            files = TaskFiles(FileSystems.join(task.files.folder, stage), key)
            files.give(task, readings)
            job = flink.start(jar, [files.folder, str(len(readings)), f"breast-density {stage}"])
            try:
                flink.wait(job)
            except FlinkError as error:
                raise FlinkStageError(python_reason(str(error))) from None
            return files.reports(len(readings))

        return execute, own.flink_partitions or 2 * slots, own.flink_scratch
