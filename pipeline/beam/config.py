"""Configure the runner of the Beam pipelines, and make the arguments that the pipelines take."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schema.software import installed_version

_ADDRESS: Final = r"^[A-Za-z0-9._-]+:[0-9]{1,5}$"
_SPARK_MASTER: Final = (
    r"^(local(\[([0-9]+|\*)\])?|yarn|spark://[A-Za-z0-9._-]+:[0-9]{1,5}(,[A-Za-z0-9._-]+:[0-9]{1,5})*|k8s://\S+)$"
)
_BUCKET: Final = r"^gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\s?#]*)?$"


class _Runner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DirectBeam(_Runner):
    """Beam's DirectRunner, in this process. The key ``runner`` sets the number of its workers.

    Attributes:
        runner: The kind of runner.
    """

    runner: Literal["direct"] = "direct"


class FlinkJobServer(_Runner):
    """The Flink cluster behind Beam's Flink job server.

    Attributes:
        master: ``host:port`` of the JobManager's REST service, as the job server reaches it. A job server that is not
            told a master runs everything in its own process.
        version: Version of Flink. Beam publishes a job server for each of these: 2.74 (base lane) for 1.17 to 2.0, 2.77
            (current lane) for 1.19 to 2.2.
        restarts: How often Flink starts a job again that lost a worker; 0 to fail at the first. Flink's own default is
            0.
        restart_seconds: Wait before each restart, s.
    """

    master: str = Field(pattern=_ADDRESS)
    version: Literal["1.17", "1.18", "1.19", "1.20", "2.0", "2.1", "2.2"]
    restarts: int = Field(3, ge=0, le=1000)
    restart_seconds: int = Field(10, ge=0, le=3600)


class PortableBeam(_Runner):
    """A job server of Beam: Prism, or those for Flink and Spark. The workers are Python processes with this package.

    Attributes:
        runner: The kind of runner.
        job_endpoint: ``host:port`` of the job server.
        worker_pool: ``host:port`` of ``breast-density worker-pool``, as each worker machine reaches it.
        worker_image: Image of the workers instead, for worker machines that can start containers.
        parallelism: Number of parallel tasks of a job on Flink.
        slots: Number of tasks that a worker machine runs at the same time, such as Flink's
            ``taskmanager.numberOfTaskSlots``.
        sdk_worker_parallelism: Number of Python processes per worker machine and job; null for one per slot.
        flink: The cluster, if the job server is Flink's.
        spark_master: Master URL of the cluster, if the job server is Spark's, as the job server reaches it.
    """

    runner: Literal["portable"]
    job_endpoint: str = Field(pattern=_ADDRESS)
    worker_pool: str | None = Field(None, pattern=_ADDRESS)
    worker_image: str | None = Field(None, pattern=r"^\S+$")
    parallelism: int = Field(1, ge=1, le=32768)
    slots: int = Field(2, ge=1, le=1024)
    sdk_worker_parallelism: int | None = Field(None, ge=1, le=1024)
    flink: FlinkJobServer | None = None
    spark_master: str | None = Field(None, pattern=_SPARK_MASTER)

    @model_validator(mode="after")
    def _one_kind_of_each(self) -> PortableBeam:
        if (self.worker_image is None) == (self.worker_pool is None):
            raise ValueError(
                "give either beam.worker_pool or beam.worker_image: a job has one kind of workers. Received:"
                f" {self.worker_pool or 'no pool'} and {self.worker_image or 'no image'}"
            )
        if self.flink is not None and self.spark_master is not None:
            raise ValueError("give beam.flink or beam.spark_master, not both: a job server has one cluster")
        return self


# Keys that runner: flink had, when it had two kinds of workers.
_KEYS_OF_JOB_SERVERS: Final = ("job_endpoint", "job_server_jar", "worker_image", "worker_pool", "parallelism")


class FlinkBeam(_Runner):
    """A Flink session cluster through this project's own runner. A pool of Python workers is beside each TaskManager.

    Attributes:
        runner: The kind of runner.
        master: ``host:port`` of the JobManager's REST service.
        partitions: Maximum number of tasks per stage; 0 means twice the cluster's slots when the run begins.
    """

    runner: Literal["flink"]
    master: str = Field(pattern=_ADDRESS)
    partitions: int = Field(0, ge=0, le=32768)

    @model_validator(mode="before")
    @classmethod
    def _no_job_server(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and (found := [key for key in _KEYS_OF_JOB_SERVERS if key in values]):
            raise ValueError(
                f"beam.{found[0]} is for Beam's job servers: set beam.runner to portable, and beam.flink.master instead"
                " of beam.master"
            )
        return values


class SparkBeam(_Runner):
    """A Spark cluster, through PySpark and this project's own runner. The Python of its executors has this package.

    Attributes:
        runner: The kind of runner.
        master: Spark's master URL, such as ``spark://host:7077``, ``k8s://https://host:443``, ``yarn`` or ``local[2]``.
        partitions: Maximum number of tasks per stage; 0 means twice the cluster's cores when the run begins.
        properties: Spark properties, such as ``spark.executor.memory``. They are stored in ML Metadata: secrets belong
            in ``spark-defaults.conf`` of ``SPARK_CONF_DIR``.
    """

    runner: Literal["spark"]
    master: str = Field(pattern=_SPARK_MASTER)
    partitions: int = Field(0, ge=0, le=1_000_000)
    properties: Mapping[Annotated[str, Field(pattern=r"^spark\.[A-Za-z0-9._-]+$")], str] = {}

    @model_validator(mode="after")
    def _no_secrets(self) -> SparkBeam:
        if found := [key for key in self.properties if "secret" in key.lower() or "password" in key.lower()]:
            raise ValueError(
                f"{', '.join(found)} must not be in the configuration, which is stored with each run: write it to"
                " spark-defaults.conf of SPARK_CONF_DIR"
            )
        return self


class DataflowBeam(_Runner):
    """Google Cloud Dataflow.

    Attributes:
        runner: The kind of runner.
        project: Google Cloud project.
        region: Region of the project.
        temp_location: ``gs://`` folder for temporary files and staging.
        worker_image: Container image of the workers, with this package.
        service_account: Service account of the workers; None for the project's default.
        machine_type: Machine type of a worker; None for Dataflow's choice.
        maximum_workers: Maximum number of machines.
        private_network: Workers have no public addresses.
    """

    runner: Literal["dataflow"]
    project: str = Field(pattern=r"^[a-z][-a-z0-9:.]{4,61}[a-z0-9]$")
    region: str = Field(pattern=r"^[a-z]+-[a-z]+[0-9]$")
    temp_location: str = Field(pattern=_BUCKET)
    worker_image: str = Field(pattern=r"^\S+$")
    service_account: str | None = Field(None, pattern=r"^\S+@\S+$")
    machine_type: str | None = Field(None, pattern=r"^[a-z0-9-]+$")
    maximum_workers: int = Field(10, ge=1, le=4000)
    private_network: bool = True


BeamConfig = Annotated[DirectBeam | PortableBeam | DataflowBeam | FlinkBeam | SparkBeam, Field(discriminator="runner")]


_THREADS_RUNNER: Final = "pipeline.beam.direct.ThreadsRunner"
_FLINK_RUNNER: Final = "pipeline.beam.staged.flink_runner.FlinkStageRunner"
_SPARK_RUNNER: Final = "pipeline.beam.staged.spark_runner.SparkStageRunner"
_SCRATCH: Final = "scratch"  # in the output folder
# An image name prevents TFX from building a package of itself for remote workers: they have it.
_NO_PACKAGE: Final = "--sdk_container_image=none"
# Workers import what they run. Dataflow would pickle the main session by default.
_BY_IMPORT: Final = "--no_save_main_session"


def beam_arguments(config: BeamConfig, output: str) -> list[str]:
    """Return the Beam arguments of every node.

    Args:
        config: Configuration of Beam.
        output: Absolute path or URI of the pipeline's output folder. Workers and Beam can open it.

    Returns:
        All arguments that the runner needs. Empty for the DirectRunner: TFX's own nodes are fastest with its defaults.
    """
    if isinstance(config, FlinkBeam):
        return _flink(config, output)
    if isinstance(config, SparkBeam):
        return _spark(config, output)
    if isinstance(config, PortableBeam):
        return _portable(config)
    if isinstance(config, DataflowBeam):
        return _dataflow(config)
    return []


def image_beam_arguments(config: BeamConfig, workers: int) -> list[str]:
    """Return the additional Beam arguments of nodes that work on pixels and release the GIL.

    Args:
        config: Configuration of Beam.
        workers: Number of workers of the DirectRunner; 0 means one per core.
    """
    if not isinstance(config, DirectBeam):
        return []
    return [
        f"--runner={_THREADS_RUNNER}",
        # 0 means one per core. The number of cores would make TFX's cache depend on the machine.
        f"--direct_num_workers={workers}",
        _NO_PACKAGE,
    ]


def _flink(config: FlinkBeam, output: str) -> list[str]:
    return [
        f"--runner={_FLINK_RUNNER}",
        f"--flink_master={config.master}",
        f"--flink_partitions={config.partitions}",
        f"--flink_scratch={output}/{_SCRATCH}",
        _NO_PACKAGE,
        _BY_IMPORT,
    ]


def _portable(config: PortableBeam) -> list[str]:
    if config.worker_pool is not None:
        # The pool compares what it is with what the driver expects, before it starts a worker.
        where = json.dumps({"url": config.worker_pool, "params": identity()}, sort_keys=True)
        workers = ["--environment_type=EXTERNAL", f"--environment_config={where}"]
    else:
        workers = ["--environment_type=DOCKER", f"--environment_config={config.worker_image}"]
    cluster = [] if config.spark_master is None else [f"--spark_master_url={config.spark_master}"]
    if (flink := config.flink) is not None:
        cluster = [
            f"--flink_master={flink.master}",
            f"--flink_version={flink.version}",
            f"--number_of_execution_retries={flink.restarts}",
            f"--execution_retry_delay={flink.restart_seconds * 1000}",
        ]
    return [
        "--runner=PortableRunner",
        f"--job_endpoint={config.job_endpoint}",
        *workers,
        f"--parallelism={config.parallelism}",
        f"--sdk_worker_parallelism={config.sdk_worker_parallelism or config.slots}",
        *cluster,
        _NO_PACKAGE,
        _BY_IMPORT,
    ]


def identity() -> dict[str, str]:
    """Return what driver and workers must have in common: the versions of Python, Beam and this package."""
    return {
        "apache-beam": version("apache-beam"),
        "breast-density": installed_version(),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }


def _spark(config: SparkBeam, output: str) -> list[str]:
    return [
        f"--runner={_SPARK_RUNNER}",
        f"--spark_master_url={config.master}",
        f"--spark_partitions={config.partitions}",
        f"--spark_scratch={output}/{_SCRATCH}",
        *(f"--spark_property={key}={value}" for key, value in sorted(config.properties.items())),
        _NO_PACKAGE,
        _BY_IMPORT,
    ]


def _dataflow(config: DataflowBeam) -> list[str]:
    optional = {"service_account_email": config.service_account, "worker_machine_type": config.machine_type}
    return [
        "--runner=DataflowRunner",
        f"--project={config.project}",
        f"--region={config.region}",
        f"--temp_location={config.temp_location}",
        f"--sdk_container_image={config.worker_image}",
        "--sdk_location=container",
        _BY_IMPORT,
        f"--max_num_workers={config.maximum_workers}",
        *(f"--{name}={value}" for name, value in optional.items() if value is not None),
        *(["--no_use_public_ips"] if config.private_network else []),
    ]
