"""Types of the files of the model's other nodes: explanations, calibration, serving checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from components.exam_model.heat_source import GRAD_CAM
from components.report_generator.artifacts import Gate, Interval, PerClass, ReadFigure, Record, Slice, Value, tolerant
from components.statistics.intervals import Mean

ReadMean = Annotated[Mean, tolerant(Mean)]
NO_MEAN: Final = Mean(value=None, ci95=None, n=0)


class ExplanationGroup(Record):
    """Mean scores of a slice of the explained views; an empty ``slice`` means all views."""

    slice: Slice
    scores: dict[str, ReadMean]


class SanityStage(Mean):
    """Mean rank correlation of the heat maps with those of networks that are randomised down to a stage."""

    stage: str


class FeatureMaps(Record):
    """A picture of the feature maps of a block; ``filters`` are the shown ones among ``of`` filters."""

    view: str
    block: str
    picture: str
    filters: tuple[int, ...]
    of: int


class ExplanationSummary(Record):
    """``summary.json`` of the explanations: mean scores of the heat maps, and their gates."""

    views: int
    method: str = GRAD_CAM.name
    target_class: str = "predicted"
    groups: tuple[ExplanationGroup, ...]
    gates: tuple[Gate, ...] = ()
    sanity: tuple[Annotated[SanityStage, tolerant(SanityStage)], ...] = ()
    feature_maps: tuple[FeatureMaps, ...] = ()
    passed: bool

    def mean_of(self, score: str) -> Mean:
        """Return the mean of a score over all views."""
        whole = next((g for g in self.groups if not g.slice), None)
        return whole.scores.get(score, NO_MEAN) if whole else NO_MEAN

    @property
    def energy_in_breast(self) -> Mean:
        """Mean share of heat inside the breast, over all views."""
        return self.mean_of("energy_in_breast")


class Explanation(Record):
    """One line of ``explanations.jsonl``."""

    exam_id: str
    view: str
    density: str
    acquisition_system: str = "unknown"
    predicted: str
    probabilities: Annotated[tuple[float, ...], PerClass]
    energy_in_breast: Value = None
    energy_in_pectoral: Value = None
    spearman: Value = None
    overlay: str | None = None
    image: str | None = None  # the same view without heat
    muscle: str | None = None  # with the muscle outlined
    texture: str | None = None  # what the texture part of a mixed classifier measured
    sum: str | None = None  # of both maps


class ReadBeforeAfter(Record):
    """A metric of the eval split before and after calibration."""

    before: ReadFigure
    after: ReadFigure


class ReadCalibration(Record):
    """``calibration.json`` of the exam model."""

    method: str
    temperature: float
    decision: str = ""
    reason: str = ""
    fitted: Value = None
    temperature_ci95: Interval = None
    exams: int
    nll: ReadBeforeAfter
    ece: ReadBeforeAfter
    ece_bins: int
    remarks: tuple[str, ...] = ()


class ServingCheck(Record):
    """One check of a model that is being served."""

    name: str
    passed: bool
    seconds: float
    detail: str


class Infra(Record):
    """``infra.json`` of InfraCheck."""

    passed: bool
    checks: tuple[ServingCheck, ...]


@dataclass(frozen=True)
class ReadExplanations:
    """Explanations and the folder of their overlays."""

    folder: Path
    summary: ExplanationSummary
    views: tuple[Explanation, ...]
