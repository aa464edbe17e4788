"""Compiles the pipeline of a configuration into a package of Kubeflow Pipelines v2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

from components.common.files import write_whole
from components.common.location import location
from components.sources.source import ArchiveSource, FolderSource, ManifestSource, Source
from pipeline.beam.arguments import beam_arguments, image_beam_arguments
from pipeline.beam.config import DirectBeam, FlinkBeam
from pipeline.config import ConfigError, DataConfig, RunConfig
from pipeline.kubeflow.locations import VOLUME_ROOT
from pipeline.kubeflow.package import Package
from pipeline.kubeflow.parameters import run_parameters
from pipeline.kubeflow.platform import platform_spec
from pipeline.kubeflow.specification import ARTIFACTS_ROOT, TRAINING_JOB, for_open_source, kubeflow_name
from pipeline.kubeflow.training_job import training_job
from pipeline.kubeflow.unions import split_unions, with_further_inputs
from pipeline.kubeflow.validation import check, parse_spec
from pipeline.kubeflow_config import KubeflowConfig
from pipeline.local.runner import SCHEMA_FILE
from pipeline.pipeline import Places, UnseenArchive, create_pipeline

_NO_PACKAGE: Final = "--sdk_container_image=none"  # keeps TFX from building a package of itself
_WORKERS: Final = "--direct_num_workers="
_A_WORKER_A_CORE: Final = f"{_WORKERS}0"


def cluster_source(data: DataConfig) -> Source:
    """Makes the source that pods see; nothing of it is looked up here.

    Raises:
        ConfigError: A path is relative, which a pod has no folder for.
    """

    def place(key: str, value: object) -> Any:
        if not str(value).startswith("/") and "://" not in str(value):
            raise ConfigError(f"data.{key} is a path in the pods or a URI, so absolute. Received: {value}")
        return location(str(value))

    if data.manifest is not None:
        return ManifestSource(place("manifest", data.manifest), data.densities)
    folder = place("folder", data.folder)
    if data.archive is not None:
        return ArchiveSource(data.archive, folder)
    return FolderSource(folder, place("labels", data.labels), data.densities)


def _count_cores(nodes: Sequence[Any], config: KubeflowConfig) -> None:
    """Gives the DirectRunner of a pixel node a worker a core that the node asks for: it would count the machine's."""
    for node in nodes:
        if isinstance(node, BaseBeamComponent):
            workers = max(1, math.floor(config.settings_of(node.id).cpu))
            node.executor_spec.beam_pipeline_args = [
                arg.replace(_A_WORKER_A_CORE, f"{_WORKERS}{workers}") for arg in node.executor_spec.beam_pipeline_args
            ]


def _on_machines(config: RunConfig) -> bool:
    return config.pipeline.trainer.strategy == "multi_worker"


def _require_beam(config: RunConfig) -> None:
    """Checks that a node's pod can start Beam's work where the configuration wants it, on files that are there.

    Raises:
        ConfigError: It cannot.
    """
    beam = config.beam
    if isinstance(beam, DirectBeam):
        return
    if not isinstance(beam, FlinkBeam):
        raise ConfigError(
            "Nodes on Kubeflow work on local files without Java: beam.runner is direct or flink there. Received:"
            f" {beam.runner}"
        )
    if beam.by_job_server and beam.job_endpoint is None:
        raise ConfigError("beam.job_endpoint is missing: a node's pod has no Java to start Beam's job server itself.")
    if not config.kubeflow.artifacts_claim:
        raise ConfigError(
            "kubeflow.artifacts_claim is missing: Flink's workers have to see the artifacts that the nodes work on."
        )


def build(config: RunConfig) -> tfx_pipeline.Pipeline:
    """Builds the pipeline of a configuration for Kubeflow.

    Raises:
        ConfigError: The configuration names no data, or a relative path, or a runner that pods cannot start.
    """
    if config.data is None:
        raise ConfigError("The configuration names no archive: give data.folder and data.labels, or data.manifest.")
    if _on_machines(config) and not config.kubeflow.artifacts_claim:
        raise ConfigError(
            "kubeflow.artifacts_claim is missing: machines of pipeline.trainer.strategy multi_worker share a volume."
        )
    _require_beam(config)
    reviews = str(config.data.reviews) if config.data.reviews else ""
    if reviews and not reviews.startswith("/"):
        raise ConfigError(f"data.reviews is a path in the pods, so absolute. Received: {reviews}")
    kubeflow = config.kubeflow
    origin = "computed phantoms" if config.phantoms else ""
    built = create_pipeline(
        config.pipeline,
        UnseenArchive(cluster_source(config.data), kubeflow.span, reviews, origin, kubeflow.spans),
        Places(kubeflow.pipeline_root, f"{kubeflow.serving.path}/{config.pipeline.name}", str(SCHEMA_FILE)),
        beam_args=beam_arguments(config.beam, VOLUME_ROOT) or [_NO_PACKAGE],
        image_beam_args=image_beam_arguments(config.beam, workers=0),
        name=kubeflow_name(config.pipeline.name),
    )
    _count_cores(built.components, kubeflow)
    return built


def compile_pipeline(config: RunConfig) -> Package:
    """Compiles the pipeline of a configuration.

    Args:
        config: Configuration; its data are where the pods see them.

    Returns:
        The package, checked.

    Raises:
        ConfigError: The configuration names no data, or a relative path.
        SpecificationError: The pipeline would not run on Kubeflow.
    """
    kubeflow = config.kubeflow
    pipeline = build(config)
    further = split_unions(pipeline.components)
    runner = KubeflowV2DagRunner(KubeflowV2DagRunnerConfig(default_image=kubeflow.image, use_pipeline_spec_2_1=True))
    job = runner.run(pipeline, write_out=False)

    def image_of(node: str) -> str:
        return kubeflow.image_gpu if kubeflow.image_gpu and kubeflow.settings_of(node).gpus else kubeflow.image

    def arguments_of(node: str) -> tuple[str, ...]:
        on_volume = (ARTIFACTS_ROOT, VOLUME_ROOT) if kubeflow.artifacts_claim else ()
        if not (_on_machines(config) and node.partition(".")[0] == "Trainer"):
            return on_volume
        return *on_volume, TRAINING_JOB, training_job(node, image_of(node), kubeflow).model_dump_json()

    spec = for_open_source(
        with_further_inputs(parse_spec(job["pipelineSpec"]), further),
        kubeflow.settings_of,
        image_of,
        run_parameters(config.model_dump(mode="json")),
        arguments_of,
    )
    spec.default_pipeline_root = kubeflow.pipeline_root
    check(spec)
    nodes = [node.id for node in pipeline.components]
    on_flink = isinstance(config.beam, FlinkBeam) and not config.beam.by_job_server
    give_tasks = [node.id for node in pipeline.components if on_flink and isinstance(node, BaseBeamComponent)]
    platform = platform_spec(nodes, kubeflow, config.pipeline.ingest.hash_key_variable, give_tasks)
    return Package(spec, platform)


def write_package(config: RunConfig, file: Path) -> Package:
    """Compiles a configuration and writes the package.

    Raises:
        As :func:`compile_pipeline`.
        OSError: The file cannot be written.
    """
    package = compile_pipeline(config)
    write_whole(file, package.to_yaml().encode())
    return package
