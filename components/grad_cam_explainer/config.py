"""What is explained, and what the heat maps must reach."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExplainerConfig(BaseModel):
    """Which heat maps are made, and what they must reach.

    A gate holds for the whole test split, and for each acquisition system with enough exams.

    Attributes:
        maximum_views: Views of the test split that are scored, in the order of the shards; null means all.
        target_class: Class whose evidence is shown: ``predicted``, or one of the density classes for every view.
        pictures_a_group: Overlays written for each class and view, and of right and of wrong grades for each class and
            acquisition system.
        minimum_energy_in_breast: Gate: least mean share of the heat that lies on the breast.
        maximum_energy_in_pectoral: Gate: largest mean share of the heat on the pectoral muscle; null for no gate.
        minimum_spearman: Gate: least mean rank correlation of heat and grey level inside the breast; null for no gate.
        minimum_exams_a_system: Exams from which on an acquisition system has gates of its own.
        feature_map_blocks: Blocks of each network, from the input on, whose feature maps are drawn; 0 draws none.
        sanity_views: Views of each network whose heat maps are compared with those of randomised weights; 0 for none.
        batch_size: Views a model call.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    maximum_views: int | None = Field(None, ge=1)
    target_class: Literal["predicted", "A", "B", "C", "D"] = "predicted"
    pictures_a_group: int = Field(2, ge=0)
    minimum_energy_in_breast: float = Field(0.5, ge=0, le=1)
    maximum_energy_in_pectoral: float | None = Field(None, ge=0, le=1)
    minimum_spearman: float | None = Field(None, ge=-1, le=1)
    minimum_exams_a_system: int = Field(20, ge=1)
    feature_map_blocks: int = Field(2, ge=0)
    sanity_views: int = Field(8, ge=0)
    batch_size: int = Field(16, ge=1)
