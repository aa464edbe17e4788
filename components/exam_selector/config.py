"""Configuration of ExamSelector."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from components.exams.distribution import SplitDistribution


class SelectionConfig(BaseModel):
    """Rules that select the exams for training. The test split never changes, and no exam is ingested again.

    Attributes:
        train: Class distribution of the training split; None keeps the distribution of the data.
        fraction: Share of the training exams of each class that is kept, after ``train``. A smaller share is a subset
            of a larger share.
        without_systems: Acquisition systems that are used neither to train the networks nor to choose epoch and
            temperature.
        seed: Another seed keeps other exams.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: SplitDistribution | None = None
    fraction: float = Field(1.0, gt=0, le=1)
    without_systems: tuple[str, ...] = ()
    seed: str | int = 0

    @property
    def drops_exams(self) -> bool:
        """True if the rules can drop exams; otherwise the pipeline does not have this node."""
        return self.train is not None or self.fraction < 1 or bool(self.without_systems)
