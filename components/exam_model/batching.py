"""How the exported model combines the images of simultaneous requests."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class BatchingConfig(BaseModel):
    """How the served model combines the images of simultaneous requests; a single request does not wait.

    Attributes:
        threads: Batches that run in parallel.
        max_batch: Maximum images per batch; larger requests are split.
        max_enqueued: Batches that may wait. If the queue is full, the model answers UNAVAILABLE.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(1, ge=1, le=64)
    max_batch: int = Field(16, ge=1, le=256)
    max_enqueued: int = Field(128, ge=1, le=10_000)
