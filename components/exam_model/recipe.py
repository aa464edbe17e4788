"""The recipe inside the model: all settings that turn a mammography file into the input of the model.

A client reads the recipe from the model, so it cannot preprocess differently: offline and served images are equal to
the byte.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field

from components.dicom.rejections import DEFAULT_MAX_PIXELS, AcceptanceConfig
from components.preprocessing.config import PreprocessConfig


class PreprocessingRecipe(BaseModel):
    """All settings that determine the input of the model for a file.

    Attributes:
        longest_side: Longest side after the reduction by ingest, pixels.
        max_pixels: Largest matrix that is decoded, pixels.
        acceptance: Special images that ingest accepted; the client accepts them too.
        voi_index: Index of the VOI LUT or window if there are several, as in ingest.
        preprocess: Segmentation and geometry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest_side: int = Field(1024, ge=64, le=16384)
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1)
    acceptance: AcceptanceConfig = AcceptanceConfig()
    voi_index: int = Field(0, ge=0, le=255)
    preprocess: PreprocessConfig = PreprocessConfig()

    def digest(self) -> str:
        """Return the SHA-256 of the recipe's JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
