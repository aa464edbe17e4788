"""Convert the specification that TFX 1.16 compiles into one that open-source Kubeflow Pipelines v2 runs.

All functions are pure. The differences are:

* Argo, which Kubeflow uses, allows letters, digits and hyphens in names of tasks: ``Trainer.CC_R`` becomes
  ``trainer-cc-r``.
* TFX names the producer of a parameter ``NODE_task``. No task has this name.
* TFX has no retries, no run parameters, and no caching per node.
* The command of each container is this project's entry point, which adapts the messages at run time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.parameters import ParameterPlace, RunParameter, Value, place_of
from pipeline.kubeflow_config import NodeSettings

RUN_PARAMETER: Final = "--run_parameter"
SHARED_INPUT: Final = "--shared_input"
TRAINING_JOB: Final = "--training_job"
ARTIFACTS_ROOT: Final = "--artifacts_root"
COMMAND: Final = ("python", "-m", "pipeline.kubeflow.entrypoint")
_PRODUCER_SUFFIX: Final = "_task"
_TYPES: Final = {
    str: spec_pb2.ParameterType.STRING,
    int: spec_pb2.ParameterType.NUMBER_INTEGER,
    float: spec_pb2.ParameterType.NUMBER_DOUBLE,
}


def kubeflow_name(name: str) -> str:
    """Return a name that Argo allows, such as ``trainer-cc-r`` for ``Trainer.CC_R``, as Kubeflow's compiler does."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def component_name(node: str) -> str:
    """Return the name of a node's component."""
    return f"comp-{kubeflow_name(node)}"


def executor_name(node: str) -> str:
    """Return the name of a node's executor."""
    return f"exec-{kubeflow_name(node)}"


def _task(task: spec_pb2.PipelineTaskSpec, nodes: Mapping[str, str]) -> spec_pb2.PipelineTaskSpec:
    """Rename a task and what it refers to."""
    found = spec_pb2.PipelineTaskSpec()
    found.CopyFrom(task)
    node = task.task_info.name
    found.task_info.name = nodes[node]
    found.component_ref.name = component_name(node)
    for artifact in found.inputs.artifacts.values():
        artifact.task_output_artifact.producer_task = nodes[artifact.task_output_artifact.producer_task]
    producers = set(task.dependent_tasks)
    for parameter in found.inputs.parameters.values():
        if parameter.WhichOneof("kind") == "task_output_parameter":
            named = parameter.task_output_parameter.producer_task
            producer = named if named in nodes else named.removesuffix(_PRODUCER_SUFFIX)
            parameter.task_output_parameter.producer_task = nodes[producer]
            producers.add(producer)
    del found.dependent_tasks[:]
    found.dependent_tasks.extend(sorted(nodes[producer] for producer in producers))
    return found


def _with_settings(task: spec_pb2.PipelineTaskSpec, settings: NodeSettings) -> None:
    task.caching_options.enable_cache = settings.cache
    if settings.retries:
        task.retry_policy.max_retry_count = settings.retries
        task.retry_policy.backoff_duration.seconds = settings.backoff_seconds
        task.retry_policy.backoff_factor = 2.0
        task.retry_policy.backoff_max_duration.seconds = 3600


def _container(
    compiled: Any, settings: NodeSettings, image: str, places: Mapping[str, ParameterPlace], further: Sequence[str]
) -> Any:
    """Return a node's container with its image, command and resources."""
    found = spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec()
    found.CopyFrom(compiled)
    found.image = image
    del found.command[:]
    found.command.extend(COMMAND)
    for name, place in places.items():
        found.args.extend([RUN_PARAMETER, f"{name}={place}"])
    found.args.extend(further)
    resources = found.resources
    resources.cpu_request = resources.cpu_limit = settings.cpu
    resources.memory_request = resources.memory_limit = settings.memory
    if settings.gpus:
        resources.accelerator.type = settings.gpu_resource
        resources.accelerator.count = settings.gpus
    return found


def parse_run_parameters(arguments: Iterable[str]) -> dict[str, ParameterPlace]:
    """Read ``NAME=PLACE`` from the arguments of a container."""
    pairs = (argument.partition("=") for argument in arguments)
    return {name: ParameterPlace.parse(place) for name, _, place in pairs}


def run_parameter_places(container: Any) -> dict[str, ParameterPlace]:
    """Return where a node stores its run parameters, from the arguments of its container."""
    return parse_run_parameters(value for flag, value in itertools.pairwise(container.args) if flag == RUN_PARAMETER)


def _producer(source: spec_pb2.TaskInputsSpec.InputArtifactSpec) -> tuple[str, str]:
    made = source.task_output_artifact
    return made.producer_task, made.output_artifact_key


def shared_inputs(task: spec_pb2.PipelineTaskSpec) -> dict[str, str]:
    """Return the inputs of a task that get the same artifact as another one: ``{other name: first name}``.

    ML Metadata refuses a second input event of an artifact and an execution, so Kubeflow's driver cannot hand over one
    artifact under two names.
    """
    names: dict[tuple[str, str], str] = {}
    found = {}
    for name in sorted(task.inputs.artifacts):
        first = names.setdefault(_producer(task.inputs.artifacts[name]), name)
        if first != name:
            found[name] = first
    return found


def without_shared_inputs(
    compiled: spec_pb2.PipelineSpec,
) -> tuple[spec_pb2.PipelineSpec, Mapping[str, Mapping[str, str]]]:
    """Connect each artifact once to a task; the entry point puts it under the other names.

    Args:
        compiled: Specification as TFX's runner makes it: its tasks have the nodes' ids.

    Returns:
        A new specification, and the removed inputs by node id, as :func:`shared_inputs`.
    """
    found = spec_pb2.PipelineSpec()
    found.CopyFrom(compiled)
    removed = {}
    for node, task in found.root.dag.tasks.items():
        if names := shared_inputs(task):
            removed[node] = names
            for name in names:
                task.inputs.artifacts.pop(name)
                found.components[task.component_ref.name].input_definitions.artifacts.pop(name)
    return found, removed


def parse_shared_inputs(arguments: Iterable[str]) -> dict[str, str]:
    """Read ``OTHER=FIRST`` from the arguments of a container."""
    pairs = (argument.partition("=") for argument in arguments)
    return {name: first for name, _, first in pairs}


def _declare(inputs: spec_pb2.ComponentInputsSpec, parameter: RunParameter, default: Value | None = None) -> None:
    declared = inputs.parameters[parameter.name]
    declared.parameter_type = _TYPES[type(parameter.default)]
    if default is None:
        return
    if isinstance(default, str):
        declared.default_value.string_value = default
    else:
        declared.default_value.number_value = default


def for_open_source(
    compiled: spec_pb2.PipelineSpec,
    settings_of: Callable[[str], NodeSettings],
    image_of: Callable[[str], str],
    parameters: Sequence[RunParameter],
    arguments_of: Callable[[str], Sequence[str]] = lambda node: (),
) -> spec_pb2.PipelineSpec:
    """Return the specification that open-source Kubeflow Pipelines v2 runs.

    Args:
        compiled: Specification as TFX's ``KubeflowV2DagRunner`` makes it, schema version 2.1.
        settings_of: Returns what a node requests from the cluster, by id of the node.
        image_of: Returns the image of a node.
        parameters: Run parameters; parameters that no node uses are omitted.
        arguments_of: Returns further arguments of a node's entry point.

    Returns:
        A new specification.

    Raises:
        ValueError: Two nodes, or two parameters of a node, would have the same name.
    """
    nodes = {node: kubeflow_name(node) for node in compiled.root.dag.tasks}
    if len(set(nodes.values())) < len(nodes):
        raise ValueError(f"Two nodes would have the same name on Kubeflow. Received: {', '.join(sorted(nodes))}")
    deployment = spec_pb2.PipelineDeploymentConfig()
    json_format.ParseDict(json_format.MessageToDict(compiled.deployment_spec), deployment)
    found, executors = spec_pb2.PipelineSpec(), spec_pb2.PipelineDeploymentConfig()
    found.CopyFrom(compiled)
    for field in ("components", "deployment_spec"):
        found.ClearField(field)
    found.root.dag.ClearField("tasks")
    for node, name in nodes.items():
        task = _task(compiled.root.dag.tasks[node], nodes)
        component = found.components[component_name(node)]
        component.CopyFrom(compiled.components[node])
        component.executor_label = executor_name(node)
        settings = settings_of(node)
        _with_settings(task, settings)
        places: dict[str, ParameterPlace] = {}
        for parameter in parameters:
            place = place_of(parameter, node.partition(".")[0])
            if place is None:
                continue
            if parameter.name in component.input_definitions.parameters:
                raise ValueError(f"{node} already has a parameter with the name of a run parameter: {parameter.name}")
            places[parameter.name] = place
            _declare(component.input_definitions, parameter)
            _declare(found.root.input_definitions, parameter, parameter.default)
            task.inputs.parameters[parameter.name].component_input_parameter = parameter.name
        container = deployment.executors[compiled.components[node].executor_label].container
        executors.executors[executor_name(node)].container.CopyFrom(
            _container(container, settings, image_of(node), places, arguments_of(node))
        )
        found.root.dag.tasks[name].CopyFrom(task)
    found.deployment_spec.update(json_format.MessageToDict(executors))
    return found
