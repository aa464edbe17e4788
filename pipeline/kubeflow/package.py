"""A compiled pipeline as a file: reading, writing, and checks of the pipeline and of the parameters of a run.

The file has two YAML documents: the specification, and what it needs of Kubernetes. Both are checked before anything is
sent to Kubeflow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2
from pydantic import BaseModel, ValidationError

from components.dicom_example_gen.config import IngestConfig
from components.evaluator.config import EvaluatorConfig
from components.grad_cam_explainer.config import ExplainerConfig
from components.trainer.config import TrainConfig
from pipeline.kubeflow.executor_input import is_nodes_own, title_of
from pipeline.kubeflow.parameters import ParameterError, RunParameter, Value, config_value, typed_values, with_value
from pipeline.kubeflow.specification import component_name, run_parameter_places, shared_inputs

# Argo Workflows: names of templates and of tasks in a DAG.
_TASK_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PIPELINE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_TYPE_TITLE: Final = re.compile(r"[a-z][a-z0-9-_]{2,20}\.[A-Z][a-zA-Z0-9-_]{2,49}")
# Linux allows 128 KiB per argument; the launcher puts all parameters of a node into one argument, and escapes quotes.
_MAX_BYTES: Final = 100_000


class SpecificationError(ValueError):
    """A specification does not run on open-source Kubeflow Pipelines v2; the message lists the problems."""


def parse_spec(document: Mapping[str, Any]) -> spec_pb2.PipelineSpec:
    """Read a specification from JSON types.

    Raises:
        SpecificationError: It does not match the protocol buffer ``PipelineSpec`` of kfp-pipeline-spec.
    """
    try:
        return json_format.ParseDict(document, spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise SpecificationError(f"This is not a pipeline specification: {error}") from error


def parse_deployment(spec: spec_pb2.PipelineSpec) -> spec_pb2.PipelineDeploymentConfig:
    """Read the containers of a specification.

    Raises:
        SpecificationError: They do not match the protocol buffer ``PipelineDeploymentConfig``.
    """
    try:
        return json_format.ParseDict(
            json_format.MessageToDict(spec.deployment_spec), spec_pb2.PipelineDeploymentConfig()
        )
    except json_format.ParseError as error:
        raise SpecificationError(f"The deploymentSpec of the specification is not valid: {error}") from error


def _task_problems(name: str, spec: spec_pb2.PipelineSpec, executors: Mapping[str, Any]) -> Iterator[str]:
    task = spec.root.dag.tasks[name]
    if not _TASK_NAME.fullmatch(name) or task.task_info.name != name:
        yield f"task {name}: names consist of letters a to z, digits and hyphens"
    if task.component_ref.name not in spec.components:
        yield f"task {name}: the component {task.component_ref.name} does not exist"
        return
    component = spec.components[task.component_ref.name]
    executor = executors.get(component.executor_label)
    if executor is None or executor.WhichOneof("spec") != "container":
        yield f"task {name}: it is not a container; resolvers and importers are not supported"
    elif executor.container.HasField("lifecycle"):
        yield f"task {name}: it needs a driver hook, which Kubeflow does not call"
    wanted, given = component.input_definitions, task.inputs
    if set(wanted.parameters) != set(given.parameters):
        yield f"task {name}: parameters {sorted(set(wanted.parameters) ^ set(given.parameters))} are not connected"
    if set(wanted.artifacts) != set(given.artifacts):
        yield f"task {name}: artifacts {sorted(set(wanted.artifacts) ^ set(given.artifacts))} are not connected"
    yield from _reference_problems(name, spec)
    for key, artifact in [*wanted.artifacts.items(), *component.output_definitions.artifacts.items()]:
        if not _TYPE_TITLE.fullmatch(title_of(artifact.artifact_type)):
            yield f"task {name}: the type of {key} has no title such as tfx.Model"
        elif not is_nodes_own(artifact.artifact_type):
            yield f"task {name}: the type of {key} is one of Kubeflow's own, which nodes do not get"
    size = sum(
        len(json_format.MessageToJson(parameter.runtime_value).encode())
        for parameter in given.parameters.values()
        if parameter.WhichOneof("kind") == "runtime_value"
    )
    if size > _MAX_BYTES:
        yield f"task {name}: its parameters have {size} bytes; the launcher's command line allows {_MAX_BYTES}"


def _reference_problems(name: str, spec: spec_pb2.PipelineSpec) -> Iterator[str]:
    task, tasks = spec.root.dag.tasks[name], spec.root.dag.tasks
    for other, first in shared_inputs(task).items():
        yield f"task {name}: its inputs {first} and {other} are the same artifact, which ML Metadata refuses"
    for other in task.dependent_tasks:
        if other not in tasks:
            yield f"task {name}: it depends on {other}, which is not a task"
    for key, artifact in task.inputs.artifacts.items():
        source = artifact.task_output_artifact
        if source.producer_task not in tasks or source.output_artifact_key not in (
            spec.components[tasks[source.producer_task].component_ref.name].output_definitions.artifacts
        ):
            yield f"task {name}: no task produces its input {key}"
        elif source.producer_task not in task.dependent_tasks:
            yield f"task {name}: it does not wait for {source.producer_task}"
    for key, parameter in task.inputs.parameters.items():
        kind = parameter.WhichOneof("kind")
        if kind == "component_input_parameter":
            if parameter.component_input_parameter not in spec.root.input_definitions.parameters:
                yield f"task {name}: the run parameter {parameter.component_input_parameter} does not exist"
        elif kind == "task_output_parameter":
            made = parameter.task_output_parameter
            if made.producer_task not in tasks or made.output_parameter_key not in (
                spec.components[tasks[made.producer_task].component_ref.name].output_definitions.parameters
            ):
                yield f"task {name}: no task produces its parameter {key}"


def check_specification(spec: spec_pb2.PipelineSpec) -> None:
    """Check a specification.

    Raises:
        SpecificationError: It would not run.
    """
    executors = parse_deployment(spec).executors
    problems = (
        [] if _PIPELINE_NAME.fullmatch(spec.pipeline_info.name) else ["Kubernetes does not allow the pipeline's name"]
    )
    if spec.schema_version != "2.1.0":
        problems.append(f"the schema version must be 2.1.0, received {spec.schema_version}")
    for name in sorted(spec.root.dag.tasks):
        problems += _task_problems(name, spec, executors)
    if problems:
        raise SpecificationError("The pipeline does not run on Kubeflow: " + "; ".join(problems) + ".")


_HEADER: Final = "# Made by `breast-density compile`; change the configuration, not this file.\n"
_WHOLE: Final = spec_pb2.ParameterType.NUMBER_INTEGER


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        spec: The specification.
        platform: JSON of ``PlatformSpec``: what it needs of Kubernetes.
    """

    spec: spec_pb2.PipelineSpec
    platform: Mapping[str, Any]

    def to_yaml(self) -> str:
        """Return the package as Kubeflow's client reads it."""
        documents = [json_format.MessageToDict(self.spec), self.platform]
        return _HEADER + yaml.safe_dump_all(documents, sort_keys=True, width=1_000_000)

    @property
    def pipeline_root(self) -> str:
        """Root of the artifacts. Kubeflow does not read it here: every run must be started with it."""
        return str(self.spec.default_pipeline_root)

    def run_parameters(self) -> tuple[RunParameter, ...]:
        """Return the parameters that a run of it accepts."""
        found = []
        for name, declared in sorted(self.spec.root.input_definitions.parameters.items()):
            default = declared.default_value
            value = getattr(default, default.WhichOneof("kind"))
            found.append(RunParameter(name, "", int(value) if declared.parameter_type == _WHOLE else value))
        return tuple(found)

    def containers(self) -> dict[str, Any]:
        """Return the container of each task, by name of the task."""
        executors, components = parse_deployment(self.spec).executors, self.spec.components
        return {
            name: executors[components[task.component_ref.name].executor_label].container
            for name, task in self.spec.root.dag.tasks.items()
        }


def read_package(file: Path) -> Package:
    """Read and check a package.

    Raises:
        SpecificationError: The file is not a package, or would not run.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SpecificationError(f"{file}: it cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{file}: this is not YAML: {' '.join(str(error).split())}") from error
    if len(documents) != 2 or not all(isinstance(document, dict) for document in documents):
        raise SpecificationError(f"{file}: a package has two documents: make it with breast-density compile.")
    spec = parse_spec(documents[0])
    check_specification(spec)
    return Package(spec, documents[1])


# The configuration that a node reads, by name of its component.
_CONFIG_OF: Final[Mapping[str, type[BaseModel]]] = {
    component_name("DicomExampleGen"): IngestConfig,
    component_name("Trainer"): TrainConfig,
    component_name("Evaluator"): EvaluatorConfig,
    component_name("GradCamExplainer"): ExplainerConfig,
}


def _check_task(task: spec_pb2.PipelineTaskSpec, container: object, values: Mapping[str, Value]) -> None:
    model = next((model for name, model in _CONFIG_OF.items() if task.component_ref.name.startswith(name)), None)
    if model is None:
        return
    text = ""
    for name, place in run_parameter_places(container).items():
        if name in values:
            text = text or task.inputs.parameters[place.parameter].runtime_value.constant.string_value
            text = with_value(text, place.path, config_value(values[name]))
    if not text:
        return
    document = json.loads(text)
    try:
        model.model_validate_json(document["config"] if "view" in document else text)  # that of a Trainer is nested
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "values"
        raise ParameterError(f"{key}: {first['msg']}. Received: {first['input']!r}") from error


def check_values(package: Package, given: Mapping[str, str]) -> dict[str, Value]:
    """Check run parameters against the configuration that the nodes will read, and convert them to their types.

    Args:
        package: The compiled pipeline.
        given: Run parameters as text, by name.

    Returns:
        Typed run parameters by name.

    Raises:
        ParameterError: A parameter is unknown, has the wrong type, or is not allowed.
    """
    values = typed_values(given, package.run_parameters())
    containers = package.containers()
    for name in sorted(package.spec.root.dag.tasks):
        _check_task(package.spec.root.dag.tasks[name], containers[name], values)
    return values
