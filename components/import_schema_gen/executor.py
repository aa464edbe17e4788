"""TFX executor of ImportSchemaGen."""

from __future__ import annotations

import os
from typing import Any, Final

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.common.shards import write_text

_SCHEMA_FILE: Final = "schema.pbtxt"  # the name that TFX's nodes expect in a Schema artifact


class Executor(base_executor.BaseExecutor):
    """Writes the schema as an artifact."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the artifact ``schema``.

        Raises:
            google.protobuf.text_format.ParseError: The text is not a schema.
        """
        del input_dict
        text_format.Parse(exec_properties["schema_text"], schema_pb2.Schema())
        write_text(
            os.path.join(artifact_utils.get_single_uri(output_dict["schema"]), _SCHEMA_FILE),
            exec_properties["schema_text"],
        )
