"""Do what Kubeflow's driver does before a task, and record the task in ML Metadata as its launcher does after it.

The records are in the real ML Metadata, in a file, so it refuses here what it refuses on a cluster: for example a
second input event of the same artifact and execution. Inputs are resolved from these records. So a node gets metadata
as Kubeflow hands them out: whole numbers as floats, with ``display_name`` and ``store_session_info``, without a type.

Source: kubeflow/pipelines 2.17, backend/src/v2/driver, backend/src/v2/metadata and backend/src/v2/cacheutils
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2
from ml_metadata.errors import StatusError
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.kubeflow.executor_input import local_path, title_of
from pipeline.kubeflow.package import Package
from pipeline.kubeflow.parameters import Value
from pipeline.metadata import connection, open_connection
from pipeline.metadata_config import MetadataConfig

# Root of a run that names none, unless the installation's ConfigMap kfp-launcher names another.
DEFAULT_ROOT: Final = "minio://mlpipeline/v2/artifacts"
# The driver adds this output to every task, because Kubeflow's manifests set PUBLISH_LOGS.
LOGS: Final = "executor-logs"
_LOGS_TYPE: Final = "system.Artifact"
_EXECUTION: Final = "system.ContainerExecution"
_PIPELINE: Final = "system.Pipeline"
_RUN: Final = "system.PipelineRun"
_FINGERPRINT: Final = "cache_fingerprint"
_OUTPUTS: Final = "outputs"


class DriverError(RuntimeError):
    """Kubeflow's driver would end before the task starts."""


@dataclass(frozen=True)
class Request:
    """What a run is started with.

    Attributes:
        values: Typed run parameters.
        pipeline_root: Root of its artifacts. Kubeflow takes it from here, and not from the specification.
    """

    values: Mapping[str, Value]
    pipeline_root: str = DEFAULT_ROOT


@dataclass(frozen=True)
class Driven:
    """A task that the driver has prepared.

    Attributes:
        task: Name of the task.
        given: What the launcher gets.
        execution: Its record in ML Metadata.
        cached: What an earlier execution wrote that had the same cache key; None to run the task.
    """

    task: str
    given: spec_pb2.ExecutorInput
    execution: pb.Execution
    cached: spec_pb2.ExecutorOutput | None


class Driver:
    """The driver of one run; for one thread, as ML Metadata's file."""

    def __init__(self, package: Package, request: Request, folder: Path):
        """Start a run.

        Args:
            package: The pipeline.
            request: What the run is started with.
            folder: Folder of the metadata. Runs in the same folder share a cache.
        """
        self._package, self._request = package, request
        config = MetadataConfig()
        self._store = open_connection(config, connection(config, folder, {}))
        self._session = json.dumps({"Provider": request.pipeline_root.partition(":")[0], "Params": {"fromEnv": "true"}})
        self._pipeline = self._context(_PIPELINE, package.spec.pipeline_info.name)
        self.run = f"walk-{len(self._store.get_contexts_by_type(_RUN)) + 1}"
        self._run = self._context(_RUN, self.run)
        self._executions: dict[str, pb.Execution] = {}

    def _context(self, kind: str, name: str) -> pb.Context:
        found = self._store.get_context_by_type_and_name(kind, name)
        if found is None:
            made = pb.Context(type_id=self._store.put_context_type(pb.ContextType(name=kind)), name=name)
            self._store.put_contexts([made])
            found = self._store.get_context_by_type_and_name(kind, name)
        return found

    def _outputs_of(self, execution: pb.Execution) -> dict[str, pb.Artifact]:
        events = [
            event
            for event in self._store.get_events_by_execution_ids([execution.id])
            if event.type == pb.Event.Type.OUTPUT
        ]
        found = self._store.get_artifacts_by_id([event.artifact_id for event in events])
        by_id = {artifact.id: artifact for artifact in found}
        return {event.path.steps[0].key: by_id[event.artifact_id] for event in events}

    def _inputs(self, task: str) -> spec_pb2.ExecutorInput.Inputs:
        given = self._package.spec.root.dag.tasks[task].inputs
        found = spec_pb2.ExecutorInput.Inputs()
        for name, parameter in given.parameters.items():
            kind = parameter.WhichOneof("kind")
            if kind == "runtime_value":
                value = parameter.runtime_value.constant
            elif kind == "component_input_parameter":
                value = self._run_value(parameter.component_input_parameter)
            else:
                made = parameter.task_output_parameter
                outputs = self._executions[made.producer_task].custom_properties[_OUTPUTS].struct_value
                value = outputs.fields[made.output_parameter_key]
            found.parameter_values[name].CopyFrom(value)
        for name, artifact in given.artifacts.items():
            source = artifact.task_output_artifact
            outputs_of = self._outputs_of(self._executions[source.producer_task])
            found.artifacts[name].artifacts.append(_runtime_artifact(outputs_of[source.output_artifact_key]))
        return found

    def _run_value(self, name: str) -> struct_pb2.Value:
        if name not in self._request.values:
            return self._package.spec.root.input_definitions.parameters[name].default_value
        value = self._request.values[name]
        return struct_pb2.Value(string_value=value) if isinstance(value, str) else struct_pb2.Value(number_value=value)

    def _outputs(self, task: str, pod: Path) -> spec_pb2.ExecutorInput.Outputs:
        spec = self._package.spec
        declared = spec.components[spec.root.dag.tasks[task].component_ref.name].output_definitions
        types = {name: one.artifact_type for name, one in declared.artifacts.items()}
        types[LOGS] = spec_pb2.ArtifactTypeSchema(schema_title=_LOGS_TYPE)
        name_of = f"{self._request.pipeline_root}/{spec.pipeline_info.name}/{self.run}/{task}/{uuid.uuid4()}"
        found = spec_pb2.ExecutorInput.Outputs(output_file=str(local_path(f"{name_of}/output_metadata.json", pod)))
        for name, artifact_type in types.items():
            found.artifacts[name].artifacts.add(uri=f"{name_of}/{name}", type=artifact_type)
        for name in declared.parameters:
            found.parameters[name].output_file = str(pod / "tmp" / "kfp" / "outputs" / name)
        return found

    def fingerprint(self, task: str, given: spec_pb2.ExecutorInput) -> str:
        """Return the fingerprint of a task's cache key.

        Ids of input artifacts, all parameters, types of outputs, image, command and volumes belong to the key. The name
        of the task, its run and URIs do not.

        Args:
            task: Name of the task.
            given: What the launcher gets.
        """
        spec = self._package.spec
        component = spec.components[spec.root.dag.tasks[task].component_ref.name]
        container = self._package.containers()[task]
        executors = self._package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        mounts = executors.get(component.executor_label, {}).get("pvcMount", ())
        key = {
            "inputArtifactNames": {
                name: {"artifactNames": [artifact.name for artifact in artifacts.artifacts]}
                for name, artifacts in given.inputs.artifacts.items()
            },
            "inputParameterValues": {
                name: json_format.MessageToDict(value) for name, value in given.inputs.parameter_values.items()
            },
            "outputArtifactsSpec": {
                name: {"type": json_format.MessageToDict(artifacts.artifacts[0].type)}
                for name, artifacts in given.outputs.artifacts.items()
            },
            "outputParametersSpec": {
                name: spec_pb2.ParameterType.ParameterTypeEnum.Name(declared.parameter_type)
                for name, declared in component.output_definitions.parameters.items()
            },
            "containerSpec": {
                "image": container.image,
                "cmdArgs": [*container.command, *container.args],
                "pvcNames": sorted({mount["constant"] for mount in mounts}),
            },
        }
        text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _cached(self, fingerprint: str) -> pb.Execution | None:
        found = [
            execution
            for execution in self._store.get_executions_by_context(self._pipeline.id)
            if execution.last_known_state == pb.Execution.COMPLETE
            and execution.custom_properties[_FINGERPRINT].string_value == fingerprint
        ]
        return max(found, key=lambda execution: int(execution.id), default=None)

    def start(self, task: str, pod: Path) -> Driven:
        """Resolve a task's inputs, name its outputs, look into the cache, and record the execution with its inputs.

        Args:
            task: Name of the task; the tasks before it are published.
            pod: Folder that replaces the pod's root.

        Raises:
            DriverError: ML Metadata refuses the record.
        """
        given = spec_pb2.ExecutorInput(inputs=self._inputs(task), outputs=self._outputs(task, pod))
        made = pb.Execution(
            type_id=self._store.put_execution_type(pb.ExecutionType(name=_EXECUTION)),
            last_known_state=pb.Execution.RUNNING,
        )
        made.custom_properties["task_name"].string_value = task
        before = None
        if self._package.spec.root.dag.tasks[task].caching_options.enable_cache:
            fingerprint = self.fingerprint(task, given)
            made.custom_properties[_FINGERPRINT].string_value = fingerprint
            before = self._cached(fingerprint)
        events = [
            _event(name, pb.Event.Type.INPUT, int(artifact.name))
            for name, artifacts in given.inputs.artifacts.items()
            for artifact in artifacts.artifacts
        ]
        execution = self._put(task, made, events)
        if before is None:
            return Driven(task, given, execution, None)
        reused = self._outputs_of(before)
        execution.custom_properties[_OUTPUTS].CopyFrom(before.custom_properties[_OUTPUTS])
        execution.last_known_state = pb.Execution.CACHED
        self._executions[task] = self._put(
            task, execution, [_event(name, pb.Event.Type.OUTPUT, one.id) for name, one in reused.items()]
        )
        output = spec_pb2.ExecutorOutput()
        for name, artifact in reused.items():
            output.artifacts[name].artifacts.append(_runtime_artifact(artifact))
        return Driven(task, given, execution, output)

    def _put(self, task: str, execution: pb.Execution, events: Sequence[pb.Event]) -> pb.Execution:
        try:
            put, _, _ = self._store.put_execution(
                execution, [(None, event) for event in events], [self._pipeline, self._run]
            )
        except StatusError as error:
            raise DriverError(
                f"Task {task}: ML Metadata refuses its record, so Kubeflow's driver ends before the task starts:"
                f" {' '.join(str(error).split())[:300]}"
            ) from error
        [found] = self._store.get_executions_by_id([put])
        return found

    def publish(self, driven: Driven, output: spec_pb2.ExecutorOutput) -> None:
        """Record what a task wrote.

        Args:
            driven: The task.
            output: What its command wrote, with all parameters.

        Raises:
            DriverError: ML Metadata refuses the record, or a value of the metadata is null.
        """
        execution, events = pb.Execution(), []
        execution.CopyFrom(driven.execution)
        for name, artifacts in driven.given.outputs.artifacts.items():
            declared = artifacts.artifacts[0]
            made = pb.Artifact(
                type_id=self._store.put_artifact_type(pb.ArtifactType(name=title_of(declared.type))),
                uri=declared.uri,
                state=pb.Artifact.LIVE,
            )
            if name in output.artifacts and output.artifacts[name].artifacts:
                written = output.artifacts[name].artifacts[0]
                made.uri = written.uri or made.uri
                for key, value in written.metadata.fields.items():
                    made.custom_properties[key].CopyFrom(_metadata_value(driven.task, key, value))
            for key, text in (("display_name", name), ("store_session_info", self._session)):
                if key not in made.custom_properties:
                    made.custom_properties[key].string_value = text
            [put] = self._store.put_artifacts([made])
            events.append(_event(name, pb.Event.Type.OUTPUT, put))
        execution.last_known_state = pb.Execution.COMPLETE
        values = execution.custom_properties[_OUTPUTS].struct_value
        values.SetInParent()  # ML Metadata's core crashes on a property without a value
        for name, value in output.parameter_values.items():
            values.fields[name].CopyFrom(value)
        self._executions[driven.task] = self._put(driven.task, execution, events)

    def fail(self, driven: Driven) -> None:
        """Record that a task failed; it is not in the cache."""
        execution = pb.Execution()
        execution.CopyFrom(driven.execution)
        execution.last_known_state = pb.Execution.FAILED
        self._put(driven.task, execution, ())


def _event(name: str, kind: int, artifact: int) -> pb.Event:
    event = pb.Event(type=kind, artifact_id=artifact)
    event.path.steps.add(key=name)
    return event


def _metadata_value(task: str, key: str, value: struct_pb2.Value) -> pb.Value:
    """Convert a value of an artifact's metadata to ML Metadata's, as ``StructValueToMLMDValue``."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return pb.Value(string_value=value.string_value)
    if kind == "number_value":
        return pb.Value(double_value=value.number_value)
    if kind == "bool_value":
        return pb.Value(int_value=int(value.bool_value))
    wrapped = {"list_value": "list", "struct_value": "struct"}
    if kind not in wrapped:
        raise DriverError(f"Task {task}: Kubeflow's launcher cannot record the metadata {key}. Received: {kind}")
    made = pb.Value()
    made.struct_value.fields[wrapped[kind]].CopyFrom(value)
    return made


def _runtime_artifact(artifact: pb.Artifact) -> spec_pb2.RuntimeArtifact:
    """Return an artifact as the driver hands it out: named by its id, with an empty schema."""
    made = spec_pb2.RuntimeArtifact(name=str(artifact.id), uri=artifact.uri)
    made.type.instance_schema = ""
    metadata: dict[str, Any] = {}
    for properties in (artifact.properties, artifact.custom_properties):
        for key, value in properties.items():
            kind = value.WhichOneof("value")
            if kind == "struct_value":
                metadata[key] = json_format.MessageToDict(value.struct_value)
            else:
                metadata[key] = float(value.int_value) if kind == "int_value" else getattr(value, kind)
    made.metadata.update(metadata)
    return made
