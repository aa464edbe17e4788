"""How the exam model combines the views of an exam to one grade."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.exam_model.batching import BatchingConfig
from components.exam_model.heat_source import GRAD_CAM, HeatMapConfig
from components.texture.config import TextureConfig
from schema.features import VIEWS


class EnsembleConfig(BaseModel):
    """Combination, calibration and batches.

    Attributes:
        calibration: ``temperature`` fits one temperature to the exams of the eval split; ``none`` keeps the mean of
            the views.
        minimum_views: An exam with fewer views gets no grade.
        batching: How the served model combines requests to batches; ``null`` runs each request separately. On two cores
            batches are not faster at the published size (docs/serving.md).
        familiarity_exams: Largest number of training exams behind the familiarity of an exam; 0 makes none.
        heat_map: Method and stages of the heat maps that the served model draws.
        mixed: Average the networks with a texture model (node TextureModel): the mixed classifier. It is off in the
            configurations of the thesis.
        texture_weight: Weight of the texture model's probabilities. The default was fixed before any evaluation.
        texture: How the texture model is fitted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration: Literal["temperature", "none"] = "temperature"
    minimum_views: int = Field(1, ge=1, le=len(VIEWS))
    batching: BatchingConfig | None = None
    familiarity_exams: int = Field(1000, ge=0)
    heat_map: HeatMapConfig = GRAD_CAM
    mixed: bool = False
    texture_weight: float = Field(0.5, gt=0, lt=1)
    texture: TextureConfig = TextureConfig()
