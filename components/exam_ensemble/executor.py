"""TFX executor of ExamEnsemble."""

from __future__ import annotations

import os
from typing import Any, Final

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.common.progress import advance, expect
from components.common.shards import read_bytes
from components.common.views import read_views
from components.exam_ensemble.config import EnsembleConfig
from components.exam_ensemble.ensemble import grade_split, load_exam_model
from components.exam_ensemble.familiarity import fit_distributions, fit_familiarity
from components.exam_ensemble.saving import count_exams, save_exam_model, systems_of
from components.exam_model.contract import TrainingData
from components.exam_model.mixture import Mixture
from components.exam_model.signatures import ExamSettings
from components.statistics.calibration import fit_calibration
from components.texture.arrays import TEXTURE_FILE, read_arrays
from components.trainer import NETWORK_FILE
from components.transform.config import ImageConfig
from schema.features import VIEWS

TEXTURE_MODEL: Final = "texture_model"


def _mixture(input_dict: dict[str, list[types.Artifact]], config: EnsembleConfig) -> Mixture | None:
    if not input_dict.get(TEXTURE_MODEL):
        return None
    file = os.path.join(artifact_utils.get_single_uri(input_dict[TEXTURE_MODEL]), TEXTURE_FILE)
    return Mixture(read_arrays(read_bytes(file)), config.texture_weight)


class Executor(base_executor.BaseExecutor):
    """Combines the view networks to one SavedModel and calibrates it."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write ``model`` with calibration, warm-up and contract.

        It reads one network per view, the splits, and for the mixed classifier a texture model.
        """
        expect(1, "models")
        networks = {
            view: os.path.join(
                path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[view])), NETWORK_FILE
            )
            for view in VIEWS
        }
        config = EnsembleConfig.model_validate_json(exec_properties["config"])
        image = ImageConfig.model_validate_json(exec_properties["image"])
        settings = ExamSettings(
            preprocessing=exec_properties["preprocessing"],
            minimum_views=config.minimum_views,
            mirrored=bool(exec_properties["mirrored"]),
            mixture=_mixture(input_dict, config),
            heat_map=config.heat_map,
        )
        model = load_exam_model(networks, image, settings)
        learnt = {split: artifact_utils.get_split_uri(input_dict["examples"], split) for split in ("train", "eval")}
        fitted = fit_distributions(model, learnt["train"], config.familiarity_exams)
        to_grade = model if fitted.problem else model.changed(familiarity=fitted.familiarity())
        held_out = grade_split(to_grade, learnt["eval"])
        known, facts = fit_familiarity(model, fitted, held_out)
        graded = held_out.exams.view_counts >= config.minimum_views
        probabilities, labels = held_out.exams.probabilities[graded], held_out.labels[graded]
        calibration = fit_calibration(probabilities, labels, config.calibration, held_out.patients[graded])
        folder = path_utils.serving_model_path(artifact_utils.get_single_uri(output_dict["model"]))
        data = TrainingData(
            origin=exec_properties["origin"],
            splits={split: count_exams(read_views(shards)) for split, shards in learnt.items()},
            systems=systems_of(read_views(learnt["train"])),
        )
        model = model.changed(familiarity=known, batching=config.batching)
        save_exam_model(model, folder, calibration, data, facts)
        advance()
