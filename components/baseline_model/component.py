"""TFX interface of the BaselineModel node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.baseline_model import executor
from components.common.fingerprint import code_fingerprint


class BaselineModelSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of BaselineModel."""

    PARAMETERS = {
        "serving_dir": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class BaselineModel(base_component.BaseComponent):
    """Finds the latest pushed model before this candidate."""

    SPEC_CLASS = BaselineModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, model: types.BaseChannel, serving_dir: str):
        """Create the node.

        Args:
            model: The candidate; a new one makes the node search again.
            serving_dir: Folder in which the Pusher writes versions.
        """
        spec = BaselineModelSpec(
            model=model,
            serving_dir=serving_dir,
            code=code_fingerprint("components.baseline_model.executor"),
            baseline_model=types.Channel(type=standard_artifacts.Model),
        )
        super().__init__(spec=spec)
