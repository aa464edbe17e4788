"""Configure the runner of the Beam pipelines, and make the arguments that the pipelines take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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


class FlinkBeam(_Runner):
    """A Flink session cluster. The workers are Python processes beside its TaskManagers, with this package.

    The workers are this project's pool (``flink_runner``), unless one of Beam's two kinds is configured:
    ``worker_image``, or ``worker_pool`` (``python -m apache_beam.runners.worker.worker_pool_main``). Both need Beam's
    Flink job server.

    Attributes:
        runner: The kind of runner.
        master: ``host:port`` of the JobManager's REST service.
        partitions: Maximum number of tasks per stage; 0 means twice the cluster's slots when the run begins.
        job_endpoint: ``host:port`` of a running job server; None to start one here, which needs Java.
        job_server_jar: Jar of the job server; None lets Beam fetch it from Maven Central.
        worker_image: Image of the workers, for TaskManagers that can start containers.
        worker_pool: ``host:port`` of the worker pool, as each TaskManager reaches it.
        parallelism: Number of parallel tasks of a job that the job server starts.
    """

    runner: Literal["flink"]
    master: str = Field(pattern=_ADDRESS)
    partitions: int = Field(0, ge=0, le=32768)
    job_endpoint: str | None = Field(None, pattern=_ADDRESS)
    job_server_jar: Path | None = None
    worker_image: str | None = Field(None, pattern=r"^\S+$")
    worker_pool: str | None = Field(None, pattern=_ADDRESS)
    parallelism: int = Field(1, ge=1, le=32768)

    @model_validator(mode="after")
    def _one_kind_of_worker(self) -> FlinkBeam:
        if self.worker_image is not None and self.worker_pool is not None:
            raise ValueError(
                "give beam.worker_image or beam.worker_pool, not both: Flink has one kind of workers. Received:"
                f" {self.worker_image} and {self.worker_pool}"
            )
        foreign = ("partitions",) if self.by_job_server else ("job_endpoint", "job_server_jar", "parallelism")
        if found := [f"beam.{name}" for name in foreign if name in self.model_fields_set]:
            side = "with" if self.by_job_server else "without"
            raise ValueError(
                f"remove {' and '.join(found)} {side} beam.worker_image or beam.worker_pool, which select Beam's job"
                " server"
            )
        if self.job_endpoint is not None and self.job_server_jar is not None:
            raise ValueError("beam.job_server_jar is for a job server started here: remove it with beam.job_endpoint")
        return self

    @property
    def by_job_server(self) -> bool:
        """True if Beam's job server starts the jobs on Flink; False if this project's runner does."""
        return self.worker_image is not None or self.worker_pool is not None


class SparkBeam(_Runner):
    """A Spark cluster, through PySpark (``spark_runner``). The Python of its executors has this package.

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


BeamConfig = Annotated[DirectBeam | FlinkBeam | SparkBeam | DataflowBeam, Field(discriminator="runner")]


_FLINK_RUNNER: Final = "pipeline.beam.flink_runner.FlinkStageRunner"
_SPARK_RUNNER: Final = "pipeline.beam.spark_runner.SparkStageRunner"
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
        return _flink_job_server(config) if config.by_job_server else _flink(config, output)
    if isinstance(config, SparkBeam):
        return _spark(config, output)
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
        "--direct_running_mode=multi_threading",
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


def _flink_job_server(config: FlinkBeam) -> list[str]:
    if config.job_endpoint is None:
        runner = ["--runner=FlinkRunner", f"--flink_master={config.master}"]
        if config.job_server_jar is not None:
            runner.append(f"--flink_job_server_jar={config.job_server_jar}")
    else:
        runner = ["--runner=PortableRunner", f"--job_endpoint={config.job_endpoint}"]
    kind, where = ("DOCKER", config.worker_image) if config.worker_image else ("EXTERNAL", config.worker_pool)
    return [
        *runner,
        f"--environment_type={kind}",
        f"--environment_config={where}",
        f"--parallelism={config.parallelism}",
        _NO_PACKAGE,
        _BY_IMPORT,
    ]


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
