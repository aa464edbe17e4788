"""Configuration of GradCamExplainer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExplainerConfig(BaseModel):
    """The heat maps that are computed, and the limits that they must meet.

    A gate applies to the whole test split, to each view, since a network that looks away hides in the mean of four, and
    to each acquisition system with enough exams.

    Attributes:
        maximum_views: Number of views of the test split that are scored, in the order of the shards; null for all.
        target_class: Class whose evidence is shown: ``predicted``, or one density class for all views.
        pictures_a_group: Number of overlays for each class and view, and for the correct and the wrong predictions of
            each class and acquisition system.
        minimum_energy_in_breast: Gate: minimum of the mean share of heat inside the breast.
        maximum_energy_in_pectoral: Gate: maximum of the mean share of heat on the pectoral muscle; null for no gate.
        minimum_spearman: Gate: minimum of the mean rank correlation of heat and grey level inside the breast; null for
            no gate.
        minimum_exams_a_system: Minimum number of exams for gates of a single acquisition system.
        feature_map_blocks: Number of blocks of each network, from the input on, whose feature maps are drawn.
        sanity_views: Number of views per network whose heat maps are compared with those of random weights.
        batch_size: Views per model call.
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
