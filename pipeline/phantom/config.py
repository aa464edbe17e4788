"""Configuration of a set of phantom exams."""

from __future__ import annotations

import os
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schema.acquisition import REFERENCE_SYSTEMS
from schema.features import ClassDistribution

# Shares of A, B, C, D (thesis, slide "Dataset distribution"; BIRADS is that of 3.9 million US screenings).
CLASS_SHARES: Final[dict[ClassDistribution, tuple[float, float, float, float]]] = {
    "AOUP": (0.12, 0.28, 0.50, 0.10),
    "BIRADS": (0.10, 0.40, 0.40, 0.10),
    "uniform": (0.25, 0.25, 0.25, 0.25),
}

# Dense area over breast area, by class. The gaps between the classes model a reader who is mostly right:
# BI-RADS gives no percentages (the 5th edition dropped them), and human readers overlap at every border.
DENSE_FRACTION: Final[dict[str, tuple[float, float]]] = {
    "A": (0.03, 0.10),
    "B": (0.17, 0.32),
    "C": (0.42, 0.60),
    "D": (0.72, 0.90),
}

# Mean and standard deviation of the age at the exam, years, by class (thesis, slide "Dataset").
AGE_YEARS: Final[dict[str, tuple[float, float]]] = {
    "A": (67.0, 11.0),
    "B": (63.0, 11.0),
    "C": (58.0, 9.0),
    "D": (53.0, 6.0),
}


class PhantomConfig(BaseModel):
    """What to generate.

    Two runs with the same values write the same bytes; ``workers`` may differ.

    Attributes:
        exams: Number of exams, with four views each.
        seed: Seed of all random numbers.
        distribution: Shares of the density classes.
        reduction: Divides the matrix of each system and multiplies its pixel spacing; 1 is the full matrix.
        workers: Number of processes; 1 works in the calling process.
        system_weights: Relative shares of the four systems, in the order of ``REFERENCE_SYSTEMS``. Close to
            equal by default, so that small sets hold every system; the reference has 232, 50, 121 and 1561.
        repeat_share: Share of the patients who have a second, later exam.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exams: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    distribution: ClassDistribution = "AOUP"
    reduction: int = Field(default=1, ge=1, le=16)
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    system_weights: tuple[float, float, float, float] = (0.22, 0.22, 0.22, 0.34)
    repeat_share: float = Field(default=0.10, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _weights_are_shares(self) -> PhantomConfig:
        if min(self.system_weights) < 0 or sum(self.system_weights) <= 0:
            names = ", ".join(r.system.key for r in REFERENCE_SYSTEMS)
            raise ValueError(
                f"system_weights must be four non-negative numbers, not all zero, for {names}. "
                f"Received: system_weights={self.system_weights}"
            )
        return self
