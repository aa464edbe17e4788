"""How the exam model combines the views of an exam to one grade."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.exam_model.batching import BatchingConfig
from schema.features import VIEWS


class EnsembleConfig(BaseModel):
    """Combination, calibration and batches.

    Attributes:
        calibration: ``temperature`` fits one temperature to the exams of the eval split; ``none`` keeps the mean of
            the views.
        minimum_views: An exam with fewer views gets no grade.
        batching: How the served model combines requests to batches; ``null`` runs each request separately. On two cores
            batches are not faster at the published size (docs/serving.md).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration: Literal["temperature", "none"] = "temperature"
    minimum_views: int = Field(1, ge=1, le=len(VIEWS))
    batching: BatchingConfig | None = None
