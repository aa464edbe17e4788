"""TFX executor of GradCamExplainer."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.common.progress import expect
from components.common.views import read_views
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.explain import explain_views


class Executor(base_executor.BaseExecutor):
    """Explains the test split."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes ``explanations``."""
        expect(0, "views")
        explain_views(
            path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])),
            read_views(artifact_utils.get_split_uri(input_dict["examples"], "test")),
            ExplainerConfig.model_validate_json(exec_properties["config"]),
            artifact_utils.get_single_uri(output_dict["explanations"]),
        )
