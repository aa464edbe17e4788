"""Where in a network a heat map is read, and by which method; without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    import keras

LAST_STAGE: Final = 5
_SUM: Final = re.compile(r"conv(\d+)_(\d+)_add")  # stage and block, as in components.trainer.network
_METHODS: Final = {"grad_cam": "Grad-CAM", "layer_cam": "LayerCAM"}


class HeatMapConfig(BaseModel):
    """The heat map of a view. Stage 3 has a cell for 8 x 8 pixels of the network's input, 4 for 16, 5 for 32.

    Attributes:
        method: ``grad_cam`` (Selvaraju et al. 2017) weighs each channel by its mean gradient. ``layer_cam`` (Jiang et
            al. 2021) weighs each cell of each channel by its own positive gradient, so that it holds for earlier
            stages.
        stages: Stages whose last sums are read, ascending; ``grad_cam`` reads 5 only. Maps of earlier stages are
            smoothed by (1, 2, 1) / 4. The map of several stages is the mean of theirs, each scaled to the maximum 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["grad_cam", "layer_cam"] = "grad_cam"
    stages: tuple[Literal[3, 4, 5], ...] = (LAST_STAGE,)

    @model_validator(mode="after")
    def _stages_fit(self) -> HeatMapConfig:
        if not self.stages or list(self.stages) != sorted(set(self.stages)):
            raise ValueError(f"stages must be ascending and not empty. Received: {list(self.stages)}")
        if self.method == "grad_cam" and self.stages != (LAST_STAGE,):
            raise ValueError(f"grad_cam reads stage {LAST_STAGE} only: take layer_cam. Received: {list(self.stages)}")
        return self

    @property
    def name(self) -> str:
        """Method and layer for people, such as ``LayerCAM, stages 4 and 5 of 5``."""
        stages = " and ".join(map(str, self.stages))
        return f"{_METHODS[self.method]}, stage{'s' * (len(self.stages) > 1)} {stages} of {LAST_STAGE}"

    def side(self, size: int) -> int:
        """Return the cells along a side of the map, of an input of ``size`` pixels."""
        return -(-size // (1 << self.stages[0]))


GRAD_CAM: Final = HeatMapConfig()


def last_sums(names: Iterable[str], stages: Sequence[int]) -> tuple[str, ...]:
    """Return the last sums of stages of a network, whatever the number of their blocks.

    Args:
        names: Layers of the convolutional part, in any order.
        stages: Stages, from 2.

    Returns:
        A name for each stage; none if the network lacks one of them.
    """
    sums = [found for name in names if (found := _SUM.fullmatch(name))]
    of_stages = [[found for found in sums if int(found[1]) == stage] for stage in stages]
    return tuple(max(found, key=lambda match: int(match[2]))[0] for found in of_stages) if all(of_stages) else ()


def stage_end(features: keras.Model, stage: int) -> keras.KerasTensor:
    """Return the sum of the last block of a stage; that of the last stage is what the convolutional part returns.

    Args:
        features: The convolutional part of a network.
        stage: Its number, up to LAST_STAGE.

    Raises:
        ValueError: The network lacks this stage.
    """
    if stage == LAST_STAGE:
        return features.output
    names = last_sums((layer.name for layer in features.layers), (stage,))
    if not names:
        raise ValueError(f"The network has no stage {stage} for its heat maps: change ensemble.heat_map.stages.")
    return features.get_layer(names[0]).output
