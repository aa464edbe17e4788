"""Convert what Kubeflow passes to a node into what TFX's executors expect, and back: pure functions.

Both sides use the ``ExecutorInput`` message. Open-source Kubeflow Pipelines v2 and TFX 1.16 differ:

* Input artifacts come without a type, or with only its title. The definition of the component has the type.
* The title of this project's types is not an importable path.
* URIs are those of the object store, for example ``minio://``. TensorFlow and Beam cannot open them. The launcher has
  copied the files to local folders.
* An artifact without files has no folder, because object stores have no folders.
* An input is one artifact. Several artifacts of one input are separate inputs, and an artifact of several inputs is one
  input (``compiling.py``).
* Kubeflow adds outputs of its own, such as ``executor-logs``, the file that the launcher writes a node's log to while
  the node runs. TFX does not know their types.

The launcher starts each node's command. It downloads every input artifact before, and uploads every output after. A
node that works on these local files needs no client of the object store. It also leaves no zero-byte objects in place
of folders, which make the launcher fail (kubeflow/pipelines issue 13476).

If the pipeline root is a volume, all nodes work on the volume, under :data:`VOLUME_ROOT`. URIs remain those of the
object store, because the launcher refuses all others. It finds nothing in its own folders, so it copies nothing and
does not overwrite files that other pods read.

Source: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, LocalPathForURI
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from google.protobuf import struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.parameters import ParameterError, ParameterPlace, config_value, with_value

# Mount point of the volume that is the pipeline root.
VOLUME_ROOT: Final = "/artifacts"
_FOLDERS: Final = {"gs://": "gcs", "minio://": "minio", "s3://": "s3"}


class LocationError(ValueError):
    """An artifact is at a place that the launcher cannot copy from."""


def local_path(uri: str, root: Path) -> Path:
    """Return the local path of an artifact's files.

    Args:
        uri: URI of the artifact.
        root: ``/`` in a pod, where the launcher copies files to; :data:`VOLUME_ROOT` if they are on a volume.

    Raises:
        LocationError: The URI has another scheme, or leads out of its bucket.
    """
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            key = uri.removeprefix(scheme).partition("?")[0]
            if ".." in key.split("/"):
                raise LocationError(f"A URI must not lead out of its bucket. Received: {uri}")
            return root / folder / key
    raise LocationError(f"URIs of artifacts begin with one of {', '.join(_FOLDERS)}. Received: {uri}")


OWN_TYPES: Final = "breast_density."
# Kubeflow's own types. What it adds to a node's outputs has one.
KUBEFLOWS_TYPES: Final = "system."
_OWN_MODULE: Final = "components.common.artifacts."
# Artifacts that are one file with a value; the others are folders.
VALUE_TYPES: Final = frozenset({"tfx.String", "tfx.Integer", "tfx.Float", "tfx.Boolean", "tfx.JsonValue"})


def title_of(artifact_type: spec_pb2.ArtifactTypeSchema) -> str:
    """Return the title of an artifact's type; empty if it has none."""
    if artifact_type.WhichOneof("kind") == "schema_title":
        result: str = artifact_type.schema_title
        return result
    schema = yaml.safe_load(artifact_type.instance_schema)
    return str(schema.get("title", "")) if isinstance(schema, Mapping) else ""


def _importable(artifact_type: spec_pb2.ArtifactTypeSchema) -> spec_pb2.ArtifactTypeSchema:
    """Replace the title of one of this project's types by its Python path, which TFX expects in the title."""
    title = title_of(artifact_type)
    if not title.startswith(OWN_TYPES):
        return artifact_type
    path = _OWN_MODULE + title.removeprefix(OWN_TYPES)
    return spec_pb2.ArtifactTypeSchema(instance_schema=yaml.safe_dump({"title": path, "type": "object"}))


def _artifacts(lists: Mapping[str, spec_pb2.ArtifactList]) -> Iterator[tuple[str, spec_pb2.RuntimeArtifact]]:
    for name in lists:
        for artifact in lists[name].artifacts:
            yield name, artifact


def _join_unions(lists: Mapping[str, spec_pb2.ArtifactList]) -> dict[str, spec_pb2.ArtifactList]:
    """Join the artifacts of each union into one list, in the order of its channels."""
    found: dict[str, spec_pb2.ArtifactList] = {}
    for name in sorted(lists, key=_name_and_number):
        found.setdefault(_name_and_number(name)[0], spec_pb2.ArtifactList()).artifacts.extend(lists[name].artifacts)
    return found


def _name_and_number(name: str) -> tuple[str, int]:
    """Split a name such as ``examples-1``."""
    base, _, number = name.partition("-")
    return base, int(number or 0)


def _share_inputs(lists: Any, shared: Mapping[str, str]) -> None:
    """Put an artifact under the other names of :func:`~pipeline.kubeflow.specification.shared_inputs` too."""
    for name, first in shared.items():
        if first not in lists:
            raise LocationError(f"The input {first} is missing, which is {name} too: compile the pipeline again.")
        lists[name].CopyFrom(lists[first])


def is_nodes_own(artifact_type: spec_pb2.ArtifactTypeSchema) -> bool:
    """Return True if an output is the node's, and False if Kubeflow has added it."""
    return not title_of(artifact_type).startswith(KUBEFLOWS_TYPES)


def for_tfx(
    given: spec_pb2.ExecutorInput,
    inputs: spec_pb2.ComponentInputsSpec,
    run_parameters: Mapping[str, ParameterPlace],
    shared: Mapping[str, str],
    root: Path,
) -> spec_pb2.ExecutorInput:
    """Convert the backend's ``ExecutorInput`` into what TFX's entry point expects.

    Args:
        given: ``ExecutorInput`` as the launcher filled it in.
        inputs: The component's definition of inputs.
        run_parameters: Place of each run parameter.
        shared: Inputs that get the same artifact as another one.
        root: Folder under which the launcher stores artifacts.

    Returns:
        A copy with types and local paths, in which run parameters and the artifacts of unions are in their places, and
        without the outputs that Kubeflow has added.

    Raises:
        LocationError: An artifact is in an object store that the launcher does not know, or is missing.
        ParameterError: A run parameter does not match the node.
    """
    found = spec_pb2.ExecutorInput()
    found.CopyFrom(given)
    for name in [name for name, artifact in _artifacts(given.outputs.artifacts) if not is_nodes_own(artifact.type)]:
        found.outputs.artifacts.pop(name)
    _share_inputs(found.inputs.artifacts, shared)
    for name, artifact in _artifacts(found.inputs.artifacts):
        artifact.type.CopyFrom(_importable(inputs.artifacts[_name_and_number(name)[0]].artifact_type))
        artifact.uri = str(local_path(artifact.uri, root))
    joined = _join_unions(found.inputs.artifacts)
    found.inputs.ClearField("artifacts")
    for name, artifacts in joined.items():
        found.inputs.artifacts[name].CopyFrom(artifacts)
    for _, artifact in _artifacts(found.outputs.artifacts):
        artifact.type.CopyFrom(_importable(artifact.type))
        artifact.uri = str(local_path(artifact.uri, root))
    values = found.inputs.parameter_values
    for name, place in run_parameters.items():
        if name not in values:
            raise ParameterError(f"The run parameter {name} has no value: compile the pipeline again.")
        value = config_value(_plain(values.pop(name)))
        values[place.parameter].string_value = with_value(values[place.parameter].string_value, place.path, value)
    return found


def _plain(value: struct_pb2.Value) -> Any:
    return getattr(value, value.WhichOneof("kind"))


def prepare_folders(prepared: spec_pb2.ExecutorInput, remove: Callable[[Path], None]) -> None:
    """Create the folders that executors rely on, and remove what a failed attempt has left.

    Args:
        prepared: What :func:`for_tfx` returned.
        remove: Removes a file, or a folder with its content.
    """
    for _, artifact in _artifacts(prepared.inputs.artifacts):
        path = Path(artifact.uri)
        if not path.exists():
            path.mkdir(parents=True)
    for _, artifact in _artifacts(prepared.outputs.artifacts):
        path = Path(artifact.uri)
        if path.exists():
            remove(path)
        is_file = title_of(artifact.type) in VALUE_TYPES
        (path.parent if is_file else path).mkdir(parents=True, exist_ok=True)


def for_backend(output: spec_pb2.ExecutorOutput, given: spec_pb2.ExecutorInput, root: Path) -> spec_pb2.ExecutorOutput:
    """Restore the object store's URIs in what TFX's entry point wrote, so that the launcher uploads to them.

    Args:
        output: ``ExecutorOutput`` as TFX wrote it.
        given: ``ExecutorInput`` as the launcher filled it in.
        root: As in :func:`for_tfx`.
    """
    known = [*_artifacts(given.inputs.artifacts), *_artifacts(given.outputs.artifacts)]
    back = {str(local_path(artifact.uri, root)): artifact.uri for _, artifact in known}
    found = spec_pb2.ExecutorOutput()
    found.CopyFrom(output)
    for _, artifact in _artifacts(found.artifacts):
        artifact.uri = back[artifact.uri]
        artifact.ClearField("type")  # the backend has its own
        for name, value in artifact.metadata.items():
            if isinstance(value, str) and value in back:  # an Evaluator stores the URI of the model that it blessed
                artifact.metadata[name] = back[value]
    return found
