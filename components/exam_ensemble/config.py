"""How the exam model makes one grade of an exam's views."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schema.features import VIEWS


class EnsembleConfig(BaseModel):
    """Combination and calibration.

    Attributes:
        calibration: ``temperature`` fits one temperature to the exams of the eval split, ``none`` leaves the mean of
            the views as it is.
        minimum_views: An exam of fewer views gets no grade.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration: Literal["temperature", "none"] = "temperature"
    minimum_views: int = Field(1, ge=1, le=len(VIEWS))
