"""TFX executor of BaselineModel."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.exam_model.versions import copy_baseline


class Executor(base_executor.BaseExecutor):
    """Copies the latest pushed model."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the only output artifact; it stays empty if no model was pushed yet."""
        del input_dict  # the inputs only trigger a new search
        (artifacts,) = output_dict.values()
        uri = artifact_utils.get_single_uri(artifacts)
        copy_baseline(exec_properties["serving_dir"], uri, path_utils.serving_model_path(uri))
