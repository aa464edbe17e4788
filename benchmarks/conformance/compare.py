"""Compares our grey of a case with the standard's text and with every reader, and classifies what differs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.conformance import truth
from benchmarks.conformance.cases import Case
from benchmarks.conformance.known import explanation, must_be_refused
from benchmarks.conformance.readers import READERS, STANDARD, Interval, NoAnswerError, ours, read
from benchmarks.conformance.writers import UnwritableError, write
from components.dicom.rejections import IngestError


@dataclass(frozen=True)
class Difference:
    """Our grey lies outside of what another reader leaves open.

    Attributes:
        reader: One of ``READERS``, or ``STANDARD``.
        pixels: How many pixels differ.
        most: Largest distance, grey levels of 65,536.
        explained: Name of the known disagreement; empty = unexplained.
    """

    reader: str
    pixels: int
    most: float
    explained: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of one case.

    Attributes:
        case: The case.
        unwritten: Why it could not be written; empty = it was.
        refused: Reason of our refusal; empty = we read it.
        refusal_is_right: Whether the description demands the refusal, for this reason.
        agreed: Readers that agree with us.
        silent: Reader -> why it gave no answer.
        differences: Readers that do not agree.
    """

    case: Case
    unwritten: str = ""
    refused: str = ""
    refusal_is_right: bool = True
    agreed: tuple[str, ...] = ()
    silent: dict[str, str] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        """Name what is unexplained, one name a kind of failure."""
        found = [f"differs from {d.reader}" for d in self.differences if not d.explained]
        if self.refused and not self.refusal_is_right:
            found.append(f"refused as {self.refused}")
        return tuple(found)


def _outside(grey: NDArray[Any], interval: Interval, judged: NDArray[Any]) -> tuple[int, float]:
    low, high = interval
    if low.shape != grey.shape:
        return grey.size, float("inf")
    distance = np.where(judged, np.maximum(low - grey, grey - high), 0)
    return int((distance > 1e-6).sum()), float(distance.max())


def judge(case: Case, folder: Path) -> Verdict:
    """Write a case, read it with all readers, and compare the results.

    Args:
        case: What to write.
        folder: Folder to write to.

    Returns:
        What became of it.
    """
    try:
        path = write(case, folder)
    except UnwritableError as error:
        return Verdict(case, unwritten=f"{case.encoder}, {case.syntax}: {error}")
    ground = must_be_refused(case)
    try:
        grey = ours(path, case).astype(np.float64)
    except IngestError as error:
        return Verdict(case, refused=error.reason.value, refusal_is_right=error.reason is ground)
    if ground is not None:
        return Verdict(case, differences=(Difference(f"a refusal as {ground.value}", grey.size, float("inf")),))

    agreed, silent, differences = [], {}, []
    # Padding is no tissue, so we make it black; other readers show it, and only the standard's text is asked there.
    padding = truth.padding_mask(case)
    answers: dict[str, Interval | NoAnswerError] = {}
    for name in READERS:
        try:
            answers[name] = read(name, path, case)
        except NoAnswerError as error:
            answers[name] = error
    for name, answer in answers.items():
        if isinstance(answer, NoAnswerError):
            silent[name] = str(answer)
            continue
        judged = np.ones(padding.shape, bool) if name == STANDARD else ~padding
        pixels, most = _outside(grey, answer, judged)
        if pixels:
            differences.append(Difference(name, pixels, most, explanation(name, case)))
        else:
            agreed.append(name)
    return Verdict(case, agreed=tuple(agreed), silent=silent, differences=tuple(differences))


@dataclass
class Tally:
    """Counts over many verdicts.

    Attributes:
        files: Cases tried.
        written: Cases that could be written.
        compared: Reader -> files in which it was compared with us.
        silent: Reader -> files for which it gave no answer.
        explained: Name of a known disagreement -> comparisons.
        refused: Reason -> files that we rightly refused.
        unwritten: Why -> cases.
        failures: Verdicts with anything unexplained.
    """

    files: int = 0
    written: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unwritten: Counter[str] = field(default_factory=Counter)
    failures: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.files += 1
        if verdict.unwritten:
            self.unwritten[verdict.unwritten[:90]] += 1
            return
        self.written += 1
        if verdict.refused and verdict.refusal_is_right:
            self.refused[verdict.refused] += 1
        self.compared.update(verdict.agreed)
        self.compared.update(difference.reader for difference in verdict.differences)
        self.silent.update(verdict.silent.keys())
        self.explained.update(d.explained for d in verdict.differences if d.explained)
        if verdict.failures:
            self.failures.append(verdict)
