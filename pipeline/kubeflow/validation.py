"""What a specification must keep so that open-source Kubeflow Pipelines v2 runs it; checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.executor_input import title_of

# Argo Workflows: names of templates and of tasks in a DAG.
_TASK_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PIPELINE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_TYPE_TITLE: Final = re.compile(r"[a-z][a-z0-9-_]{2,20}\.[A-Z][a-zA-Z0-9-_]{2,49}")
# Linux takes 128 KiB in one argument; the launcher puts all parameters of a node into one, and escapes quotes.
_MOST_BYTES: Final = 100_000


class SpecificationError(ValueError):
    """A specification does not run on open-source Kubeflow Pipelines v2; the message lists what is wrong."""


def parse_spec(document: Mapping[str, Any]) -> spec_pb2.PipelineSpec:
    """Reads a specification from JSON types.

    Raises:
        SpecificationError: It does not match the protocol buffer ``PipelineSpec`` of kfp-pipeline-spec.
    """
    try:
        return json_format.ParseDict(document, spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise SpecificationError(f"This is no pipeline specification: {error}") from error


def parse_deployment(spec: spec_pb2.PipelineSpec) -> spec_pb2.PipelineDeploymentConfig:
    """Reads the containers of a specification.

    Raises:
        SpecificationError: They do not match the protocol buffer ``PipelineDeploymentConfig``.
    """
    try:
        return json_format.ParseDict(
            json_format.MessageToDict(spec.deployment_spec), spec_pb2.PipelineDeploymentConfig()
        )
    except json_format.ParseError as error:
        raise SpecificationError(f"The specification's deploymentSpec is none: {error}") from error


def _task_problems(name: str, spec: spec_pb2.PipelineSpec, executors: Mapping[str, Any]) -> Iterator[str]:
    task = spec.root.dag.tasks[name]
    if not _TASK_NAME.fullmatch(name) or task.task_info.name != name:
        yield f"task {name}: names are letters a to z, digits and hyphens"
    if task.component_ref.name not in spec.components:
        yield f"task {name}: there is no component {task.component_ref.name}"
        return
    component = spec.components[task.component_ref.name]
    executor = executors.get(component.executor_label)
    if executor is None or executor.WhichOneof("spec") != "container":
        yield f"task {name}: it is no container; resolvers and importers have no place here"
    elif executor.container.HasField("lifecycle"):
        yield f"task {name}: it needs a driver hook, which is not called"
    wanted, given = component.input_definitions, task.inputs
    if set(wanted.parameters) != set(given.parameters):
        yield f"task {name}: parameters {sorted(set(wanted.parameters) ^ set(given.parameters))} are not connected"
    if set(wanted.artifacts) != set(given.artifacts):
        yield f"task {name}: artifacts {sorted(set(wanted.artifacts) ^ set(given.artifacts))} are not connected"
    yield from _reference_problems(name, spec)
    for key, artifact in [*wanted.artifacts.items(), *component.output_definitions.artifacts.items()]:
        if not _TYPE_TITLE.fullmatch(title_of(artifact.artifact_type)):
            yield f"task {name}: the type of {key} has no title such as tfx.Model"
    size = sum(
        len(json_format.MessageToJson(parameter.runtime_value).encode())
        for parameter in given.parameters.values()
        if parameter.WhichOneof("kind") == "runtime_value"
    )
    if size > _MOST_BYTES:
        yield f"task {name}: its parameters have {size} bytes, {_MOST_BYTES} fit into the launcher's command line"


def _reference_problems(name: str, spec: spec_pb2.PipelineSpec) -> Iterator[str]:
    task, tasks = spec.root.dag.tasks[name], spec.root.dag.tasks
    for other in task.dependent_tasks:
        if other not in tasks:
            yield f"task {name}: it depends on {other}, which is no task"
    for key, artifact in task.inputs.artifacts.items():
        source = artifact.task_output_artifact
        if source.producer_task not in tasks or source.output_artifact_key not in (
            spec.components[tasks[source.producer_task].component_ref.name].output_definitions.artifacts
        ):
            yield f"task {name}: nothing makes its input {key}"
        elif source.producer_task not in task.dependent_tasks:
            yield f"task {name}: it does not wait for {source.producer_task}"
    for key, parameter in task.inputs.parameters.items():
        kind = parameter.WhichOneof("kind")
        if kind == "component_input_parameter":
            if parameter.component_input_parameter not in spec.root.input_definitions.parameters:
                yield f"task {name}: there is no run parameter {parameter.component_input_parameter}"
        elif kind == "task_output_parameter":
            made = parameter.task_output_parameter
            if made.producer_task not in tasks or made.output_parameter_key not in (
                spec.components[tasks[made.producer_task].component_ref.name].output_definitions.parameters
            ):
                yield f"task {name}: nothing makes its parameter {key}"


def check(spec: spec_pb2.PipelineSpec) -> None:
    """Checks a specification.

    Raises:
        SpecificationError: It would not run.
    """
    executors = parse_deployment(spec).executors
    problems = [] if _PIPELINE_NAME.fullmatch(spec.pipeline_info.name) else ["the pipeline's name is not Kubernetes'"]
    if spec.schema_version != "2.1.0":
        problems.append(f"the schema version is 2.1.0, received {spec.schema_version}")
    for name in sorted(spec.root.dag.tasks):
        problems += _task_problems(name, spec, executors)
    if problems:
        raise SpecificationError("The pipeline does not run on Kubeflow: " + "; ".join(problems) + ".")
