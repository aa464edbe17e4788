"""Configuration of DriftMonitor."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DriftConfig(BaseModel):
    """What DriftMonitor does. The thresholds of the features are in ``schema/schema.pbtxt``.

    Attributes:
        enabled: If true, the node is in the pipeline.
        on_drift: ``alert`` shows alerts on the terminal and in the report; ``stop`` ends the run before the training.
        familiarity_exams: Number of new exams that the latest pushed model is given, to say how many are unlike its
            training exams; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    on_drift: Literal["alert", "stop"] = "alert"
    familiarity_exams: int = Field(200, ge=0)
