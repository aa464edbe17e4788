"""TFX executor of ExamEnsemble."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.common.progress import advance, expect
from components.exam_ensemble.ensemble import load_exam_model
from components.trainer.run_fn import NETWORK_FILE
from components.transform.config import ImageConfig
from schema.features import VIEWS
from serving.signatures import export


class Executor(base_executor.BaseExecutor):
    """Combines four view networks to one SavedModel."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads one network a view and writes ``model``."""
        expect(1, "models")
        networks = {
            view: os.path.join(
                path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[view])), NETWORK_FILE
            )
            for view in VIEWS
        }
        image = ImageConfig.model_validate_json(exec_properties["image"])
        model = load_exam_model(networks, image, exec_properties["preprocessing"])
        export(model, path_utils.serving_model_path(artifact_utils.get_single_uri(output_dict["model"])))
        advance()
