"""TFX interfaces of the nodes that find the latest pushed model."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.fingerprint import code_fingerprint
from components.pushed_models import executor, warm_start
from components.reference_model import REFERENCE
from components.trainer.config import TrainConfig


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
            code=code_fingerprint("components.pushed_models.executor"),
            baseline_model=types.Channel(type=standard_artifacts.Model),
        )
        super().__init__(spec=spec)


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
    """Finds the model that a training starts from: the latest pushed one, or the reference model."""

    SPEC_CLASS = WarmStartSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(warm_start.Executor)

    def __init__(self, transform_graph: types.BaseChannel, serving_dir: str, trainer: TrainConfig):
        """Create the node.

        Args:
            transform_graph: Input of the Trainers; new data make the node search again.
            serving_dir: Folder in which the Pusher writes versions; not read for the reference model.
            trainer: Configuration of the training; a change makes the node search again.
        """
        spec = WarmStartSpec(
            transform_graph=transform_graph,
            serving_dir=REFERENCE if trainer.warm_start == "reference" else serving_dir,
            trainer=trainer.model_dump_json(),
            code=code_fingerprint("components.pushed_models.warm_start"),
            base_model=types.Channel(type=standard_artifacts.Model),
        )
        super().__init__(spec=spec)
