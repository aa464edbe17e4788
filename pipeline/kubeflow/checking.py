"""Checks the parameters of a run against the configuration that its nodes will read, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2
from pydantic import BaseModel, ValidationError

from components.dicom_example_gen.config import IngestConfig
from components.evaluator.config import EvaluatorConfig
from components.grad_cam_explainer.config import ExplainerConfig
from components.trainer.config import TrainConfig
from pipeline.kubeflow.package import Package
from pipeline.kubeflow.parameters import ParameterError, Value, checked, meaning, with_value
from pipeline.kubeflow.specification import component_name, run_parameter_places

# Which nodes read what, by the name of their component.
_READ: Final[Mapping[str, type[BaseModel]]] = {
    component_name("DicomExampleGen"): IngestConfig,
    component_name("Trainer"): TrainConfig,
    component_name("Evaluator"): EvaluatorConfig,
    component_name("GradCamExplainer"): ExplainerConfig,
}


def _check_task(task: spec_pb2.PipelineTaskSpec, container: object, values: Mapping[str, Value]) -> None:
    model = next((model for name, model in _READ.items() if task.component_ref.name.startswith(name)), None)
    if model is None:
        return
    text = ""
    for name, place in run_parameter_places(container).items():
        if name in values:
            text = text or task.inputs.parameters[place.parameter].runtime_value.constant.string_value
            text = with_value(text, place.path, meaning(values[name]))
    if not text:
        return
    document = json.loads(text)
    try:
        model.model_validate_json(document["config"] if "view" in document else text)  # a Trainer's is inside another
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "values"
        raise ParameterError(f"{key}: {first['msg']}. Received: {first['input']!r}") from error


def check_values(package: Package, given: Mapping[str, str]) -> dict[str, Value]:
    """Types and checks the run parameters that a person gives.

    Raises:
        ParameterError: One is unknown, of another type, or not allowed.
    """
    values = checked(given, package.run_parameters())
    containers = package.containers()
    for name in sorted(package.spec.root.dag.tasks):
        _check_task(package.spec.root.dag.tasks[name], containers[name], values)
    return values
