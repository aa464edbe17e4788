"""The findings of DriftMonitor, as in its ``summary.json``. Imports neither TensorFlow nor TFX."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from components.statistics.intervals import Figure

SUMMARY_FILE: Final = "summary.json"

Kind = Literal["drift", "skew"]
Verdict = Literal["alert", "chance", "alike"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Moved(_Record):
    """The distance of a feature between two groups.

    Attributes:
        feature: Name.
        measure: ``L-infinity`` (largest difference of a value's share) or ``Jensen-Shannon`` (divergence, base 2).
        distance: In that measure, 0 to 1.
        threshold: Threshold of the schema's comparator.
        chance: Bound of the null distribution for these numbers of exams.
        verdict: ``alert`` above both; ``chance`` above the threshold only; else ``alike``.
        detail: What changed most, such as ``D: 10 % -> 45 %``.
    """

    feature: str
    measure: Literal["L-infinity", "Jensen-Shannon"]
    distance: float
    threshold: float
    chance: float
    verdict: Verdict
    detail: str


class UnseenSystem(_Record):
    """An acquisition system without a training exam.

    Attributes:
        system: Manufacturer, model and software version.
        exams: Its exams.
    """

    system: str
    exams: int


class Comparison(_Record):
    """One group of exams compared with another.

    Attributes:
        kind: ``drift``: new against earlier; ``skew``: held-out against trained on.
        subject: The group that is judged.
        reference: The group that it is compared with.
        exams: Exams of the subject.
        reference_exams: Exams of the reference.
        features: One entry per feature, in the order of the schema.
        unseen: Acquisition systems of the subject without a training exam, the most frequent first.
        remark: Why nothing was compared; empty otherwise.
    """

    kind: Kind
    subject: str
    reference: str
    exams: int = 0
    reference_exams: int = 0
    features: tuple[Moved, ...] = ()
    unseen: tuple[UnseenSystem, ...] = ()
    remark: str = ""


class PushedFamiliarity(_Record):
    """How many exams the latest pushed model calls unlike its training exams.

    Attributes:
        subject: The exams that are judged.
        version: Version of the model; empty without a model.
        unlike: Share of these exams; None if nothing was compared.
        expected: Share of exams like the training exams that the model calls unlike them.
        remark: Why nothing was compared; empty otherwise.
    """

    subject: str
    version: str = ""
    unlike: Figure | None = None
    expected: Figure | None = None
    remark: str = ""

    @property
    def is_alert(self) -> bool:
        """Whether more exams are unlike the training exams than chance explains: the intervals do not meet."""
        unlike, expected = (figure.ci95 if figure else None for figure in (self.unlike, self.expected))
        return unlike is not None and expected is not None and unlike[0] > expected[1]


class DriftSummary(_Record):
    """All findings of DriftMonitor.

    Attributes:
        comparisons: Drift, then skew.
        familiarity: New exams for the latest pushed model; None in reports of earlier versions.
    """

    comparisons: tuple[Comparison, ...]
    familiarity: PushedFamiliarity | None = None

    @property
    def alerts(self) -> tuple[str, ...]:
        """One sentence for each finding that a person should check; unseen acquisition systems first."""
        unseen, moved = (
            [sentence for comparison in self.comparisons for sentence in write(comparison)]
            for write in (_unseen_sentences, _moved_sentences)
        )
        return (*unseen, *_unlike_sentences(self.familiarity), *moved)


def _count(exams: int) -> str:
    return f"{exams:,} exam{'' if exams == 1 else 's'}"


def _unseen_sentences(comparison: Comparison) -> list[str]:
    seen = {"drift": "no earlier training exam is of it", "skew": "no training exam is of it"}[comparison.kind]
    return [
        f"Unseen acquisition system in the {comparison.subject} ({_count(unseen.exams)}): {unseen.system}; {seen}."
        for unseen in comparison.unseen
    ]


def _unlike_sentences(found: PushedFamiliarity | None) -> list[str]:
    if found is None or found.unlike is None or found.expected is None or not found.is_alert:
        return []
    return [
        f"{shown(found.unlike)} of the {_count(found.unlike.n)} of the {found.subject} are unlike the training exams "
        f"of model {found.version}; {shown(found.expected)} are expected."
    ]


def shown(share: Figure) -> str:
    """Write a share and its interval in percent."""
    low, high = share.ci95 or (0.0, 1.0)
    return f"{share.value or 0.0:.0%} ({low:.0%} to {high:.0%})"


def _moved_sentences(comparison: Comparison) -> list[str]:
    return [
        f"{comparison.kind.capitalize()} of {moved.feature}: {moved.detail} ({comparison.reference} -> "
        f"{comparison.subject}); {moved.measure} {moved.distance:.3f}, threshold {moved.threshold:g}, chance explains "
        f"{moved.chance:.3f} (n = {comparison.reference_exams:,} and {comparison.exams:,} exams)."
        for moved in comparison.features
        if moved.verdict == "alert"
    ]
