"""The selection as a pure function, from exams to those that are dropped, and its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.exams.distribution import DistributionConfig, SplitDistribution, exams_to_drop
from schema.features import DENSITY_CLASSES

LEARNT: Final = ("train", "eval")


class SelectionError(ValueError):
    """The configured exams do not exist; the message lists what exists."""


class SelectionConfig(BaseModel):
    """Rules that select the exams for training. The test split never changes, and no exam is ingested again.

    Attributes:
        train: Class distribution of the training split; None keeps the distribution of the data.
        fraction: Share of the training exams of each class that is kept, after ``train``. A smaller share is a subset
            of a larger share.
        without_systems: Acquisition systems that are used neither to train the networks nor to choose epoch and
            temperature.
        labels: What is learned from an exam whose readers differ. ``majority``: its density, see docs/archives.md.
            ``soft``: the share of the readers who chose each class, as target of every loss; an adjudicated density
            that most of them did not choose stays the only one. ``consensus``: nothing, the exam is left out. The test
            split keeps its densities and all its exams.
        seed: Another seed keeps other exams.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: SplitDistribution | None = None
    fraction: float = Field(1.0, gt=0, le=1)
    without_systems: tuple[str, ...] = ()
    labels: Literal["majority", "soft", "consensus"] = "majority"
    seed: str | int = 0

    @property
    def drops_exams(self) -> bool:
        """True if the rules can drop exams for another reason than their readers."""
        return self.train is not None or self.fraction < 1 or bool(self.without_systems)

    @property
    def is_needed(self) -> bool:
        """True if the rules can change what is learned; otherwise the pipeline does not have this node."""
        return self.drops_exams or self.labels != "majority"


@dataclass(frozen=True)
class Exam:
    """The properties of an exam that determine its selection.

    Attributes:
        split: ``train`` or ``eval``.
        density: Density class.
        systems: Acquisition systems of its images.
        readers: Number of readers, if several, else 0.
        is_agreed: False if its readers differ.
    """

    split: str
    density: str
    systems: frozenset[str]
    readers: int = 0
    is_agreed: bool = True


def excluded_exams(exams: Mapping[str, Exam], config: SelectionConfig) -> frozenset[str]:
    """Return the exams that are not used for training.

    Args:
        exams: Exams by keyed hash.
        config: Rules of the selection.

    Returns:
        Hashes of the exams to drop.

    Raises:
        SelectionError: A named acquisition system has no exam, no exam has several readers although labels need
            them, or a split would have no exam.
    """
    known = {system for exam in exams.values() for system in exam.systems}
    unknown = set(config.without_systems) - known
    if unknown:
        raise SelectionError(
            f"pipeline.selection.without_systems: no training or eval exam is from {', '.join(sorted(unknown))}; known"
            f" systems: {', '.join(sorted(known))}."
        )
    if config.labels != "majority" and not any(exam.readers for exam in exams.values()):
        raise SelectionError(
            f"pipeline.selection.labels is {config.labels}, but no training or eval exam has several readers: name them"
            " in the labels (docs/archives.md), or leave it out."
        )
    out = {name for name, exam in exams.items() if exam.systems & set(config.without_systems)}
    if config.labels == "consensus":
        out |= {name for name, exam in exams.items() if not exam.is_agreed}

    def draw(train: SplitDistribution) -> None:
        rest = {name: (exam.split, exam.density) for name, exam in exams.items() if name not in out}
        out.update(exams_to_drop(rest, DistributionConfig(train=train), config.seed))

    if config.train is not None:
        draw(config.train)
    if config.fraction < 1:
        found = Counter(exam.density for name, exam in exams.items() if exam.split == "train" and name not in out)
        counts = {name: max(1, round(config.fraction * found[name])) for name in DENSITY_CLASSES if found[name]}
        if counts:
            draw(SplitDistribution.model_validate({"counts": counts}))
    for split in LEARNT:
        if not any(exam.split == split and name not in out for name, exam in exams.items()):
            raise SelectionError(f"pipeline.selection leaves no exam in the split {split}: ask for less, or add exams.")
    return frozenset(out)
