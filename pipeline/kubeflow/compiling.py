"""Compile the pipeline of a configuration into a package of Kubeflow Pipelines v2.

TFX's union channels, inputs that take the outputs of several nodes, are not supported by TFX's Kubeflow runner: an
input on Kubeflow Pipelines v2 is the output of one task. So a union is compiled as several inputs, ``examples``,
``examples-1`` and so on (no Python name has a hyphen), and the entry point joins them again. An artifact that several
inputs of a node take is compiled as one input, and the entry point puts it under the other names.

What Kubernetes provides to a node beyond its container (volumes, secrets, machines) is the second document of a
package. Kubeflow's SDK defines the message in a separate package, kfp-kubernetes; here its JSON is written directly.

Source: kubeflow/pipelines, kubernetes_platform/proto/kubernetes_executor_config.proto
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.types.channel import UnionChannel

from components.common.files import write_whole
from components.common.location import location
from components.sources.source import ArchiveSource, FolderSource, ManifestSource, Source
from pipeline.beam.config import DirectBeam, FlinkBeam, PortableBeam, beam_arguments, image_beam_arguments
from pipeline.beam.requirements import KEY_VARIABLE as TASK_KEY_VARIABLE
from pipeline.config import ConfigError, DataConfig, RunConfig
from pipeline.kubeflow.executor_input import VOLUME_ROOT
from pipeline.kubeflow.package import Package, check_specification, parse_spec
from pipeline.kubeflow.parameters import run_parameters
from pipeline.kubeflow.specification import (
    ARTIFACTS_ROOT,
    SHARED_INPUT,
    TRAINING_JOB,
    executor_name,
    for_open_source,
    kubeflow_name,
    without_shared_inputs,
)
from pipeline.kubeflow.training_job import training_job
from pipeline.kubeflow_config import SCAN, KubeflowConfig, Secret, Volume
from pipeline.local.runner import SCHEMA_FILE
from pipeline.pipeline import Machinery, RunPaths, UnseenArchive, create_pipeline


@dataclass(frozen=True)
class FurtherInput:
    """One more output that belongs to an input.

    Attributes:
        name: Name of the input.
        producer: Id of the node that has the output.
        output: Name of the output.
    """

    name: str
    producer: str
    output: str


def split_unions(nodes: Iterable[BaseComponent]) -> dict[str, tuple[FurtherInput, ...]]:
    """Reduce each union to its first channel, in the nodes themselves.

    Args:
        nodes: Nodes of a pipeline that is used only by this runner.

    Returns:
        The removed channels, by node id.
    """
    further: dict[str, tuple[FurtherInput, ...]] = {}
    for node in nodes:
        for name, channel in node.inputs.items():
            if isinstance(channel, UnionChannel):
                first, *others = channel.channels
                node.spec.inputs[name] = first
                taken = tuple(FurtherInput(name, other.producer_component_id, other.output_key) for other in others)
                further[node.id] = further.get(node.id, ()) + taken
    return further


def _numbered(inputs: Sequence[FurtherInput]) -> Iterable[tuple[str, FurtherInput]]:
    counts: dict[str, int] = {}
    for further in inputs:
        counts[further.name] = counts.get(further.name, 0) + 1
        yield f"{further.name}-{counts[further.name]}", further


def with_further_inputs(
    compiled: spec_pb2.PipelineSpec, further: Mapping[str, Sequence[FurtherInput]]
) -> spec_pb2.PipelineSpec:
    """Add to a compiled specification what :func:`split_unions` removed from the nodes.

    Args:
        compiled: Specification as TFX's runner makes it: its tasks have the nodes' ids.
        further: Removed channels by node id.

    Returns:
        A new specification.
    """
    found = spec_pb2.PipelineSpec()
    found.CopyFrom(compiled)
    for node, inputs in further.items():
        task = found.root.dag.tasks[node]
        declared = found.components[task.component_ref.name].input_definitions.artifacts
        for name, one in _numbered(inputs):
            declared[name].CopyFrom(declared[one.name])
            source = task.inputs.artifacts[name].task_output_artifact
            source.producer_task, source.output_artifact_key = one.producer, one.output
    return found


# Kinds of nodes that read the archive, that need the hash key, and that use pushed versions.
_READ_ARCHIVE: Final = frozenset({SCAN, "DicomExampleGen", "MammogramPreprocessor"})
_NEED_KEY: Final = frozenset({SCAN, "DicomExampleGen"})
_USE_PUSHED: Final = frozenset({"BaselineModel", "DriftMonitor", "WarmStart", "Pusher"})


def _volumes(kind: str, config: KubeflowConfig) -> list[Volume]:
    volumes = [config.data] if config.data and kind in _READ_ARCHIVE else []
    volumes += [config.serving] if kind in _USE_PUSHED else []
    if config.artifacts_claim:
        volumes.append(Volume(claim=config.artifacts_claim, path=VOLUME_ROOT))
    return volumes


def _secret(secret: Secret, variable: str) -> dict[str, Any]:
    return {"secretName": secret.name, "keyToEnv": [{"secretKey": secret.key, "envVar": variable}]}


def _executor(node: str, config: KubeflowConfig, key_variable: str, needs_task_key: bool) -> dict[str, Any]:
    kind = node.partition(".")[0]
    found: dict[str, Any] = {}
    if volumes := _volumes(kind, config):
        found["pvcMount"] = [{"constant": volume.claim, "mountPath": volume.path} for volume in volumes]
    secrets = [_secret(config.hash_key, key_variable)] if config.hash_key and kind in _NEED_KEY else []
    secrets += [_secret(config.task_key, TASK_KEY_VARIABLE)] if needs_task_key else []
    if secrets:
        found["secretAsEnv"] = secrets
    if labels := config.settings_of(node).node_selector:
        found["nodeSelector"] = {"labels": dict(labels)}
    return found


def platform_spec(
    nodes: Iterable[str], config: KubeflowConfig, key_variable: str, need_task_key: Collection[str] = ()
) -> dict[str, Any]:
    """Return what nodes need of Kubernetes.

    Args:
        nodes: Ids of the nodes.
        config: How the pipeline runs.
        key_variable: Environment variable that holds the hash key.
        need_task_key: Ids of the nodes that send sealed tasks to Flink's workers.

    Returns:
        JSON of the message ``PlatformSpec``.
    """
    executors = {executor_name(node): _executor(node, config, key_variable, node in need_task_key) for node in nodes}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {k: v for k, v in executors.items() if v}}}}}


_NO_PACKAGE: Final = "--sdk_container_image=none"  # prevents TFX from building a package of itself
_WORKERS: Final = "--direct_num_workers="
_ONE_WORKER_PER_CORE: Final = f"{_WORKERS}0"


def cluster_source(data: DataConfig) -> Source:
    """Return the source as pods see it; this machine does not open it.

    Raises:
        ConfigError: A path is relative: a pod has no working folder for it.
    """

    def place(key: str, value: object) -> Any:
        if not str(value).startswith("/") and "://" not in str(value):
            raise ConfigError(f"data.{key} must be a URI, or an absolute path in the pods. Received: {value}")
        return location(str(value))

    if data.manifest is not None:
        return ManifestSource(place("manifest", data.manifest), data.densities)
    folder = place("folder", data.folder)
    if data.archive is not None:
        return ArchiveSource(data.archive, folder)
    return FolderSource(folder, place("labels", data.labels), data.densities)


def _set_workers(nodes: Sequence[Any], config: KubeflowConfig) -> None:
    """Set the number of DirectRunner workers to the cores that a node requests; Beam would count the machine's."""
    for node in nodes:
        if isinstance(node, BaseBeamComponent):
            workers = max(1, math.floor(config.settings_of(node.id).cpu))
            spec = node.executor_spec
            spec.beam_pipeline_args = [
                argument.replace(_ONE_WORKER_PER_CORE, f"{_WORKERS}{workers}") for argument in spec.beam_pipeline_args
            ]


def _is_distributed(config: RunConfig) -> bool:
    return config.pipeline.trainer.strategy == "multi_worker"


def _waits(node: str, config: RunConfig) -> bool:
    """Return True if a node's pod starts machines and only waits for them."""
    return _is_distributed(config) and node.partition(".")[0] == "Trainer"


def _image_of(node: str, config: KubeflowConfig) -> str:
    return config.image_gpu if config.image_gpu and config.settings_of(node).gpus else config.image


def _check_beam(config: RunConfig) -> None:
    """Check that a node's pod can start the configured Beam runner, and that workers can open the artifacts.

    Raises:
        ConfigError: One of both is not possible.
    """
    beam = config.beam
    if isinstance(beam, DirectBeam):
        return
    if not isinstance(beam, FlinkBeam | PortableBeam):
        raise ConfigError(
            "Nodes on Kubeflow work on local files without Java: beam.runner must be direct, portable or flink there."
            f" Received: {beam.runner}"
        )
    if not config.kubeflow.artifacts_claim:
        raise ConfigError("kubeflow.artifacts_claim is missing: Beam's workers must be able to open the artifacts.")


def build_cluster_pipeline(config: RunConfig) -> tfx_pipeline.Pipeline:
    """Build the pipeline of a configuration for Kubeflow.

    Raises:
        ConfigError: The configuration has no data, or a relative path, or a runner that pods cannot start.
    """
    if config.data is None:
        raise ConfigError("The configuration names no archive: give data.folder and data.labels, or data.manifest.")
    if _is_distributed(config) and not config.kubeflow.artifacts_claim:
        raise ConfigError(
            "kubeflow.artifacts_claim is missing: machines of pipeline.trainer.strategy multi_worker share a volume."
        )
    _check_beam(config)
    reviews = str(config.data.reviews) if config.data.reviews else ""
    if reviews and not reviews.startswith("/"):
        raise ConfigError(f"data.reviews must be an absolute path in the pods. Received: {reviews}")
    kubeflow = config.kubeflow
    origin = "computed phantoms" if config.phantoms else ""
    built = create_pipeline(
        config.pipeline,
        UnseenArchive(cluster_source(config.data), kubeflow.span, reviews, origin, kubeflow.spans),
        RunPaths(kubeflow.pipeline_root, f"{kubeflow.serving.path}/{config.pipeline.name}", str(SCHEMA_FILE)),
        Machinery(
            beam_arguments(config.beam, VOLUME_ROOT) or [_NO_PACKAGE], image_beam_arguments(config.beam, workers=0)
        ),
        name=kubeflow_name(config.pipeline.name),
    )
    _set_workers(built.components, kubeflow)
    return built


def compile_pipeline(config: RunConfig) -> Package:
    """Compile the pipeline of a configuration.

    Args:
        config: Configuration; its data paths are those of the pods.

    Returns:
        The checked package.

    Raises:
        ConfigError: The configuration has no data, or a relative path.
        SpecificationError: The pipeline would not run on Kubeflow.
    """
    kubeflow = config.kubeflow
    pipeline = build_cluster_pipeline(config)
    further = split_unions(pipeline.components)
    runner = KubeflowV2DagRunner(KubeflowV2DagRunnerConfig(default_image=kubeflow.image, use_pipeline_spec_2_1=True))
    job = runner.run(pipeline, write_out=False)
    connected, shared = without_shared_inputs(with_further_inputs(parse_spec(job["pipelineSpec"]), further))

    waiting = [node.id for node in pipeline.components if _waits(node.id, config)]
    pods = kubeflow.with_waiting(waiting)

    def arguments_of(node: str) -> Sequence[str]:
        names = [f"{name}={first}" for name, first in shared.get(node, {}).items()]
        found = [part for name in names for part in (SHARED_INPUT, name)]
        found += [ARTIFACTS_ROOT, VOLUME_ROOT] if kubeflow.artifacts_claim else []
        if node in waiting:
            found += [TRAINING_JOB, training_job(node, _image_of(node, kubeflow), kubeflow).model_dump_json()]
        return found

    spec = for_open_source(
        connected,
        pods.settings_of,
        lambda node: _image_of(node, pods),
        run_parameters(config.model_dump(mode="json")),
        arguments_of,
    )
    spec.default_pipeline_root = kubeflow.pipeline_root
    check_specification(spec)
    nodes = [node.id for node in pipeline.components]
    on_flink = isinstance(config.beam, FlinkBeam)
    need_task_key = [node.id for node in pipeline.components if on_flink and isinstance(node, BaseBeamComponent)]
    platform = platform_spec(nodes, pods, config.pipeline.ingest.hash_key_variable, need_task_key)
    return Package(spec, platform)


def write_package(config: RunConfig, file: Path) -> Package:
    """Compile a configuration and write the package.

    Raises:
        As :func:`compile_pipeline`.
        OSError: The file cannot be written.
    """
    package = compile_pipeline(config)
    write_whole(file, package.to_yaml().encode())
    return package
