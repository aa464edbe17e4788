"""Configuration of the preprocessing: everything that changes the network's picture."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PreprocessConfig(BaseModel):
    """How a view becomes the network's picture.

    Attributes:
        method: ``auto`` finds the muscle's edge as a curve; ``thesis`` follows the eight published steps
            (threshold and straight line); ``none`` leaves the muscle in, the comparison that the thesis
            makes.
        output_size: Side of the square output, pixels.
        crop: Crop to breast and muscle before resizing.
        keep_aspect: Pad to a square with background (away from the chest wall, and below) instead of
        stretching.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["auto", "thesis", "none"] = "auto"
    output_size: int = Field(default=450, ge=32, le=4096)
    crop: bool = True
    keep_aspect: bool = True


class QualityConfig(BaseModel):
    """How many overlays the quality report holds. No picture of the network depends on it.

    Attributes:
        doubtful_overlays: Views that the segmentation was least sure of.
        typical_overlays: Views of median doubt, of each acquisition system.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    doubtful_overlays: int = Field(default=24, ge=0, le=10_000)
    typical_overlays: int = Field(default=4, ge=0, le=100)
