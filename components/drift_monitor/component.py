"""TFX interface of the DriftMonitor node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import DriftReport
from components.common.fingerprint import code_fingerprint
from components.drift_monitor import executor
from components.drift_monitor.config import DriftConfig


class DriftMonitorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of DriftMonitor."""

    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "serving_dir": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "selected_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {"drift_report": component_spec.ChannelParameter(type=DriftReport)}


class DriftMonitor(base_beam_component.BaseBeamComponent):
    """Compares new exams with earlier exams and with those of the pushed model, and held-out with training exams."""

    SPEC_CLASS = DriftMonitorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        serving_dir: str,
        config: DriftConfig,
        selected_examples: types.BaseChannel | None = None,
    ):
        """Create the node.

        Args:
            examples: Preprocessed examples of one or more spans.
            schema: The curated schema; its comparators have the threshold of each feature.
            serving_dir: Folder in which the Pusher writes versions.
            config: Effect of an alert.
            selected_examples: The training examples, if ExamSelector leaves some out.
        """
        spec = DriftMonitorSpec(
            examples=examples,
            schema=schema,
            selected_examples=selected_examples,
            serving_dir=serving_dir,
            config=config.model_dump_json(),
            code=code_fingerprint("components.drift_monitor.executor"),
            drift_report=types.Channel(type=DriftReport),
        )
        super().__init__(spec=spec)
