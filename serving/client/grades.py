"""What a model says of an exam, and the errors where it says nothing. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Probabilities = tuple[float, float, float, float]


class ServingError(Exception):
    """A model server or SavedModel gave no grade. One sentence with the way out."""


class ServerUnreachableError(ServingError):
    """No server answers, or not in time."""


class ModelNotFoundError(ServingError):
    """There is no such model, or it lacks the signatures of this product."""


class InvalidExamError(ServingError):
    """The images or the target class are not what the model takes."""


class ServerBusyError(ServingError):
    """The server has too many requests waiting; it takes this one later."""


class NotGradedError(ServingError):
    """The exam has fewer views than the model is configured to grade."""


@dataclass(frozen=True)
class ExamGrade:
    """What the model says of an exam.

    Attributes:
        density: BI-RADS density class, one of `DENSITY_CLASSES`.
        probabilities: Of each class, in the order of `DENSITY_CLASSES`; calibrated.
        raw: The same before calibration: the mean of the views.
        right: The same of the right breast alone, calibrated; ``None`` where no right view was given.
        left: The same of the left breast alone, ``None`` where no left view was given.
        views: Views used, in the order of `VIEWS`.
    """

    density: str
    probabilities: Probabilities
    raw: Probabilities
    right: Probabilities | None
    left: Probabilities | None
    views: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ViewExplanation:
    """What the model says of one view, and where it looked.

    Attributes:
        density: BI-RADS density class of this view.
        probabilities: Of each class, in the order of `DENSITY_CLASSES`.
        heatmap: Grad-CAM, float32 [H, W], 0..1.
        overlay_png: Heat map over the image, PNG.
    """

    density: str
    probabilities: Probabilities
    heatmap: np.ndarray
    overlay_png: bytes


@dataclass(frozen=True, eq=False)
class ExplainedExam:
    """An exam's grade with the explanation of each view, from one pass through the networks.

    Attributes:
        grade: What the model says of the exam.
        views: What it says of each view, in the order of `VIEWS`.
        model_version: Version of the model that answered.
        preprocessing: Recipe that this version's images must come from, see `Grader.preprocessing`.
    """

    grade: ExamGrade
    views: dict[str, ViewExplanation]
    model_version: int
    preprocessing: str


@dataclass(frozen=True)
class ServedRecipe:
    """How a model's images must be prepared.

    Attributes:
        json: JSON of `components.exam_model.recipe.PreprocessingRecipe`.
        model_version: Version of the model that says so.
    """

    json: str
    model_version: int


class Grader(Protocol):
    """Grades exams and explains views; `serving.client.exam_grader.ExamGrader` is the one that there is."""

    def predict_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExamGrade:
        """Grades one exam."""
        ...

    def gradcam(self, images: Mapping[str, bytes], target_class: str | None = None) -> dict[str, ViewExplanation]:
        """Explains each view."""
        ...

    def explain_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExplainedExam:
        """Grades one exam and explains its views."""
        ...

    def preprocessing(self) -> ServedRecipe:
        """Asks the model for the recipe that its images must come from."""
        ...
