"""What is measured, and what a model must reach to be blessed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.statistics.metrics import ComparedMetric


class EvaluatorConfig(BaseModel):
    """Gates and intervals. A gate that is ``null`` is not applied; at least one of the whole split must be.

    Attributes:
        minimum_exam_accuracy: Least exam-level accuracy on the test split.
        minimum_exam_macro_recall: Least exam-level recall, averaged over the classes.
        minimum_exam_quadratic_kappa: Least exam-level quadratic weighted kappa.
        minimum_exam_class_recall: Least exam-level recall of every single class; a class that the test split lacks
            fails.
        maximum_kappa_loss: Most that the exam-level kappa may lie under that of the latest pushed model.
        maximum_dense_flips: Largest share of exams whose dense or non-dense grade was right with the latest pushed
            model and is wrong now.
        system_metric: Exam-level figure of the two gates by acquisition system.
        minimum_system_metric: Least value of it on any acquisition system.
        maximum_system_loss: Most that it may lie under that of the latest pushed model on any acquisition system.
        minimum_system_exams: Acquisition systems with fewer exams in the test split are not judged by themselves.
        bootstrap_draws: Resamples of the patients behind an interval.
        seed: Seed of the resampling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_exam_accuracy: float | None = Field(0.5, ge=0, le=1)
    minimum_exam_macro_recall: float | None = Field(None, ge=0, le=1)
    minimum_exam_quadratic_kappa: float | None = Field(0.4, ge=-1, le=1)
    minimum_exam_class_recall: float | None = Field(None, ge=0, le=1)
    maximum_kappa_loss: float | None = Field(0.05, ge=0, le=2)
    maximum_dense_flips: float | None = Field(None, ge=0, le=1)
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
        """Gives the absolute gates on single figures of the whole split, by the figure's name."""
        named = {
            "accuracy": self.minimum_exam_accuracy,
            "macro_recall": self.minimum_exam_macro_recall,
            "quadratic_kappa": self.minimum_exam_quadratic_kappa,
        }
        return {name: floor for name, floor in named.items() if floor is not None}
