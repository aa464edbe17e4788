"""TFX interface of the Pusher node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import Explanations
from components.common.fingerprint import code_fingerprint
from components.pusher import executor


class PusherSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the Pusher."""

    PARAMETERS = {
        "serving_dir": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "explanations": component_spec.ChannelParameter(type=Explanations),
    }
    OUTPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}


class Pusher(base_component.BaseComponent):
    """Pushes the exam model if Evaluator, GradCamExplainer and InfraCheck pass it."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        evaluation: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        explanations: types.BaseChannel,
        serving_dir: str,
    ):
        """Create the node.

        Args:
            model: Exam model.
            evaluation: Metrics of the Evaluator; the contract of the pushed copy contains them.
            model_blessing: Verdict of the Evaluator.
            infra_blessing: Verdict of InfraCheck.
            explanations: Verdict of GradCamExplainer.
            serving_dir: Folder of versions, as TensorFlow Serving reads it.
        """
        spec = PusherSpec(
            model=model,
            evaluation=evaluation,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            explanations=explanations,
            serving_dir=serving_dir,
            code=code_fingerprint("components.pusher.executor"),
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)
