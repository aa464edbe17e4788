"""TFX interface of the ImportSchemaGen node."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tfx import types
from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts


class ImportSchemaGenSpec(component_spec.ComponentSpec):
    """Outputs and parameters of ImportSchemaGen."""

    PARAMETERS = {
        "schema_file": component_spec.ExecutionParameter(type=str),
        "fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {"schema": component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class ImportSchemaGen(base_component.BaseComponent):
    """Imports the curated schema; editing it makes the node run again."""

    SPEC_CLASS = ImportSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_file: str):
        """Makes the node.

        Args:
            schema_file: Schema as a text-format protocol buffer.
        """
        spec = ImportSchemaGenSpec(
            schema_file=schema_file,
            fingerprint=hashlib.sha256(Path(schema_file).read_bytes()).hexdigest()[:16],
            schema=types.Channel(type=standard_artifacts.Schema),
        )
        super().__init__(spec=spec)
