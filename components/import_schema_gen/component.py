"""TFX interface of the ImportSchemaGen node."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.fingerprint import code_fingerprint
from components.import_schema_gen import executor


class ImportSchemaGenSpec(component_spec.ComponentSpec):
    """Outputs and parameters of ImportSchemaGen."""

    PARAMETERS = {
        "schema_text": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {"schema": component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class ImportSchemaGen(base_component.BaseComponent):
    """Imports the curated schema.

    TFX's own node gets a path: it does not notice an edited schema, and the same schema in another checkout makes all
    later nodes run again. This node gets the text.
    """

    SPEC_CLASS = ImportSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_file: str):
        """Create the node.

        Args:
            schema_file: Schema as a text-format protocol buffer. It is read now, not when the node runs.
        """
        spec = ImportSchemaGenSpec(
            schema_text=Path(schema_file).read_text(encoding="utf-8"),
            code=code_fingerprint("components.import_schema_gen.executor"),
            schema=types.Channel(type=standard_artifacts.Schema),
        )
        super().__init__(spec=spec)
