"""TFX interface of the GradCamExplainer node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import Explanations
from components.common.fingerprint import code_fingerprint
from components.grad_cam_explainer import executor
from components.grad_cam_explainer.config import ExplainerConfig


class GradCamExplainerSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of GradCamExplainer."""

    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"explanations": component_spec.ChannelParameter(type=Explanations)}


class GradCamExplainer(base_component.BaseComponent):
    """Explains the test split with the exam model's own signature."""

    SPEC_CLASS = GradCamExplainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, examples: types.BaseChannel, model: types.BaseChannel, config: ExplainerConfig):
        """Makes the node.

        Args:
            examples: Preprocessed examples.
            model: Exam model.
            config: What is explained.
        """
        spec = GradCamExplainerSpec(
            examples=examples,
            model=model,
            config=config.model_dump_json(),
            code=code_fingerprint("components.grad_cam_explainer.executor"),
            explanations=types.Channel(type=Explanations),
        )
        super().__init__(spec=spec)
