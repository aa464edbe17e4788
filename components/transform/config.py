"""Configuration of the network's input image."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Head = Literal["softmax", "cumulative"]  # of the network, see components.transform.class_outputs


class ImageConfig(BaseModel):
    """Shape and normalisation of the input of the network.

    Attributes:
        size: Height and width, pixels.
        channels: 1 or 3 (the grey image three times; "ResNet2" of the thesis).
        normalisation: ``norm_1`` subtracts each image's mean and divides by its standard deviation; ``norm_2``
            multiplies by 1/255. The slides of the thesis compare both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(450, ge=32, le=2048)
    channels: Literal[1, 3] = 1
    normalisation: Literal["norm_1", "norm_2"] = "norm_2"
