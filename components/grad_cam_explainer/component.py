"""TFX interface of the GradCamExplainer node."""

from __future__ import annotations

from collections.abc import Mapping

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import Explanations
from components.common.fingerprint import code_fingerprint
from components.exam_model.heat_source import GRAD_CAM, HeatMapConfig
from components.grad_cam_explainer import executor
from components.grad_cam_explainer.config import ExplainerConfig
from components.transform.config import ImageConfig
from schema.features import VIEWS


class GradCamExplainerSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of GradCamExplainer."""

    PARAMETERS = {
        "image": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "heat_map": component_spec.ExecutionParameter(type=str),
        "mirrored": component_spec.ExecutionParameter(type=int),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        **{view: component_spec.ChannelParameter(type=standard_artifacts.Model) for view in VIEWS},
    }
    OUTPUTS = {"explanations": component_spec.ChannelParameter(type=Explanations)}


class GradCamExplainer(base_beam_component.BaseBeamComponent):
    """Explains the test split with the signature of the exam model, and inspects its networks."""

    SPEC_CLASS = GradCamExplainerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        networks: Mapping[str, types.BaseChannel],
        image: ImageConfig,
        config: ExplainerConfig,
        heat_map: HeatMapConfig = GRAD_CAM,
        mirrored: bool = False,
    ):
        """Create the node.

        Args:
            examples: Preprocessed examples; the node reads the test split.
            model: Exam model.
            networks: The Trainer's model of each view. Several views may share one model.
            image: Input of the networks.
            config: Which views are explained, and the gates.
            heat_map: Method and stages of the exam model's heat maps.
            mirrored: True if networks serve both sides and see right breasts mirrored.
        """
        spec = GradCamExplainerSpec(
            **networks,
            examples=examples,
            model=model,
            image=image.model_dump_json(),
            config=config.model_dump_json(),
            heat_map=heat_map.model_dump_json(),
            mirrored=int(mirrored),
            code=code_fingerprint("components.grad_cam_explainer.executor"),
            explanations=types.Channel(type=Explanations),
        )
        super().__init__(spec=spec)
