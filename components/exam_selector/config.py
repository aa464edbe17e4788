"""Configuration of ExamSelector."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from components.exams.distribution import SplitDistribution


class SelectionConfig(BaseModel):
    """Which exams the networks learn from. The test split is never touched, and nothing is ingested anew.

    Attributes:
        train: Class distribution of the training split; None keeps the exams as they come.
        fraction: Share of each class's training exams that is kept, after ``train``. A smaller share is part of a
            larger one.
        without_systems: Acquisition systems that neither train the networks nor choose epoch and temperature.
        seed: Another seed keeps other exams.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: SplitDistribution | None = None
    fraction: float = Field(1.0, gt=0, le=1)
    without_systems: tuple[str, ...] = ()
    seed: str | int = 0

    @property
    def leaves_out(self) -> bool:
        """Whether any exam could be left out; otherwise there is no such node."""
        return self.train is not None or self.fraction < 1 or bool(self.without_systems)
