"""Class distributions of the splits, as the thesis compares them: AOUP, BIRADS and uniform.

A distribution selects exams: each split keeps some of its exams and drops the others. Patients do not move between
splits. The order of the exams' keyed hashes selects the exams, so that a new exam in the archive changes the selection
of few others.

The largest subset with the proportions is kept: the largest number of exams N for which each class has its share of N,
rounded to the nearest integer, and the shares sum up to N. If the archive has fewer exams than the configured counts,
N is smaller than their sum, and the proportions stay the same.

Source: the thesis' slides, "Dataset distribution" (proportions) and "Datasets" (exact numbers of exams). The slides
give one validation set of 156 exams; BIRADS and uniform have no separate one and use it too.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schema.features import DENSITY_CLASSES

# Percentage of the exams per class, A to D.
PROPORTIONS: Final[Mapping[str, tuple[int, ...]]] = {
    "AOUP": (12, 28, 50, 10),
    "BIRADS": (10, 40, 40, 10),
    "uniform": (25, 25, 25, 25),
}
_VALIDATION: Final = (20, 45, 74, 17)
# Exams per class in the training, validation and test sets of the slides.
_THESIS: Final[Mapping[str, Mapping[str, tuple[int, ...]]]] = {
    "thesis_aoup": {"train": (142, 337, 611, 142), "eval": _VALIDATION, "test": (20, 46, 75, 17)},
    "thesis_birads": {"train": (84, 337, 337, 84), "eval": _VALIDATION, "test": (12, 47, 47, 12)},
    "thesis_uniform": {"train": (141, 141, 141, 141), "eval": _VALIDATION, "test": (18, 18, 18, 18)},
}
SHORT_FORMS: Final = (*_THESIS, *PROPORTIONS)
DensityClass = Literal["A", "B", "C", "D"]


class SplitDistribution(BaseModel):
    """Class distribution of one split: proportions or counts per class.

    The short form is the name of the proportions: ``AOUP``, ``BIRADS`` or ``uniform``.

    Attributes:
        proportions: Named proportions of the classes.
        total: Maximum number of exams, with ``proportions``.
        counts: Exams per class; other classes have none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    proportions: Literal["AOUP", "BIRADS", "uniform"] | None = None
    total: int | None = Field(default=None, ge=1)
    counts: dict[DensityClass, int] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"proportions": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> SplitDistribution:
        if (self.proportions is None) == (self.counts is None) or (self.total is not None and self.counts is not None):
            raise ValueError(
                "give either proportions, with a total if there is a limit, or counts."
                f" Received: proportions={self.proportions}, total={self.total}, counts={self.counts}"
            )
        if self.counts is not None and (min(self.counts.values(), default=0) < 0 or sum(self.counts.values()) == 0):
            raise ValueError(f"counts are zero or more, and not all of them zero. Received: {self.counts}")
        return self

    @property
    def weights(self) -> tuple[int, ...]:
        """Share of each class, A to D, in whole numbers."""
        if self.counts is not None:
            return tuple(self.counts.get(density, 0) for density in DENSITY_CLASSES)
        assert self.proportions is not None
        return PROPORTIONS[self.proportions]

    @property
    def limit(self) -> int | None:
        """Maximum number of exams; None for no limit."""
        return self.total if self.counts is None else sum(self.counts.values())


class DistributionConfig(BaseModel):
    """Class distribution of each split; None keeps all exams of the split.

    The short form is one name for all splits: ``AOUP``, ``BIRADS`` or ``uniform`` for these proportions in every split;
    ``thesis_aoup``, ``thesis_birads`` or ``thesis_uniform`` for the counts in the slides.

    Attributes:
        train: Distribution of the training split.
        eval: Distribution of the validation split.
        test: Distribution of the test split.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: SplitDistribution | None = None
    eval: SplitDistribution | None = None
    test: SplitDistribution | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value in PROPORTIONS:
            return dict.fromkeys(("train", "eval", "test"), value)
        if value not in _THESIS:
            raise ValueError(f"a distribution is one of {', '.join(SHORT_FORMS)}, or one per split. Received: {value}")
        splits = _THESIS[value].items()
        return {split: {"counts": dict(zip(DENSITY_CLASSES, counts, strict=True))} for split, counts in splits}

    def of(self, split: str) -> SplitDistribution | None:
        """Return the distribution of ``train``, ``eval`` or ``test``."""
        return {"train": self.train, "eval": self.eval, "test": self.test}[split]


def largest_counts(available: Sequence[int], weights: Sequence[int], limit: int | None = None) -> tuple[int, ...]:
    """Return the class counts of the largest subset with the given weights.

    Args:
        available: Exams per class.
        weights: Share of each class, integers with a sum above 0.
        limit: Maximum number of exams, None for no limit.

    Returns:
        Exams to keep per class, at most the available ones.
    """
    whole = sum(weights)
    bounds = [(count + 1) * whole // weight for count, weight in zip(available, weights, strict=True) if weight]
    for total in range(min(*bounds, sum(available), sum(available) if limit is None else limit), 0, -1):
        shares = tuple((2 * total * weight + whole) // (2 * whole) for weight in weights)  # rounded, exact
        if sum(shares) == total and all(share <= count for share, count in zip(shares, available, strict=True)):
            return shares
    return (0,) * len(weights)


def exams_to_drop(exams: Mapping[str, tuple[str, str]], config: DistributionConfig, seed: str | int) -> frozenset[str]:
    """Return the exams that the distribution drops.

    Args:
        exams: Keyed hash of the exam -> split and density class.
        config: Distribution of each split.
        seed: Another seed selects other exams.

    Returns:
        Keyed hashes of the exams to drop.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for exam, split_and_class in exams.items():
        groups[split_and_class].append(exam)

    def order(exam: str) -> bytes:
        return hashlib.sha256(f"distribution\0{seed}\0{exam}".encode()).digest()

    dropped: set[str] = set()
    for split in sorted({split for split, _ in groups}):
        wanted = config.of(split)
        if wanted is None:
            continue
        by_class = [groups.get((split, density), []) for density in DENSITY_CLASSES]
        counts = largest_counts([len(group) for group in by_class], wanted.weights, wanted.limit)
        for group, count in zip(by_class, counts, strict=True):
            dropped.update(sorted(group, key=order)[count:])
    return frozenset(dropped)
