"""Types of the files of other nodes: one model per kind of JSON file that the report reads.

Keys that are not named here are ignored, so that a node can write more than the report shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from components.statistics.agreement import Agreement
from components.statistics.intervals import Figure
from schema.features import DENSITY_CLASSES


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _finite_pair(pair: tuple[float, float] | None) -> tuple[float, float] | None:
    return pair if pair is not None and all(map(math.isfinite, pair)) else None


def _is_undefined(content: object) -> bool:
    numbers = content if isinstance(content, (list, tuple)) else [content]
    return any(isinstance(number, float) and not math.isfinite(number) for number in numbers)


def tolerant(model: type[Figure]) -> BeforeValidator:
    """Return a validator that accepts metrics of other versions: NaN and absent values are null, new keys ignored."""
    known = {field.alias or name for name, field in model.model_fields.items()}

    def read(content: object) -> object:
        if not isinstance(content, Mapping):
            return content
        found = {key: None if _is_undefined(value) else value for key, value in content.items() if key in known}
        return dict.fromkeys(known & {"value", "mean", "ci95"}) | found

    return BeforeValidator(read)


_CLASSES = len(DENSITY_CLASSES)
PerClass = Field(min_length=_CLASSES, max_length=_CLASSES)
Slice = dict[str, str]
# JSON from Python may contain NaN; the report reads it as null.
Value = Annotated[float | None, AfterValidator(_finite)]
Interval = Annotated[tuple[float, float] | None, AfterValidator(_finite_pair)]
ReadFigure = Annotated[Figure, tolerant(Figure)]
Matrix = Annotated[tuple[Annotated[tuple[int, ...], PerClass], ...], PerClass]


class Record(BaseModel):
    """Part of a JSON file; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SplitSize(Record):
    """Size of one split (train, eval or test), and its exams by density class."""

    exams: int
    views: int
    patients: int
    by_class: dict[str, int]


class SystemSize(Record):
    """Size of one acquisition system: exams found, exams kept, views kept."""

    original: int
    exams: int
    views: int


class AgeSummary(Record):
    """Patient age of a density class, years; ``None`` if no age is known."""

    mean: Value = None
    sd: Value = None
    median: Value = None
    counts: dict[int, int] = {}  # exams by age in whole years; several spans are combined from these counts


class ReadExam(Record):
    """A kept exam that several readers graded, by keyed hash."""

    exam_id: str
    patient_id: str
    split: str
    density: str
    readings: dict[str, str]


class IngestSummary(Record):
    """``summary.json`` of an ingest report; counts of files first, then of exams."""

    spans: int = 1  # number of spans in these counts
    found: int
    accepted: int
    rejected: int
    by_reason: dict[str, int]
    remarks: dict[str, int] = {}
    exam_by: dict[str, int] = {}
    label_by: dict[str, int] = {}
    ignored: dict[str, int]
    files_without_exam: int
    labels_without_files: int
    bad_labels: int
    warnings: tuple[str, ...] = ()
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
    readings: tuple[ReadExam, ...] = ()


class DiceSummary(Record):
    """Agreement of automatic and outlined muscles, for images that have both."""

    n: int
    median: Value = None
    lowest: Value = None


class ReviewFinding(Record):
    """A review that was not used."""

    file: str
    problem: str
    sentence: str


class ReviewSummary(Record):
    """Results of the files in the folder of reviews: files = accepted + changed + absent + refused."""

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
        """Number of reviewed images."""
        return self.accepted + self.changed + self.absent


class QualitySummary(Record):
    """``summary.json`` of a quality report: views by pectoral status, and the reviews."""

    views: int
    by_status: dict[str, int]
    by_system: dict[str, dict[str, int]]
    reviews: ReviewSummary | None = None


class QualityView(Record):
    """One line of ``views.jsonl`` of a quality report."""

    exam_id: str
    view: str
    acquisition_system: str
    density: str
    status: str
    pectoral_area_fraction: Value = None
    breast_area_fraction: Value = None
    doubt: Value = None
    overlay: str | None = None


class ReadEpoch(Record):
    """Metrics of one training epoch; ``val_`` means the eval split."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: Value = None


class History(Record):
    """``history.json`` of one network."""

    view: str
    best_epoch: int
    parameters: int
    convolutions: int
    images: dict[str, int]
    epochs: tuple[ReadEpoch, ...]
    hyperparameters: dict[str, float | str] = Field(default_factory=dict)  # of the Tuner
    head: str = "softmax"

    @model_validator(mode="after")
    def _best_epoch_was_run(self) -> History:
        if self.best_epoch not in {e.epoch for e in self.epochs}:
            raise ValueError(f"best_epoch must be one of epochs[].epoch, received {self.best_epoch}")
        return self

    @property
    def best(self) -> ReadEpoch:
        """Epoch whose weights were kept."""
        return next(e for e in self.epochs if e.epoch == self.best_epoch)


class ReadSliceMetrics(Record):
    """Metrics of one slice of the test split; an empty ``slice`` means the whole split."""

    slice: Slice
    n: int
    ungraded: int = 0  # observations without a grade, for want of views
    confusion_matrix: Matrix  # rows: true class, columns: predicted class
    metrics: dict[str, ReadFigure]
    change: dict[str, ReadFigure] = {}  # against the latest pushed model


class Gate(Record):
    """One condition for the blessing."""

    name: str
    slice: str
    threshold: str
    value: Value = None
    ci95: Interval = None
    n: int | None = None
    verdict: str = ""
    passed: bool
    reason: str = ""
    short: Value = None  # by how much the gate was missed

    @property
    def met(self) -> bool:
        """True if the condition is met; a gate that only warns does not refuse a model, and is not met."""
        return self.passed and self.verdict != "warning"

    @property
    def judged(self) -> bool:
        """True if there were enough exams for a verdict."""
        return self.verdict != "not judged"


class Baseline(Record):
    """The blessed model with which the candidate was compared."""

    version: str


class GreyBaseline(Record):
    """The comparison of the model with a regression on grey statistics; a ``problem`` if there is none."""

    problem: str = ""
    message: str = ""
    train_exams: int = 0
    exam: ReadSliceMetrics | None = None
    gain: dict[str, ReadFigure] = {}  # model minus baseline


class ReadSelectivePoint(Record):
    """Metrics of the most confident exams: ``coverage`` is their share, ``confidence`` the smallest of theirs."""

    coverage: float
    confidence: float
    n: int
    metrics: dict[str, ReadFigure]


class FamiliaritySlice(Record):
    """Familiarity of the test exams of a slice; an empty ``slice`` means all.

    Attributes:
        slice: Common value of these exams.
        n: Exams.
        unlike: Share of exams unlike the training exams.
        quantiles: Familiarity by level, such as ``0.5``.
    """

    slice: Slice
    n: int
    unlike: ReadFigure
    quantiles: dict[str, float]


class Familiarity(Record):
    """``familiarity.json`` of an evaluation."""

    available: bool
    reason: str = ""
    slices: tuple[FamiliaritySlice, ...] = ()

    @property
    def overall(self) -> FamiliaritySlice | None:
        """All test exams."""
        return next((s for s in self.slices if not s.slice), None)


class ReadEvaluation(Record):
    """``exam_metrics.json`` of an evaluation."""

    exam: tuple[ReadSliceMetrics, ...]
    breast: tuple[ReadSliceMetrics, ...] = ()
    view: tuple[ReadSliceMetrics, ...]
    gates: tuple[Gate, ...]
    blessed: bool
    baseline: Baseline | None = None
    temperature: float = 1.0
    grey_baseline: GreyBaseline | None = None
    selective: tuple[ReadSelectivePoint, ...] = ()
    readers: tuple[Agreement, ...] = ()  # of the model and the readers, on the test exams with several readers

    @property
    def overall(self) -> ReadSliceMetrics | None:
        """Exam-level metrics of the whole test split."""
        return next((s for s in self.exam if not s.slice), None)


@dataclass(frozen=True)
class Quality:
    """A quality report and the folder of its overlays."""

    folder: Path
    summary: QualitySummary
    views: tuple[QualityView, ...]
