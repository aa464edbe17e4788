"""A Beam runner that executes fused stages as Spark tasks, through PySpark.

Beam's own Spark runner is a Java job server. This one needs a Spark cluster and PySpark, and nothing else: Beam's
Python code optimises the pipeline into fused stages and executes the bundles; Spark spreads them over the workers,
shuffles between them, and repeats what a lost worker had done. Batch only: no user state, timers or unbounded sources.

A stage is a ``mapPartitions``, grouping by key is a shuffle, a side input is collected and broadcast. Elements travel
encoded. Values of a key come in the order in which they were made, so that a run's result does not depend on timing,
and random numbers start from stage and partition, so that what Spark repeats is what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions, SparkRunnerOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner, translations
from apache_beam.runners.portability.fn_api_runner.execution import (
    ENCODED_IMPULSE_VALUE,
    BundleContextManager,
    FnApiRunnerExecutionContext,
)
from apache_beam.runners.portability.fn_api_runner.worker_handlers import StateServicer, WorkerHandlerManager
from apache_beam.runners.runner import PipelineState

from pipeline.beam_runners import spark_daemon
from pipeline.beam_runners.spark_bundles import (
    Grouping,
    StageTask,
    by_key,
    dealt,
    grouped,
    one_by_one,
    partition_of,
    run_bundle,
)

if TYPE_CHECKING:
    from pyspark import RDD, SparkContext

_Record = TypeVar("_Record")
_PROCESS: Final = common_urns.sdf_components.PROCESS_SIZED_ELEMENTS_AND_RESTRICTIONS.urn


class SparkStageOptions(PipelineOptions):
    """Options of :class:`SparkStageRunner`, beside Beam's ``--spark_master_url``."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--spark_property", action="append", default=[], help="KEY=VALUE of Spark's configuration")
        parser.add_argument(
            "--spark_partitions", type=int, default=0, help="of a shuffle; 0: twice the cluster's cores"
        )


class SparkStageError(RuntimeError):
    """Spark gave a stage up; the message ends with the worker's error."""


class _SideInputs(StateServicer):
    """Takes the place of Beam's state service while the runner fills it with side inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[bytes, bytes] = {}

    def append_raw(self, state_key: beam_fn_api_pb2.StateKey, data: bytes) -> Any:
        name = state_key.SerializeToString()
        self.values[name] = self.values.get(name, b"") + data
        return super().append_raw(state_key, b"")


def _reason(message: str) -> str:
    """Finds the Python traceback in the message of a Spark job that failed."""
    _, found, trace = message.partition("Traceback (most recent call last)")
    return (found + trace).partition("\n\tat ")[0].strip() if found else message


class _Run:
    """One pipeline on Spark: the buffers between its stages."""

    def __init__(self, spark: SparkContext, context: FnApiRunnerExecutionContext, partitions: int):
        self._spark = spark
        self._context = context
        self._partitions = partitions
        self._components = spark.broadcast(context.pipeline_components.SerializeToString())
        self._buffers: dict[bytes, list[RDD[bytes]]] = {}
        self._kept: list[RDD[tuple[bytes, bytes]]] = []
        self._side_inputs = {
            consumer: source
            for sources in context.side_input_descriptors_by_stage.values()
            for consumer, source in sources.items()
        }

    def stage(self, stage: translations.Stage) -> None:
        """Lays out a stage; what nobody reads is executed at once, as is what a side input needs."""
        from pyspark import StorageLevel  # an optional dependency

        manager = self._context.bundle_manager_for(stage)
        sources = {
            transform.unique_name: self._context.input_transform_to_buffer_id[transform.unique_name]
            for transform in stage.transforms
            if transform.unique_name in self._context.input_transform_to_buffer_id
        }
        task = StageTask(
            manager.process_bundle_descriptor.SerializeToString(),
            tuple(sources),
            manager.stage_data_outputs,
            self._collect_side_inputs(stage),
        )
        spread = any(transform.spec.urn == _PROCESS for transform in stage.transforms)
        given = [self._read(name, buffer, manager, spread) for name, buffer in sources.items()]
        sent = self._spark.broadcast(task)
        # Kept, on disk too, so that a stage runs once, but for what is lost with a worker.
        done = self._together(given).mapPartitionsWithIndex(
            lambda index, records: run_bundle(sent.value, index, records)
        )
        done.persist(StorageLevel.MEMORY_AND_DISK)
        self._kept.append(done)
        for buffer in set(task.outputs.values()):
            part = done.filter(partial(_belongs, buffer)).values()
            self._buffers.setdefault(buffer, []).append(part)
        if not task.outputs:
            done.count()

    def _collect_side_inputs(self, stage: translations.Stage) -> Mapping[bytes, bytes]:
        names = {transform.unique_name for transform in stage.transforms}
        wanted = {consumer: source for consumer, source in self._side_inputs.items() if consumer[0] in names}
        for buffer, _ in wanted.values():
            if buffer not in self._context.pcoll_buffers and buffer in self._buffers:
                self._context.pcoll_buffers[buffer] = self._together(self._buffers[buffer]).collect()
        state = _SideInputs()
        self._context.worker_handler_manager.state_servicer = state
        self._context.commit_side_inputs_to_state(wanted)
        return state.values

    def _read(self, name: str, buffer: bytes, manager: BundleContextManager, spread: bool) -> RDD[tuple[str, bytes]]:
        """Gives the elements of a buffer with the name of the transform that reads them."""
        if buffer == translations.IMPULSE_BUFFER:
            chunks = self._spark.parallelize([ENCODED_IMPULSE_VALUE], 1)
        else:
            written = self._buffers.get(buffer, [])
            chunks = self._together(written) if written else self._spark.parallelize([], 1)
            if translations.split_buffer_id(buffer)[0] == "group":
                chunks = self._group(chunks, self._grouping(translations.split_buffer_id(buffer)[1]))
            elif spread:
                port = manager.process_bundle_descriptor.transforms[name].spec.payload
                chunks = self._spread(chunks, beam_fn_api_pb2.RemoteGrpcPort.FromString(port).coder_id)
        return chunks.map(lambda data: (name, data))

    def _together(self, parts: list[RDD[_Record]]) -> RDD[_Record]:
        """Unites; one part alone stays as it is, so that what follows runs in the same Python process."""
        return parts[0] if len(parts) == 1 else self._spark.union(parts)

    def _grouping(self, transform: str) -> Grouping:
        components, context = self._context.pipeline_components, self._context
        [before] = components.transforms[transform].inputs.values()
        [after] = components.transforms[transform].outputs.values()
        windowing = components.pcollections[before].windowing_strategy_id
        if context.safe_windowing_strategies[windowing] != windowing:
            raise NotImplementedError(f"{transform}: a window function of one's own cannot be grouped on Spark here.")
        return Grouping(
            context.safe_coders[context.data_channel_coders[before]],
            context.safe_coders[context.data_channel_coders[after]],
            windowing,
        )

    def _group(self, chunks: RDD[bytes], grouping: Grouping) -> RDD[bytes]:
        components = self._components
        return (
            chunks.mapPartitionsWithIndex(lambda index, part: by_key(components.value, grouping, index, part))
            .partitionBy(self._partitions, partition_of)
            .mapPartitions(lambda pairs: grouped(components.value, grouping, pairs))
        )

    def _spread(self, chunks: RDD[bytes], coder: str) -> RDD[bytes]:
        components, known = self._components, self._context.safe_coders.get(coder, coder)
        return (
            chunks.mapPartitionsWithIndex(lambda index, part: one_by_one(components.value, known, index, part))
            .partitionBy(self._partitions, int)
            .mapPartitions(dealt)
        )

    def close(self) -> None:
        """Frees what the workers kept between stages."""
        for part in self._kept:
            part.unpersist()


def _belongs(buffer: bytes, record: tuple[bytes, bytes]) -> bool:
    return record[0] == buffer


class SparkStageRunner(fn_runner.FnApiRunner):
    """Runs a batch pipeline's fused stages on Spark; see the module."""

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

    def run_via_runner_api(
        self, pipeline_proto: beam_runner_api_pb2.Pipeline, options: PipelineOptions
    ) -> fn_runner.RunnerResult:
        """Runs a pipeline to its end."""
        self._options = options
        return super().run_via_runner_api(pipeline_proto, options)

    def run_stages(
        self, stage_context: translations.TransformContext, stages: Sequence[translations.Stage]
    ) -> fn_runner.RunnerResult:
        """Runs sorted stages.

        Raises:
            SparkStageError: A task failed as often as Spark tries.
        """
        from py4j.protocol import Py4JJavaError  # comes with PySpark, an optional dependency

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
        spark = spark_context(self._options)
        partitions = self._options.view_as(SparkStageOptions).spark_partitions or 2 * spark.defaultParallelism
        run = _Run(spark, context, partitions)
        try:
            for stage in stages:
                run.stage(stage)
        except Py4JJavaError as error:
            raise SparkStageError(_reason(str(error.java_exception.getMessage()))) from None
        finally:
            run.close()
            manager.close_all()
        return fn_runner.RunnerResult(PipelineState.DONE, {})


def spark_context(options: PipelineOptions) -> SparkContext:
    """Connects this process to its Spark application, which is kept for further pipelines."""
    from pyspark import SparkConf, SparkContext

    properties = [item.partition("=")[::2] for item in options.view_as(SparkStageOptions).spark_property]
    conf = SparkConf().setAppName("breast-density").setMaster(options.view_as(SparkRunnerOptions).spark_master_url)
    conf.setIfMissing("spark.python.daemon.module", spark_daemon.__name__)
    return SparkContext.getOrCreate(conf.setAll(properties))
