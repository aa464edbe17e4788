"""Run fused stages of Beam as Spark jobs, through PySpark: each part of a stage's input is a Spark task.

The JVM of the Spark driver is not started as PySpark starts it. PySpark runs Python between fork and exec
(``preexec_fn``), in a copy of a process whose other threads (gRPC's and TensorFlow's) may hold locks. Sometimes the
copy then dies or hangs, and no JVM starts. ClickHouse/ClickHouse pull request 113870 reports the same.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from apache_beam.options.pipeline_options import PipelineOptions, SparkRunnerOptions

from pipeline.beam.staged import fork_server
from pipeline.beam.staged.stage_tasks import Reading, StageTask, TaskReport, run_stage_task
from pipeline.beam.staged.staged_runner import Execute, StagedRunner, python_reason

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext

_START_TIMEOUT: Final = 300.0  # seconds
_PORT, _SECRET = "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"


class GatewayError(RuntimeError):
    """Spark's driver did not start; its JVM has written the reason to standard error."""


def _start_jvm(conf: SparkConf, connection_file: Path) -> subprocess.Popen[bytes]:
    """Start the driver's JVM in its own session, so that only Python handles Ctrl-C.

    Raises:
        GatewayError: The JVM ended, or did not respond within five minutes.
    """
    from pyspark.find_spark_home import _find_spark_home

    settings = [word for key, value in conf.getAll() for word in ("--conf", f"{key}={value}")]
    environment = {**os.environ, "_PYSPARK_DRIVER_CONN_INFO_PATH": str(connection_file)}
    process = subprocess.Popen(
        [str(Path(_find_spark_home(), "bin", "spark-submit")), *settings, "pyspark-shell"],
        stdin=subprocess.PIPE,  # the JVM ends when it is closed
        env=environment,
        start_new_session=True,
    )
    deadline = time.monotonic() + _START_TIMEOUT
    while not connection_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise GatewayError("Spark's driver did not start: its JVM has written the reason to standard error.")
        time.sleep(0.05)
    return process


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables while PySpark reads them."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


def spark_context(conf: SparkConf) -> SparkContext:
    """Connect this process to its Spark application, which later pipelines use too.

    Args:
        conf: Configuration of a new application.

    Raises:
        GatewayError: The driver's JVM did not start.
    """
    from pyspark import SparkContext
    from pyspark.serializers import UTF8Deserializer, read_int

    if SparkContext._gateway is not None or _PORT in os.environ:
        return SparkContext.getOrCreate(conf)
    with tempfile.TemporaryDirectory() as folder:
        connection_file = Path(folder) / "gateway"
        process = _start_jvm(conf, connection_file)
        with connection_file.open("rb") as file:
            port, secret = read_int(file), UTF8Deserializer().loads(file)
    with _variables({_PORT: str(port), _SECRET: secret}):
        spark = SparkContext.getOrCreate(conf)
    assert spark._gateway is not None
    spark._gateway.proc = process  # where PySpark keeps it
    return spark


class SparkStageOptions(PipelineOptions):
    """Options of :class:`SparkStageRunner`, in addition to Beam's ``--spark_master_url``."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--spark_property", action="append", default=[], help="KEY=VALUE of Spark's configuration")
        parser.add_argument("--spark_partitions", type=int, default=0, help="per stage; 0: twice the cluster's cores")
        parser.add_argument("--spark_scratch", default="", help="folder that the driver and all workers can open")


class SparkStageError(RuntimeError):
    """A stage failed on Spark; the message ends with the worker's error."""


class SparkStageRunner(StagedRunner):
    """Run a batch pipeline on Spark."""

    def engine(self, options: PipelineOptions) -> tuple[Execute, int, str]:
        """Connect to Spark."""
        own = options.view_as(SparkStageOptions)
        if not own.spark_scratch:
            raise ValueError("--spark_scratch is missing: name a folder that the driver and all workers can open.")
        spark = _connect(options)

        def execute(task: StageTask, readings: Sequence[Reading]) -> list[TaskReport]:
            return execute_on(spark, task, readings)

        return execute, own.spark_partitions or 2 * spark.defaultParallelism, own.spark_scratch


def execute_on(spark: SparkContext, task: StageTask, readings: Sequence[Reading]) -> list[TaskReport]:
    """Execute a stage as one Spark job.

    Raises:
        SparkStageError: A task failed in all of Spark's attempts.
    """
    from py4j.protocol import Py4JJavaError  # installed with PySpark, an optional dependency

    sent = spark.broadcast(task)
    try:
        numbered = spark.parallelize(list(enumerate(readings)), len(readings))
        result: list[TaskReport] = numbered.map(lambda item: run_stage_task(sent.value, *item)).collect()
        return result
    except Py4JJavaError as error:
        raise SparkStageError(python_reason(str(error.java_exception.getMessage()))) from None
    finally:
        sent.unpersist()


def _connect(options: PipelineOptions) -> SparkContext:
    from pyspark import SparkConf

    properties = [item.partition("=")[::2] for item in options.view_as(SparkStageOptions).spark_property]
    conf = SparkConf().setAppName("breast-density").setMaster(options.view_as(SparkRunnerOptions).spark_master_url)
    conf.setIfMissing("spark.python.daemon.module", fork_server.__name__)
    return spark_context(conf.setAll(properties))
