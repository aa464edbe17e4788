"""A compiled pipeline as a file: two YAML documents, the specification and what it needs of Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.parameters import RunParameter
from pipeline.kubeflow.validation import SpecificationError, check, parse_deployment, parse_spec

_HEADER: Final = "# Made by `breast-density compile`; change the configuration, not this file.\n"
_WHOLE: Final = spec_pb2.ParameterType.NUMBER_INTEGER


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        spec: What runs.
        platform: JSON of ``PlatformSpec``: what it needs of Kubernetes.
    """

    spec: spec_pb2.PipelineSpec
    platform: Mapping[str, Any]

    def to_yaml(self) -> str:
        """Writes the package as Kubeflow's client reads it."""
        documents = [json_format.MessageToDict(self.spec), self.platform]
        return _HEADER + yaml.safe_dump_all(documents, sort_keys=True, width=1_000_000)

    def run_parameters(self) -> tuple[RunParameter, ...]:
        """Lists the parameters that a run of it may be given."""
        found = []
        for name, declared in sorted(self.spec.root.input_definitions.parameters.items()):
            default = declared.default_value
            value = getattr(default, default.WhichOneof("kind"))
            found.append(RunParameter(name, "", int(value) if declared.parameter_type == _WHOLE else value))
        return tuple(found)

    def containers(self) -> dict[str, Any]:
        """Gives each task's container, by the task's name."""
        executors, components = parse_deployment(self.spec).executors, self.spec.components
        return {
            name: executors[components[task.component_ref.name].executor_label].container
            for name, task in self.spec.root.dag.tasks.items()
        }


def read_package(file: Path) -> Package:
    """Reads and checks a package.

    Raises:
        SpecificationError: The file is none, or would not run.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SpecificationError(f"{file}: it cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{file}: this is no YAML: {' '.join(str(error).split())}") from error
    if len(documents) != 2 or not all(isinstance(document, dict) for document in documents):
        raise SpecificationError(f"{file}: a package has two documents: make it with breast-density compile.")
    spec = parse_spec(documents[0])
    check(spec)
    return Package(spec, documents[1])
