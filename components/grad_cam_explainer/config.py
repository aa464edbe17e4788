"""What is explained."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ExplainerConfig(BaseModel):
    """Which heat maps are made, and what they must reach.

    Attributes:
        maximum_views: Views of the test split that are scored, in the order of the shards; null means all.
        pictures_a_group: Overlays written for each class and view.
        minimum_energy_in_breast: Least mean share of the heat that lies on the breast.
        batch_size: Views a model call.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    maximum_views: int | None = Field(None, ge=1)
    pictures_a_group: int = Field(2, ge=0)
    minimum_energy_in_breast: float = Field(0.5, ge=0, le=1)
    batch_size: int = Field(16, ge=1)
