"""The gates that a model must pass to be blessed."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.statistics.metrics import ComparedMetric


class GainConfig(BaseModel):
    """What the model must gain over the baseline of grey statistics, on the same test exams.

    Attributes:
        metric: Metric of the gain.
        minimum: The gain is shown if the whole 95 % interval of the paired difference is above this value.
        on_failure: ``warn`` blesses a model without a shown gain and says so; ``refuse`` refuses it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: ComparedMetric = "quadratic_kappa"
    minimum: float = Field(0.0, ge=-1, le=1)
    on_failure: Literal["warn", "refuse"] = "warn"


class EvaluatorConfig(BaseModel):
    """Gates and intervals. A gate that is ``null`` is not applied. At least one gate of the whole split must be set.

    Attributes:
        minimum_exam_accuracy: Minimum exam-level accuracy on the test split.
        minimum_exam_macro_recall: Minimum exam-level recall, averaged over the classes.
        minimum_exam_quadratic_kappa: Minimum exam-level quadratic weighted kappa.
        minimum_exam_class_recall: Minimum exam-level recall of each class. A class without test exams fails.
        maximum_kappa_loss: Maximum loss of exam-level kappa against the latest pushed model.
        maximum_dense_flips: Maximum share of exams whose dense or non-dense grade was right with the latest pushed
            model and is wrong now.
        maximum_class_recall_loss: Maximum loss of recall against the latest pushed model in each class. The gate fails
            if the whole 95 % interval of the paired loss is above it: chance does not explain the loss.
        minimum_gain_over_baseline: Gain over a regression on grey statistics of the same pictures.
        system_metric: Exam-level metric of the two gates per acquisition system.
        minimum_system_metric: Minimum value of this metric on each acquisition system.
        maximum_system_loss: Maximum loss of this metric against the latest pushed model on each acquisition system.
        minimum_system_exams: Acquisition systems with fewer test exams are not judged on their own.
        bootstrap_draws: Bootstrap resamples of the patients per interval.
        seed: Seed of the resampling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_exam_accuracy: float | None = Field(0.5, ge=0, le=1)
    minimum_exam_macro_recall: float | None = Field(None, ge=0, le=1)
    minimum_exam_quadratic_kappa: float | None = Field(0.4, ge=-1, le=1)
    minimum_exam_class_recall: float | None = Field(None, ge=0, le=1)
    maximum_kappa_loss: float | None = Field(0.05, ge=0, le=2)
    maximum_dense_flips: float | None = Field(None, ge=0, le=1)
    maximum_class_recall_loss: float | None = Field(0.0, ge=0, le=1)
    minimum_gain_over_baseline: GainConfig | None = GainConfig()
    system_metric: ComparedMetric = "accuracy"
    minimum_system_metric: float | None = Field(None, ge=-1, le=1)
    maximum_system_loss: float | None = Field(0.1, ge=0, le=2)
    minimum_system_exams: int = Field(20, ge=1)
    bootstrap_draws: int = Field(2000, ge=100)
    seed: int = 1

    @model_validator(mode="after")
    def _has_a_floor(self) -> EvaluatorConfig:
        if not self.floors() and self.minimum_exam_class_recall is None:
            raise ValueError("at least one of the minimum_exam_... gates must be set, or no model could be blessed")
        return self

    def floors(self) -> dict[str, float]:
        """Return the absolute gates on metrics of the whole split, by the name of the metric."""
        named = {
            "accuracy": self.minimum_exam_accuracy,
            "macro_recall": self.minimum_exam_macro_recall,
            "quadratic_kappa": self.minimum_exam_quadratic_kappa,
        }
        return {name: floor for name, floor in named.items() if floor is not None}
