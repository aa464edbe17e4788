"""Typed forms of what other nodes wrote: one model for each kind of JSON file the report reads.

Keys that are not named here are ignored, so that a node can write more than the report shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schema.features import DENSITY_CLASSES


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _finite_pair(pair: tuple[float, float] | None) -> tuple[float, float] | None:
    return pair if pair is not None and all(map(math.isfinite, pair)) else None


_CLASSES = len(DENSITY_CLASSES)
_PerClass = Field(min_length=_CLASSES, max_length=_CLASSES)
Slice = dict[str, str]
# JSON written by Python may hold NaN; for a reader that is the same as null.
Value = Annotated[float | None, AfterValidator(_finite)]
Interval = Annotated[tuple[float, float] | None, AfterValidator(_finite_pair)]
Matrix = Annotated[tuple[Annotated[tuple[int, ...], _PerClass], ...], _PerClass]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SplitSize(_Record):
    """Size of one split (train, eval or test), and its exams by density class."""

    exams: int
    views: int
    patients: int
    by_class: dict[str, int]


class SystemSize(_Record):
    """What one acquisition system contributed: exams found, exams kept, views kept."""

    original: int
    exams: int
    views: int


class AgeSummary(_Record):
    """Patient age of a density class, years; ``None`` where no age is known."""

    mean: Value = None
    sd: Value = None
    median: Value = None
    counts: dict[int, int] = {}  # exams by age in whole years, from which the figures of several spans are made


class IngestSummary(_Record):
    """``summary.json`` of an ingest report; counts of files first, then of exams."""

    spans: int = 1  # whose counts are added up
    found: int
    accepted: int
    rejected: int
    by_reason: dict[str, int]
    ignored: dict[str, int]
    files_without_exam: int
    labels_without_files: int
    bad_labels: int
    exams_found: int
    exams_kept: int
    exams_left_out: dict[str, int]
    exams_found_by_class: dict[str, int]
    incomplete_exams: int
    incomplete_by_reason: dict[str, int]
    exams: dict[str, int]
    splits: dict[str, SplitSize]
    systems: dict[str, SystemSize]
    ages: dict[str, AgeSummary]


class DiceSummary(_Record):
    """Agreement of automatic and drawn muscles, where there are both."""

    n: int
    median: Value = None
    lowest: Value = None


class ReviewFinding(_Record):
    """A review that was not used."""

    file: str
    problem: str
    sentence: str


class ReviewSummary(_Record):
    """What became of the files in the folder of reviews: files = accepted + changed + absent + refused."""

    files: int
    accepted: int
    changed: int
    absent: int
    refused: int
    corrected: int
    dice: DiceSummary
    findings: tuple[ReviewFinding, ...]

    @property
    def used(self) -> int:
        """Reviewed images."""
        return self.accepted + self.changed + self.absent


class QualitySummary(_Record):
    """``summary.json`` of a quality report: views by pectoral status, and the reviews."""

    views: int
    by_status: dict[str, int]
    by_system: dict[str, dict[str, int]]
    reviews: ReviewSummary | None = None


class QualityView(_Record):
    """One line of a quality report's ``views.jsonl``."""

    exam_id: str
    view: str
    acquisition_system: str
    density: str
    status: str
    pectoral_area_fraction: Value = None
    breast_area_fraction: Value = None
    doubt: Value = None
    overlay: str | None = None


class Epoch(_Record):
    """Figures of one training epoch; ``val_`` is the eval split."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: Value = None


class History(_Record):
    """``history.json`` of one view network."""

    view: str
    best_epoch: int
    parameters: int
    convolutions: int
    images: dict[str, int]
    epochs: tuple[Epoch, ...]
    hyperparameters: dict[str, float | str] = Field(default_factory=dict)  # of the Tuner

    @model_validator(mode="after")
    def _best_epoch_was_run(self) -> History:
        if self.best_epoch not in {e.epoch for e in self.epochs}:
            raise ValueError(f"best_epoch must be one of epochs[].epoch, received {self.best_epoch}")
        return self

    @property
    def best(self) -> Epoch:
        """The epoch whose weights were kept."""
        return next(e for e in self.epochs if e.epoch == self.best_epoch)


class Metric(_Record):
    """A figure with its 95 % confidence interval; ``None`` where it is undefined."""

    value: Value = None
    ci95: Interval = None
    n: int


class SliceMetrics(_Record):
    """Figures of one slice of the test split; an empty ``slice`` is the whole of it."""

    slice: Slice
    n: int
    ungraded: int = 0  # observations without a grade, for want of views
    confusion_matrix: Matrix  # rows: true class, columns: predicted class
    metrics: dict[str, Metric]
    change: dict[str, Metric] = {}  # against the latest pushed model


class Gate(_Record):
    """A condition for the blessing."""

    name: str
    slice: str
    threshold: str
    value: Value = None
    ci95: Interval = None
    n: int | None = None
    verdict: str = ""
    passed: bool
    reason: str = ""

    @property
    def judged(self) -> bool:
        """Whether there were enough exams for a verdict."""
        return self.verdict != "not judged"


class Baseline(_Record):
    """The blessed model that the candidate was compared with."""

    version: str


class Evaluation(_Record):
    """``exam_metrics.json`` of an evaluation."""

    exam: tuple[SliceMetrics, ...]
    breast: tuple[SliceMetrics, ...] = ()
    view: tuple[SliceMetrics, ...]
    gates: tuple[Gate, ...]
    blessed: bool
    baseline: Baseline | None = None
    temperature: float = 1.0

    @property
    def overall(self) -> SliceMetrics | None:
        """Exam-level figures of the whole test split."""
        return next((s for s in self.exam if not s.slice), None)


class Mean(_Record):
    """A mean over views with its 95 % confidence interval; ``None`` where it is undefined."""

    mean: Value = None
    ci95: Interval = None
    n: int
    exams: int = 0

    def as_metric(self) -> Metric:
        """Returns the mean as a metric of that value."""
        return Metric(value=self.mean, ci95=self.ci95, n=self.n)


class ExplanationGroup(_Record):
    """Mean scores of a slice of the explained views; an empty ``slice`` is the whole of them."""

    slice: Slice
    scores: dict[str, Mean]


class SanityStage(Mean):
    """How alike heat maps are to those of the networks made random down to a stage: mean rank correlation."""

    stage: str


class FeatureMaps(_Record):
    """A picture of a block's feature maps: which of its ``of`` filters it shows."""

    view: str
    block: str
    picture: str
    filters: tuple[int, ...]
    of: int


class ExplanationSummary(_Record):
    """``summary.json`` of the explanations: where the heat lies, and the gates on it."""

    views: int
    target_class: str = "predicted"
    groups: tuple[ExplanationGroup, ...]
    gates: tuple[Gate, ...] = ()
    sanity: tuple[SanityStage, ...] = ()
    feature_maps: tuple[FeatureMaps, ...] = ()
    passed: bool

    @property
    def energy_in_breast(self) -> Mean:
        """Mean share of the heat that lies on the breast, over all views."""
        whole = next((g for g in self.groups if not g.slice), None)
        return whole.scores.get("energy_in_breast", Mean(n=0)) if whole else Mean(n=0)


class Explanation(_Record):
    """One line of ``explanations.jsonl``."""

    exam_id: str
    view: str
    density: str
    acquisition_system: str = "unknown"
    predicted: str
    probabilities: Annotated[tuple[float, ...], _PerClass]
    energy_in_breast: Value = None
    energy_in_pectoral: Value = None
    spearman: Value = None
    overlay: str | None = None


class BeforeAfter(_Record):
    """A figure of the eval split before and after calibration."""

    before: Metric
    after: Metric


class Calibration(_Record):
    """``calibration.json`` of the exam model."""

    method: str
    temperature: float
    temperature_ci95: Interval = None
    exams: int
    nll: BeforeAfter
    ece: BeforeAfter
    ece_bins: int
    remarks: tuple[str, ...] = ()


class ServingCheck(_Record):
    """One check of a model that is being served."""

    name: str
    passed: bool
    seconds: float
    detail: str


class Infra(_Record):
    """``infra.json`` of InfraCheck."""

    passed: bool
    checks: tuple[ServingCheck, ...]


@dataclass(frozen=True)
class Quality:
    """A quality report and the folder its overlays are in."""

    folder: Path
    summary: QualitySummary
    views: tuple[QualityView, ...]


@dataclass(frozen=True)
class Explanations:
    """Explanations and the folder their overlays are in."""

    folder: Path
    summary: ExplanationSummary
    views: tuple[Explanation, ...]
