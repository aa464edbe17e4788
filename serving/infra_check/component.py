"""TFX interface of the InfraCheck node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.fingerprint import code_fingerprint
from serving.infra_check import executor


class InfraCheckSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of InfraCheck."""

    PARAMETERS = {"code": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class InfraCheck(base_component.BaseComponent):
    """Node that checks that the exam model serves."""

    SPEC_CLASS = InfraCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, examples: types.BaseChannel, model: types.BaseChannel):
        """Create the node.

        Args:
            examples: Preprocessed examples; a few of the test split are sent to the model.
            model: Exam model.
        """
        spec = InfraCheckSpec(
            examples=examples,
            model=model,
            code=code_fingerprint("serving.infra_check.executor"),
            blessing=types.Channel(type=standard_artifacts.InfraBlessing),
        )
        super().__init__(spec=spec)
