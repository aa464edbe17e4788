"""Fused stages of Beam as Spark jobs, through PySpark: a part of a stage's input is a Spark task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from apache_beam.options.pipeline_options import PipelineOptions, SparkRunnerOptions

from pipeline.beam import spark_daemon
from pipeline.beam.spark_gateway import spark_context
from pipeline.beam.stage_tasks import Reading, Report, StageTask, run_task
from pipeline.beam.staged_run import Execute
from pipeline.beam.staged_runner import StagedRunner, python_reason

if TYPE_CHECKING:
    from pyspark import SparkContext


class SparkStageOptions(PipelineOptions):
    """Options of :class:`SparkStageRunner`, beside Beam's ``--spark_master_url``."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--spark_property", action="append", default=[], help="KEY=VALUE of Spark's configuration")
        parser.add_argument("--spark_partitions", type=int, default=0, help="of a stage; 0: twice the cluster's cores")
        parser.add_argument("--spark_scratch", default="", help="folder that the driver and all workers see")


class SparkStageError(RuntimeError):
    """Spark gave a stage up; the message ends with the worker's error."""


class SparkStageRunner(StagedRunner):
    """Runs a batch pipeline on Spark."""

    def engine(self, options: PipelineOptions) -> tuple[Execute, int, str]:
        """Connects to Spark."""
        own = options.view_as(SparkStageOptions)
        if not own.spark_scratch:
            raise ValueError("--spark_scratch is missing: name a folder that the driver and all workers see.")
        spark = _connect(options)

        def execute(task: StageTask, readings: Sequence[Reading]) -> list[Report]:
            return execute_on(spark, task, readings)

        return execute, own.spark_partitions or 2 * spark.defaultParallelism, own.spark_scratch


def execute_on(spark: SparkContext, task: StageTask, readings: Sequence[Reading]) -> list[Report]:
    """Executes a stage as one Spark job.

    Raises:
        SparkStageError: A task failed as often as Spark tries.
    """
    from py4j.protocol import Py4JJavaError  # comes with PySpark, an optional dependency

    sent = spark.broadcast(task)
    try:
        numbered = spark.parallelize(list(enumerate(readings)), len(readings))
        return numbered.map(lambda given: run_task(sent.value, *given)).collect()
    except Py4JJavaError as error:
        raise SparkStageError(python_reason(str(error.java_exception.getMessage()))) from None
    finally:
        sent.unpersist()


def _connect(options: PipelineOptions) -> SparkContext:
    from pyspark import SparkConf

    properties = [item.partition("=")[::2] for item in options.view_as(SparkStageOptions).spark_property]
    conf = SparkConf().setAppName("breast-density").setMaster(options.view_as(SparkRunnerOptions).spark_master_url)
    conf.setIfMissing("spark.python.daemon.module", spark_daemon.__name__)
    return spark_context(conf.setAll(properties))
