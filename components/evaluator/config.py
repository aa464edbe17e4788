"""What is measured, and what a model must reach to be blessed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EvaluatorConfig(BaseModel):
    """Gates and intervals. A gate that is ``null`` is not applied; at least one must be.

    Attributes:
        minimum_exam_accuracy: Least exam-level accuracy on the test split.
        minimum_exam_macro_recall: Least exam-level recall, averaged over the classes.
        minimum_exam_quadratic_kappa: Least exam-level quadratic weighted kappa.
        maximum_kappa_loss: Most that the exam-level kappa may lie under that of the latest pushed model.
        bootstrap_draws: Resamples of the exams behind an interval.
        seed: Seed of the resampling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_exam_accuracy: float | None = Field(0.5, ge=0, le=1)
    minimum_exam_macro_recall: float | None = Field(None, ge=0, le=1)
    minimum_exam_quadratic_kappa: float | None = Field(0.4, ge=-1, le=1)
    maximum_kappa_loss: float | None = Field(0.05, ge=0, le=2)
    bootstrap_draws: int = Field(2000, ge=100)
    seed: int = 1

    @model_validator(mode="after")
    def _has_a_floor(self) -> EvaluatorConfig:
        if not self.floors():
            raise ValueError("at least one of the minimum_exam_... gates must be set, or no model could be blessed")
        return self

    def floors(self) -> dict[str, float]:
        """Gives the absolute gates by metric name."""
        named = {
            "exam_accuracy": self.minimum_exam_accuracy,
            "exam_macro_recall": self.minimum_exam_macro_recall,
            "exam_quadratic_kappa": self.minimum_exam_quadratic_kappa,
        }
        return {name: floor for name, floor in named.items() if floor is not None}
