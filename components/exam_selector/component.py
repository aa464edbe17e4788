"""TFX interface of the ExamSelector node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.fingerprint import code_fingerprint
from components.exam_selector import executor
from components.exam_selector.selection import SelectionConfig


class ExamSelectorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of ExamSelector."""

    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"selected_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class ExamSelector(base_component.BaseComponent):
    """Selects the exams on which the networks are trained."""

    SPEC_CLASS = ExamSelectorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, examples: types.BaseChannel, config: SelectionConfig):
        """Create the node.

        Args:
            examples: Preprocessed examples.
            config: Rules of the selection.
        """
        spec = ExamSelectorSpec(
            examples=examples,
            config=config.model_dump_json(),
            code=code_fingerprint("components.exam_selector.executor"),
            selected_examples=types.Channel(type=standard_artifacts.Examples),
        )
        super().__init__(spec=spec)
