"""How the exam model makes one grade of an exam's views."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schema.features import VIEWS


class BatchingConfig(BaseModel):
    """How the served model joins the images of requests that come at once; a request alone waits for nothing.

    Attributes:
        threads: Batches that run at the same time.
        max_batch: Most images a batch; larger requests are cut.
        max_enqueued: Batches that may wait. Where the queue is full the model answers UNAVAILABLE.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(1, ge=1, le=64)
    max_batch: int = Field(16, ge=1, le=256)
    max_enqueued: int = Field(128, ge=1, le=10_000)


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
