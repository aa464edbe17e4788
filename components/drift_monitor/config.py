"""Configuration of DriftMonitor."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class DriftConfig(BaseModel):
    """What DriftMonitor does; how far a feature may move is in ``schema/schema.pbtxt``.

    Attributes:
        enabled: Whether the node is in the pipeline.
        on_drift: ``alert`` says it on the terminal and in the report; ``stop`` ends the run before anything is trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    on_drift: Literal["alert", "stop"] = "alert"
