"""Exams and views to the signatures of the model and back.

Images are preprocessed views: PNG, 8-bit grey.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from components.common.png import encode_png
from components.exam_model.heat_source import GRAD_CAM
from components.exam_model.recipe import PreprocessingRecipe
from schema.features import DENSITY_CLASSES, VIEWS, laterality_of
from schema.training_systems import NO_TRAINING, TrainingSystems
from serving.client.grades import (
    ExamGrade,
    ExplainedExam,
    InvalidExamError,
    ModelNotFoundError,
    ModelRecipe,
    NotGradedError,
    Probabilities,
    ViewExplanation,
)
from serving.wire.prediction import Answer

FULL_QUEUE: Final = "batch scheduling queue"  # of BatchFunction in the model's graph
# TensorFlow wraps the reason in the text of a failed assertion and the name of the failed node.
_ASSERTION: Final = re.compile(r"assertion failed: \[([^\]]*)\]")
_GRAPH_NODE: Final = re.compile(r"\s*\[\[\{\{node .*", re.S)
_BLANK_SIDE: Final = 32  # pixels
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"


class Grader(ABC):
    """Grades exams with the signatures of a model. Subclasses run the signatures on a server or in this process."""

    @abstractmethod
    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        """Run a signature.

        Args:
            signature: Name of the signature.
            inputs: Array by input name; strings are object arrays of bytes.

        Returns:
            The outputs, and the version of the model.

        Raises:
            ServingError: The subclass of the error says whether server, model or exam is at fault.
        """

    def predict_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExamGrade:
        """Grade one exam.

        Args:
            images: PNG bytes of each preprocessed view, by view name; one to four views.
            exam_id: Groups the views. The server neither keeps nor logs it.

        Returns:
            The grade. If a view is missing, it is the mean of the other views.

        Raises:
            NotGradedError: The model requires more views; the message says how many.
            ServingError: The subclass of the error says whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        outputs = self.run("predict_exam", _exam_inputs(images, views, exam_id)).outputs
        return _grade_of(outputs, views)

    def explain_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExplainedExam:
        """Grade one exam and explain each of its views.

        Args:
            images: PNG bytes of each preprocessed view, by view name; one to four views.
            exam_id: Groups the views. The server neither keeps nor logs it.

        Raises:
            NotGradedError: The model requires more views; the message says how many.
            ModelNotFoundError: The recipe was written by another version of this software.
            ServingError: The subclass of the error says whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        inputs = _exam_inputs(images, views, exam_id) | {"target_class": _strings([""] * len(views))}
        answer = self.run("explain_exam", inputs)
        outputs = answer.outputs
        grade = _grade_of(outputs, views)
        return ExplainedExam(grade, _explanations(outputs, views, "view_"), _recipe_of(answer))

    def model_recipe(self) -> ModelRecipe:
        """Ask the model for its preprocessing recipe.

        Returns:
            The recipe, and the version of the model that contains it.

        Raises:
            ModelNotFoundError: The recipe is missing or was written by another version of this software.
            ServingError: The subclass of the error says whether server or model is at fault.
        """
        blank = encode_png(np.zeros((_BLANK_SIDE, _BLANK_SIDE), np.uint8))
        answer = self.run(
            "predict_exam",
            {"image_bytes": _strings([blank]), "view": _strings([VIEWS[0]]), "exam_id": _strings(["blank"])},
        )
        if "preprocessing" not in answer.outputs:
            raise ModelNotFoundError("The model has no preprocessing recipe: push it again with this version.")
        return _recipe_of(answer)

    def gradcam(self, images: Mapping[str, bytes], target_class: str | None = None) -> dict[str, ViewExplanation]:
        """Explain each view by a heat map.

        Args:
            images: PNG bytes of each preprocessed view, by view name.
            target_class: Class to explain; ``None`` is the class predicted for the view.

        Returns:
            Explanation by view, in the order of `VIEWS`.

        Raises:
            ServingError: The subclass of the error says whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        if target_class is not None and target_class not in DENSITY_CLASSES:
            raise InvalidExamError(
                f"Unknown density class {target_class!r}: the target class must be one of "
                + ", ".join(DENSITY_CLASSES)
                + "."
            )
        outputs = self.run(
            "gradcam",
            {
                "image_bytes": _strings([images[view] for view in views]),
                "view": _strings(views),
                "target_class": _strings([target_class or ""] * len(views)),
            },
        ).outputs
        return _explanations(outputs, views)


def lacks_signature(which: str, details: str) -> ModelNotFoundError:
    """Return the error of a model that another product or version exported; ``which`` names the model."""
    return ModelNotFoundError(
        f"{which} lacks a signature of this product ({details}): push it again with this version."
    )


def refused_by_model(details: str) -> InvalidExamError:
    """Return the error of an exam that the graph of the model refused; ``details`` is TensorFlow's message."""
    asserted = _ASSERTION.search(details)
    reason = asserted[1] if asserted else " ".join(_GRAPH_NODE.sub("", details).split())
    return InvalidExamError(
        f"The model refused the exam ({reason.rstrip('.')}): send each preprocessed view as 8-bit grey PNG "
        "with its view name."
    )


def _checked_views(images: Mapping[str, bytes]) -> list[str]:
    if not images:
        raise InvalidExamError("The exam has no image: give at least one of the views " + ", ".join(VIEWS) + ".")
    for view, image in images.items():
        if view not in VIEWS:
            raise InvalidExamError(f"Unknown view {view!r}: the view must be one of " + ", ".join(VIEWS) + ".")
        if not image.startswith(_PNG_START):
            raise InvalidExamError(f"The image of view {view} is not a PNG: preprocess the exam first.")
    return [view for view in VIEWS if view in images]


def _strings(values: list[str] | list[bytes]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = [value if isinstance(value, bytes) else value.encode() for value in values]
    return array


def _exam_inputs(images: Mapping[str, bytes], views: list[str], exam_id: str) -> dict[str, NDArray[Any]]:
    return {
        "image_bytes": _strings([images[view] for view in views]),
        "view": _strings(views),
        "exam_id": _strings([exam_id] * len(views)),
    }


def _explanations(
    outputs: Mapping[str, NDArray[Any]], views: list[str], prefix: str = ""
) -> dict[str, ViewExplanation]:
    """Read outputs with one row per view; ``prefix`` starts the names of a view's grade."""
    return {
        view: ViewExplanation(
            density=outputs[f"{prefix}density"][row].decode(),
            probabilities=_four(outputs[f"{prefix}probabilities"][row]),
            heatmap=outputs["heatmap"][row],
            overlay_png=outputs["overlay_png_bytes"][row],
            familiarity=_familiarity(outputs, f"{prefix}familiarity", row),
            # Models of contracts before 1.2 do not say it: all of theirs are of this method.
            method=outputs["heatmap_method"][row].decode() if "heatmap_method" in outputs else GRAD_CAM.name,
            texture=outputs["texture_map"][row] if "texture_map" in outputs else None,
        )
        for row, view in enumerate(views)
    }


def _four(row: NDArray[Any]) -> Probabilities:
    a, b, c, d = (float(value) for value in row)
    return a, b, c, d


def _grade_of(outputs: dict[str, NDArray[Any]], views: list[str]) -> ExamGrade:
    # Models from before calibration return neither a reason nor raw probabilities: theirs are raw.
    if "reason" in outputs and (reason := outputs["reason"][0].decode()):
        raise NotGradedError(reason)
    sides = {laterality_of(view) for view in views}
    return ExamGrade(
        density=outputs["density"][0].decode(),
        probabilities=_four(outputs["probabilities"][0]),
        raw=_four(outputs.get("raw_probabilities", outputs["probabilities"])[0]),
        right=_four(outputs["right_probabilities"][0]) if "R" in sides else None,
        left=_four(outputs["left_probabilities"][0]) if "L" in sides else None,
        views=tuple(views),
        training=_training_of(outputs),
        familiarity=_familiarity(outputs, "familiarity", 0),
    )


def _familiarity(outputs: Mapping[str, NDArray[Any]], name: str, row: int) -> float | None:
    """Read a familiarity: None if the model has none (-1), or is of an older contract."""
    found = float(outputs[name][row]) if name in outputs else -1.0
    return found if found >= 0 else None


def _training_of(outputs: Mapping[str, NDArray[Any]]) -> TrainingSystems:
    """Read the systems of the training exams; models of contract 1.0 do not say."""
    if "training_systems" not in outputs:
        return NO_TRAINING
    return TrainingSystems.of_model(outputs["training_systems"][0])


def _recipe_of(answer: Answer) -> ModelRecipe:
    try:
        recipe = PreprocessingRecipe.model_validate_json(answer.outputs["preprocessing"][0])
    except ValidationError as error:
        raise ModelNotFoundError(
            "The preprocessing recipe of the model was written by another version: push it again."
        ) from error
    return ModelRecipe(recipe, answer.version)
