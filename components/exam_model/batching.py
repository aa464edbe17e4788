"""How the exported model joins the images of requests that come at once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
