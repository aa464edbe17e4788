"""The choice as a pure function: exams in, those to leave out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from components.exam_selector.config import SelectionConfig
from components.exams.distribution import DistributionConfig, SplitDistribution, exams_to_drop
from schema.features import DENSITY_CLASSES

LEARNT: Final = ("train", "eval")


class SelectionError(ValueError):
    """The exams that are asked for are not there; the message says what is."""


@dataclass(frozen=True)
class Exam:
    """What decides of an exam.

    Attributes:
        split: ``train`` or ``eval``.
        density: Its class.
        systems: Acquisition systems of its images.
    """

    split: str
    density: str
    systems: frozenset[str]


def unselected(exams: Mapping[str, Exam], config: SelectionConfig) -> frozenset[str]:
    """Choose the exams that the networks do not learn from.

    Args:
        exams: By keyed hash.
        config: The choice.

    Returns:
        Hashes of the exams to leave out.

    Raises:
        SelectionError: No exam is of a system that is named, or a split would have no exam.
    """
    known = {system for exam in exams.values() for system in exam.systems}
    unknown = set(config.without_systems) - known
    if unknown:
        raise SelectionError(
            f"pipeline.selection.without_systems: no exam to learn from is of {', '.join(sorted(unknown))}; there are: "
            f"{', '.join(sorted(known))}."
        )
    out = {name for name, exam in exams.items() if exam.systems & set(config.without_systems)}

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
