"""TFX interface of the WarmStart node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.fingerprint import code_fingerprint
from components.trainer.config import TrainConfig
from components.warm_start import executor


class WarmStartSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of WarmStart."""

    PARAMETERS = {
        "serving_dir": component_spec.ExecutionParameter(type=str),
        "trainer": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
    }
    OUTPUTS = {
        "base_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class WarmStart(base_component.BaseComponent):
    """Finds the latest pushed model before a training."""

    SPEC_CLASS = WarmStartSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, transform_graph: types.BaseChannel, serving_dir: str, trainer: TrainConfig):
        """Create the node.

        Args:
            transform_graph: Input of the Trainers; new data make the node search again.
            serving_dir: Folder in which the Pusher writes versions.
            trainer: Configuration of the training; a change makes the node search again.
        """
        spec = WarmStartSpec(
            transform_graph=transform_graph,
            serving_dir=serving_dir,
            trainer=trainer.model_dump_json(),
            code=code_fingerprint("components.warm_start.executor"),
            base_model=types.Channel(type=standard_artifacts.Model),
        )
        super().__init__(spec=spec)
