"""Configuration of the texture model."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

TELLING: Final = 5  # features that explain an exam


class TextureConfig(BaseModel):
    """How the texture model is fitted.

    Attributes:
        side: Pictures are resized to this height and width before they are measured, pixels.
        trees: Number of extremely randomised trees.
        minimum_leaf: Minimum training views in a leaf of a tree. It rises with the views: a tree has at most 512
            leaves.
        inverse_regularisation: ``C`` of the logistic regression on standardised features.
        seed: Seed of the trees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int = Field(128, ge=64, le=512)
    trees: int = Field(400, ge=1, le=5000)
    minimum_leaf: int = Field(3, ge=1)
    inverse_regularisation: float = Field(0.003, gt=0)
    seed: int = 1
