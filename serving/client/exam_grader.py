"""Exams and views to the model's signatures and back, whatever runs them.

Images are preprocessed views: PNG, 8-bit grey.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from components.common.png import encode_png
from schema.features import DENSITY_CLASSES, VIEWS, laterality_of
from serving.client.grades import (
    ExamGrade,
    ExplainedExam,
    InvalidExamError,
    ModelNotFoundError,
    NotGradedError,
    Probabilities,
    ServedRecipe,
    ViewExplanation,
)

if TYPE_CHECKING:
    from serving.wire.answers import Answer

FULL_QUEUE: Final = "batch scheduling queue"  # of BatchFunction in the model's graph
# What TensorFlow wraps around the reason: the text of an assertion of the graph, the node that failed.
_ASSERTION: Final = re.compile(r"assertion failed: \[([^\]]*)\]")
_GRAPH_NODE: Final = re.compile(r"\s*\[\[\{\{node .*", re.S)
_BLANK_SIDE: Final = 32  # pixels
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"


class ExamGrader(ABC):
    """Grades exams by a model's signatures; what runs these is the subclass's affair."""

    @abstractmethod
    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Answer:
        """Runs a signature.

        Args:
            signature: Its name.
            inputs: Array by input name; strings are object arrays of bytes.

        Returns:
            What the model answered.

        Raises:
            ServingError: With one of its subclasses saying whether server, model or exam is at fault.
        """

    def predict_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExamGrade:
        """Grades one exam.

        Args:
            images: PNG bytes of each preprocessed view, by view name; one to four views.
            exam_id: Groups the views; the server keeps and logs no identifier.

        Returns:
            The grade; of an exam that lacks a view, from the mean of those that are there.

        Raises:
            NotGradedError: The model wants more views; the message says how many.
            ServingError: With another of its subclasses saying whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        outputs = self.run("predict_exam", _exam_inputs(images, views, exam_id)).outputs
        return _grade_of(outputs, views)

    def explain_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExplainedExam:
        """Grades one exam and explains each of its views.

        Args:
            images: PNG bytes of each preprocessed view, by view name; one to four views.
            exam_id: Groups the views; the server keeps and logs no identifier.

        Returns:
            Grade and explanations.

        Raises:
            NotGradedError: The model wants more views; the message says how many.
            ServingError: With another of its subclasses saying whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        inputs = _exam_inputs(images, views, exam_id) | {"target_class": _strings([""] * len(views))}
        answer = self.run("explain_exam", inputs)
        outputs = answer.outputs
        recipe = outputs["preprocessing"][0].decode()
        return ExplainedExam(_grade_of(outputs, views), _explanations(outputs, views, "view_"), answer.version, recipe)

    def preprocessing(self) -> ServedRecipe:
        """Asks the model which preprocessing its images must come from.

        Returns:
            The recipe, and the version that answered.

        Raises:
            ServingError: With one of its subclasses saying whether server or model is at fault.
        """
        blank = encode_png(np.zeros((_BLANK_SIDE, _BLANK_SIDE), np.uint8))
        answer = self.run(
            "predict_exam",
            {"image_bytes": _strings([blank]), "view": _strings([VIEWS[0]]), "exam_id": _strings(["blank"])},
        )
        if "preprocessing" not in answer.outputs:
            raise ModelNotFoundError("The model carries no preprocessing recipe: push it again with this version.")
        return ServedRecipe(answer.outputs["preprocessing"][0].decode(), answer.version)

    def gradcam(self, images: Mapping[str, bytes], target_class: str | None = None) -> dict[str, ViewExplanation]:
        """Explains each view by Grad-CAM.

        Args:
            images: PNG bytes of each preprocessed view, by view name.
            target_class: Class to explain; ``None`` is the class predicted for the view.

        Returns:
            Explanation by view, in the order of `VIEWS`.

        Raises:
            ServingError: With one of its subclasses saying whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        if target_class is not None and target_class not in DENSITY_CLASSES:
            raise InvalidExamError(
                f"Unknown density class {target_class!r}: the target class is one of "
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
    """Makes the error of a model of another make or version; ``which`` says which model."""
    return ModelNotFoundError(
        f"{which} lacks a signature of this product ({details}): push it again with this version."
    )


def refused_by_model(details: str) -> InvalidExamError:
    """Makes the error of an exam that the model's graph refused, of TensorFlow's message."""
    asserted = _ASSERTION.search(details)
    reason = asserted[1] if asserted else " ".join(_GRAPH_NODE.sub("", details).split())
    return InvalidExamError(
        f"The model refused the exam ({reason.rstrip('.')}): send preprocessed views as 8-bit grey PNG, "
        "each under its own view name."
    )


def _checked_views(images: Mapping[str, bytes]) -> list[str]:
    if not images:
        raise InvalidExamError("The exam has no image: give at least one view of " + ", ".join(VIEWS) + ".")
    for view, image in images.items():
        if view not in VIEWS:
            raise InvalidExamError(f"Unknown view {view!r}: name views " + ", ".join(VIEWS) + ".")
        if not image.startswith(_PNG_START):
            raise InvalidExamError(f"The image of view {view} is no PNG: preprocess the exam first.")
    return [view for view in VIEWS if view in images]


def _strings(values: list[str] | list[bytes]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = [value if isinstance(value, bytes) else value.encode() for value in values]
    return array


def _exam_inputs(images: Mapping[str, bytes], views: list[str], exam_id: str) -> dict[str, np.ndarray]:
    return {
        "image_bytes": _strings([images[view] for view in views]),
        "view": _strings(views),
        "exam_id": _strings([exam_id] * len(views)),
    }


def _explanations(outputs: Mapping[str, np.ndarray], views: list[str], prefix: str = "") -> dict[str, ViewExplanation]:
    """Reads the outputs of a row a view; ``prefix`` is that of the view's grade."""
    return {
        view: ViewExplanation(
            density=outputs[f"{prefix}density"][row].decode(),
            probabilities=_four(outputs[f"{prefix}probabilities"][row]),
            heatmap=outputs["heatmap"][row],
            overlay_png=outputs["overlay_png_bytes"][row],
        )
        for row, view in enumerate(views)
    }


def _four(row: np.ndarray) -> Probabilities:
    a, b, c, d = (float(value) for value in row)
    return a, b, c, d


def _grade_of(outputs: dict[str, np.ndarray], views: list[str]) -> ExamGrade:
    # Models of before calibration give neither a reason nor raw probabilities: theirs are raw.
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
    )
