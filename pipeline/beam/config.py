"""Which runner executes the Beam pipelines, and what each needs to know."""

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
    """Beam's DirectRunner, in this process; ``runner`` of the configuration has its workers.

    Attributes:
        runner: Tells it apart.
    """

    runner: Literal["direct"] = "direct"


class FlinkBeam(_Runner):
    """A Flink session cluster; the workers are Python processes beside its TaskManagers, with this package.

    They are a pool of ours (``flink_runner``), unless one of Beam's two kinds is named: ``worker_image`` or
    ``worker_pool`` (``python -m apache_beam.runners.worker.worker_pool_main``), which needs Beam's Flink job server.

    Attributes:
        runner: Tells it apart.
        master: ``host:port`` of the JobManager's REST service.
        partitions: Tasks of a stage, at most; 0 means twice the cluster's slots when the run begins.
        job_endpoint: ``host:port`` of a job server that is running; None to start one here, which needs Java.
        job_server_jar: Its jar; None lets Beam fetch it from Maven Central.
        worker_image: Image of the workers, for TaskManagers that can start containers.
        worker_pool: ``host:port`` of the worker pool, as each TaskManager sees it.
        parallelism: Tasks at a time, of a job that the job server starts.
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
                "give beam.worker_image or beam.worker_pool, not both: Flink's workers are of one kind. Received:"
                f" {self.worker_image} and {self.worker_pool}"
            )
        foreign = ("partitions",) if self.by_job_server else ("job_endpoint", "job_server_jar", "parallelism")
        if found := [f"beam.{name}" for name in foreign if name in self.model_fields_set]:
            side = "with" if self.by_job_server else "without"
            raise ValueError(
                f"leave {' and '.join(found)} out {side} beam.worker_image or beam.worker_pool, which stand for Beam's"
                " job server"
            )
        if self.job_endpoint is not None and self.job_server_jar is not None:
            raise ValueError(
                "beam.job_server_jar is for a job server started here: leave it out with beam.job_endpoint"
            )
        return self

    @property
    def by_job_server(self) -> bool:
        """Whether Beam's job server hands the work to Flink, and not this project's runner."""
        return self.worker_image is not None or self.worker_pool is not None


class SparkBeam(_Runner):
    """A Spark cluster, through PySpark (``spark_runner``); its executors' Python has this package.

    Attributes:
        runner: Tells it apart.
        master: Spark's master URL, such as ``spark://host:7077``, ``k8s://https://host:443``, ``yarn`` or ``local[2]``.
        partitions: Tasks of a stage, at most; 0 means twice the cluster's cores when the run begins.
        properties: Of Spark's configuration, such as ``spark.executor.memory``. They are kept in ML Metadata: secrets
            belong in ``spark-defaults.conf`` of ``SPARK_CONF_DIR``.
    """

    runner: Literal["spark"]
    master: str = Field(pattern=_SPARK_MASTER)
    partitions: int = Field(0, ge=0, le=1_000_000)
    properties: Mapping[Annotated[str, Field(pattern=r"^spark\.[A-Za-z0-9._-]+$")], str] = {}

    @model_validator(mode="after")
    def _no_secrets(self) -> SparkBeam:
        if found := [key for key in self.properties if "secret" in key.lower() or "password" in key.lower()]:
            raise ValueError(
                f"{', '.join(found)} must not be in the configuration, which is kept with each run: write it to"
                " spark-defaults.conf of SPARK_CONF_DIR"
            )
        return self


class DataflowBeam(_Runner):
    """Google Cloud Dataflow.

    Attributes:
        runner: Tells it apart.
        project: Google Cloud project.
        region: Its region.
        temp_location: ``gs://`` folder for temporary files and staging.
        worker_image: Container image of the workers, with this package.
        service_account: Account that the workers run as; None for the project's own.
        machine_type: Machine of a worker; None for Dataflow's choice.
        maximum_workers: Machines at most.
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
