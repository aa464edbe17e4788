"""TFX interface of the ExampleValidator node."""

from __future__ import annotations

import json

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.fingerprint import code_fingerprint
from components.example_validator import executor


class ExampleValidatorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of ExampleValidator."""

    PARAMETERS = {
        "exclude_splits": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies)}


class ExampleValidator(base_component.BaseComponent):
    """Validates the statistics of the examples; anomalies stop the run."""

    SPEC_CLASS = ExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, statistics: types.BaseChannel, schema: types.BaseChannel):
        """Create the node.

        Args:
            statistics: Statistics of the preprocessed examples.
            schema: The curated schema.
        """
        spec = ExampleValidatorSpec(
            statistics=statistics,
            schema=schema,
            exclude_splits=json.dumps([]),
            code=code_fingerprint("components.example_validator.executor"),
            anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
        )
        super().__init__(spec=spec)
