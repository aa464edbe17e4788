"""From the configuration of Beam to the arguments that its pipelines take."""

from __future__ import annotations

from typing import Final

from pipeline.beam.config import BeamConfig, DataflowBeam, DirectBeam, FlinkBeam, SparkBeam

_FLINK_RUNNER: Final = "pipeline.beam.flink_runner.FlinkStageRunner"
_SPARK_RUNNER: Final = "pipeline.beam.spark_runner.SparkStageRunner"
_SCRATCH: Final = "scratch"  # in the output's folder
# Naming an image keeps TFX from building a package of itself for remote workers: they have it.
_NO_PACKAGE: Final = "--sdk_container_image=none"
# Workers import what they run; Dataflow would pickle the main session unless told not to.
_BY_IMPORT: Final = "--no_save_main_session"


def beam_arguments(config: BeamConfig, output: str) -> list[str]:
    """Gives the arguments for every node.

    Args:
        config: Configuration of Beam.
        output: Absolute path or URI of a folder for what the pipeline writes; workers see it, and Beam can open it.

    Returns:
        None for the DirectRunner, whose defaults TFX's own nodes are fastest with; else all that the runner needs.
    """
    if isinstance(config, FlinkBeam):
        return _flink_job_server(config) if config.by_job_server else _flink(config, output)
    if isinstance(config, SparkBeam):
        return _spark(config, output)
    if isinstance(config, DataflowBeam):
        return _dataflow(config)
    return []


def image_beam_arguments(config: BeamConfig, workers: int) -> list[str]:
    """Gives the further arguments for the nodes that work on pixels and free the GIL.

    Args:
        config: Configuration of Beam.
        workers: Workers of the DirectRunner; 0 for one a core.
    """
    if not isinstance(config, DirectBeam):
        return []
    return [
        "--direct_running_mode=multi_threading",
        # 0 is one a core; the number itself would make TFX's cache depend on the machine.
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
