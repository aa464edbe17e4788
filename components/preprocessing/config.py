"""Configuration of the preprocessing and of its quality report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from schema.features import PectoralMethod


class PreprocessConfig(BaseModel):
    """How a view becomes the network's picture.

    Attributes:
        method: ``auto`` finds the muscle's edge as a curve; ``thesis`` follows the eight published steps
            (threshold and straight line); ``none`` leaves the muscle in, for the comparison in the thesis.
        output_size: Side of the square output, pixels.
        crop: Crop to breast and muscle before resizing.
        keep_aspect: Pad to a square with background (opposite the chest wall, and below) instead of stretching.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: PectoralMethod = "auto"
    output_size: int = Field(default=450, ge=32, le=4096)
    crop: bool = True
    keep_aspect: bool = True


class QualityConfig(BaseModel):
    """How many overlays the quality report contains. The networks' pictures do not depend on it.

    Attributes:
        doubtful_overlays: Number of views with the highest doubt.
        typical_overlays: Number of views with median doubt per acquisition system.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    doubtful_overlays: int = Field(default=24, ge=0, le=10_000)
    typical_overlays: int = Field(default=4, ge=0, le=100)
