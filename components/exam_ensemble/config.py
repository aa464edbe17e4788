"""How the exam model makes one grade of an exam's views."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.exam_model.batching import BatchingConfig
from schema.features import VIEWS


class EnsembleConfig(BaseModel):
    """Combination, calibration and batches.

    Attributes:
        calibration: ``temperature`` fits one temperature to the exams of the eval split, ``none`` leaves the mean of
            the views as it is.
        minimum_views: An exam of fewer views gets no grade.
        batching: How the served model makes batches of several requests; ``null`` runs each alone. On two cores it
            gains nothing at the published size (docs/serving.md).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration: Literal["temperature", "none"] = "temperature"
    minimum_views: int = Field(1, ge=1, le=len(VIEWS))
    batching: BatchingConfig | None = None
