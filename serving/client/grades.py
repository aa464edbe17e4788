"""Grades of exams and views, and the errors that replace them. Imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from components.exam_model.heat_source import GRAD_CAM
from components.exam_model.recipe import PreprocessingRecipe
from schema.training_systems import NO_TRAINING, TrainingSystems

Probabilities = tuple[float, float, float, float]


class ServingError(Exception):
    """A model server or SavedModel did not grade an exam. The message is one sentence that says what to do."""


class ServerUnreachableError(ServingError):
    """No server responds, or not in time."""


class ModelNotFoundError(ServingError):
    """The model does not exist, or lacks the signatures of this product."""


class InvalidExamError(ServingError):
    """The model does not accept the images or the target class."""


class ServerBusyError(ServingError):
    """Too many requests wait at the server; it may accept this one later."""


class NotGradedError(ServingError):
    """The exam has fewer views than the model requires."""


@dataclass(frozen=True)
class ExamGrade:
    """The grade of an exam.

    Attributes:
        density: BI-RADS density class, one of `DENSITY_CLASSES`.
        probabilities: Calibrated probability of each class, in the order of `DENSITY_CLASSES`.
        raw: Probabilities before calibration: the mean of the views.
        right: Calibrated probabilities of the right breast; ``None`` if the exam has no right view.
        left: Calibrated probabilities of the left breast; ``None`` if the exam has no left view.
        views: Views used, in the order of `VIEWS`.
        training: What the model was trained on; its ``status`` compares an acquisition system with it. Without systems
            if the model does not say.
        familiarity: 1 or more: like the training exams; less: unlike them; None: the model does not know.
    """

    density: str
    probabilities: Probabilities
    raw: Probabilities
    right: Probabilities | None
    left: Probabilities | None
    views: tuple[str, ...]
    training: TrainingSystems = NO_TRAINING
    familiarity: float | None = None


@dataclass(frozen=True, eq=False)
class ViewExplanation:
    """The grade of one view, and the image regions behind it.

    Attributes:
        density: BI-RADS density class of this view.
        probabilities: Probability of each class, in the order of `DENSITY_CLASSES`.
        heatmap: float32 [H, W], 0..1.
        overlay_png: Heat map over the image, PNG.
        familiarity: Of this view, see :class:`ExamGrade`.
        method: Method of the heat map and the stages that it reads.
        texture: Where the texture part of a mixed classifier measured, float32 [H, W], 0..1; None without one.
    """

    density: str
    probabilities: Probabilities
    heatmap: NDArray[Any]
    overlay_png: bytes
    familiarity: float | None = None
    method: str = GRAD_CAM.name
    texture: NDArray[Any] | None = None


@dataclass(frozen=True)
class ModelRecipe:
    """How the images of a model are prepared.

    Attributes:
        recipe: Preprocessing recipe that the model contains.
        model_version: Version of this model.
    """

    recipe: PreprocessingRecipe
    model_version: int


@dataclass(frozen=True, eq=False)
class ExplainedExam:
    """The grade of an exam with the explanation of each view, from one pass through the networks.

    Attributes:
        grade: Grade of the exam.
        views: Grade and heat map of each view, in the order of `VIEWS`.
        model: Version of the model that graded the exam, and its preprocessing recipe.
    """

    grade: ExamGrade
    views: dict[str, ViewExplanation]
    model: ModelRecipe
