"""What the backend hands a node, and what TFX's executors expect: pure functions on the ``ExecutorInput`` message.

Open-source Kubeflow Pipelines v2 and TFX 1.16 differ:

* Input artifacts come without a type, or with its title alone. The component's own definition has it.
* The title of a type of our own is no importable path.
* URIs are the object store's, ``minio://`` among them, which TensorFlow and Beam cannot open. The launcher has copied
  the files to local folders.
* An artifact without files leaves no folder, since object stores have none.
* An input is one artifact; several of one input are inputs beside each other (``unions.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from google.protobuf import struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.locations import local_path
from pipeline.kubeflow.parameters import ParameterError, Place, meaning, with_value

OWN_TYPES: Final = "breast_density."
_OWN_MODULE: Final = "components.common.artifacts."
# Artifacts that are one file with a value; the others are folders.
VALUE_TYPES: Final = frozenset({"tfx.String", "tfx.Integer", "tfx.Float", "tfx.Boolean", "tfx.JsonValue"})


def title_of(artifact_type: spec_pb2.ArtifactTypeSchema) -> str:
    """Reads the title of an artifact's type; empty where it has none."""
    if artifact_type.WhichOneof("kind") == "schema_title":
        return artifact_type.schema_title
    schema = yaml.safe_load(artifact_type.instance_schema)
    return str(schema.get("title", "")) if isinstance(schema, Mapping) else ""


def _importable(artifact_type: spec_pb2.ArtifactTypeSchema) -> spec_pb2.ArtifactTypeSchema:
    """Names a type of our own by its Python path, which is what TFX looks for in the title."""
    title = title_of(artifact_type)
    if not title.startswith(OWN_TYPES):
        return artifact_type
    path = _OWN_MODULE + title.removeprefix(OWN_TYPES)
    return spec_pb2.ArtifactTypeSchema(instance_schema=yaml.safe_dump({"title": path, "type": "object"}))


def _artifacts(lists: Mapping[str, spec_pb2.ArtifactList]) -> Iterator[tuple[str, spec_pb2.RuntimeArtifact]]:
    for name in lists:
        for artifact in lists[name].artifacts:
            yield name, artifact


def _put_together(lists: Mapping[str, spec_pb2.ArtifactList]) -> dict[str, spec_pb2.ArtifactList]:
    """Makes one list of a union's artifacts again, in the order of its channels."""
    found: dict[str, spec_pb2.ArtifactList] = {}
    for name in sorted(lists, key=_place):
        found.setdefault(_place(name)[0], spec_pb2.ArtifactList()).artifacts.extend(lists[name].artifacts)
    return found


def _place(name: str) -> tuple[str, int]:
    """Reads ``examples-1``."""
    base, _, number = name.partition("-")
    return base, int(number or 0)


def for_tfx(
    given: spec_pb2.ExecutorInput,
    inputs: spec_pb2.ComponentInputsSpec,
    run_parameters: Mapping[str, Place],
    root: Path,
) -> spec_pb2.ExecutorInput:
    """Makes of the backend's ``ExecutorInput`` what TFX's entry point takes.

    Args:
        given: As the launcher filled it in.
        inputs: The component's definition.
        run_parameters: Where each run parameter goes.
        root: Folder under which the launcher keeps artifacts.

    Returns:
        A copy with types, local paths, and run parameters and further artifacts of an input in their places.

    Raises:
        LocationError: An artifact is in no object store that the launcher knows.
        ParameterError: A run parameter does not fit the node.
    """
    found = spec_pb2.ExecutorInput()
    found.CopyFrom(given)
    for name, artifact in _artifacts(found.inputs.artifacts):
        artifact.type.CopyFrom(_importable(inputs.artifacts[_place(name)[0]].artifact_type))
        artifact.uri = str(local_path(artifact.uri, root))
    together = _put_together(found.inputs.artifacts)
    found.inputs.ClearField("artifacts")
    for name, artifacts in together.items():
        found.inputs.artifacts[name].CopyFrom(artifacts)
    for _, artifact in _artifacts(found.outputs.artifacts):
        artifact.type.CopyFrom(_importable(artifact.type))
        artifact.uri = str(local_path(artifact.uri, root))
    values = found.inputs.parameter_values
    for name, place in run_parameters.items():
        if name not in values:
            raise ParameterError(f"The run parameter {name} has no value: compile the pipeline anew.")
        value = meaning(_plain(values.pop(name)))
        values[place.parameter].string_value = with_value(values[place.parameter].string_value, place.path, value)
    return found


def _plain(value: struct_pb2.Value) -> Any:
    return getattr(value, value.WhichOneof("kind"))


def prepare_folders(made: spec_pb2.ExecutorInput, remove: Callable[[Path], None]) -> None:
    """Makes the folders that executors count on, and removes what a try that failed has left.

    Args:
        made: As :func:`for_tfx` gave it.
        remove: Removes a file or a folder with all in it.
    """
    for _, artifact in _artifacts(made.inputs.artifacts):
        path = Path(artifact.uri)
        if not path.exists():
            path.mkdir(parents=True)
    for _, artifact in _artifacts(made.outputs.artifacts):
        path = Path(artifact.uri)
        if path.exists():
            remove(path)
        is_file = title_of(artifact.type) in VALUE_TYPES
        (path.parent if is_file else path).mkdir(parents=True, exist_ok=True)


def for_backend(output: spec_pb2.ExecutorOutput, given: spec_pb2.ExecutorInput, root: Path) -> spec_pb2.ExecutorOutput:
    """Puts the object store's URIs back into what TFX's entry point wrote, so that the launcher uploads to them.

    Args:
        output: As TFX wrote it.
        given: As the launcher filled it in.
        root: As in :func:`for_tfx`.
    """
    known = [*_artifacts(given.inputs.artifacts), *_artifacts(given.outputs.artifacts)]
    back = {str(local_path(artifact.uri, root)): artifact.uri for _, artifact in known}
    found = spec_pb2.ExecutorOutput()
    found.CopyFrom(output)
    for _, artifact in _artifacts(found.artifacts):
        artifact.uri = back[artifact.uri]
        artifact.ClearField("type")  # the backend keeps its own
        for name, value in artifact.metadata.items():
            if isinstance(value, str) and value in back:  # an Evaluator names the model that it blessed
                artifact.metadata[name] = back[value]
    return found
