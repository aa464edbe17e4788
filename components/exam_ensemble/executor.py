"""TFX executor of ExamEnsemble."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.common.progress import advance, expect
from components.common.shards import write_text
from components.exam_ensemble.calibration import CALIBRATION_FILE, fit_calibration
from components.exam_ensemble.config import EnsembleConfig
from components.exam_ensemble.ensemble import load_exam_model
from components.exam_ensemble.eval_split import grade_split
from components.trainer.files import NETWORK_FILE
from components.transform.config import ImageConfig
from schema.features import VIEWS
from serving.signatures import export


class Executor(base_executor.BaseExecutor):
    """Combines the view networks to one SavedModel and calibrates it."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads one network a view and the eval split, and writes ``model`` with ``calibration.json``."""
        expect(1, "models")
        networks = {
            view: os.path.join(
                path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[view])), NETWORK_FILE
            )
            for view in VIEWS
        }
        config = EnsembleConfig.model_validate_json(exec_properties["config"])
        model = load_exam_model(
            networks,
            ImageConfig.model_validate_json(exec_properties["image"]),
            exec_properties["preprocessing"],
            config.minimum_views,
            bool(exec_properties["mirrored"]),
        )
        exams, labels = grade_split(model, artifact_utils.get_split_uri(input_dict["examples"], "eval"))
        graded = exams.view_counts >= config.minimum_views
        calibration = fit_calibration(exams.probabilities[graded], labels[graded], config.calibration)
        folder = path_utils.serving_model_path(artifact_utils.get_single_uri(output_dict["model"]))
        export(model.with_temperature(calibration.temperature).with_batching(config.batching), folder)
        write_text(os.path.join(folder, CALIBRATION_FILE), calibration.model_dump_json(indent=1))
        advance()
