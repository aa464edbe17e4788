"""From the files of one exam to its grade and heat maps, or to a refusal with its reason.

The one path of every channel: the command ``predict``, the gateway's DICOM node, its DICOMweb service and its page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.dicom.rejections import Rejection
from components.exam_model.recipe import PreprocessingRecipe
from schema.features import DENSITY_CLASSES, VIEWS
from schema.intended_use import NOTICE
from serving.client.grades import (
    ExamGrade,
    Grader,
    ModelNotFoundError,
    NotGradedError,
    Probabilities,
    ServingError,
    ViewExplanation,
)
from serving.client.preprocessing import ExamFiles, PreparedExam, SeveralExamsError, files_of, prepare_files

NO_FILE: Final = "no_file"
SEVERAL_EXAMS: Final = "several_exams"
MISSING_VIEWS: Final = "missing_views"
QUALITY_FAILED: Final = "quality_failed"

_ROUNDING: Final = 6


class GradingPolicy(BaseModel):
    """Which exams are graded at all; the model's own minimum of views holds besides.

    Attributes:
        minimum_views: Views that an exam needs, 1..4.
        maximum_doubt: Exams with a view whose segmentation is doubted more than this are refused, 0..1.
        refuse_failed_segmentation: Refuse exams in which the pectoral muscle of a view was not found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_views: int = Field(1, ge=1, le=len(VIEWS))
    maximum_doubt: float = Field(1.0, ge=0, le=1)
    refuse_failed_segmentation: bool = False


class ExamRefusedError(Exception):
    """An exam that gets no grade.

    Attributes:
        reason: Short name: a ``RejectionReason`` of the files, or one of this module's constants.
        message: One sentence with what to do.
        rejected: Files that were left out.
    """

    def __init__(self, reason: str, message: str, rejected: tuple[Rejection, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.rejected = rejected


class ModelChangedError(ServingError):
    """The version that answered wants another preprocessing than the images had: ask for its recipe and begin anew."""


@dataclass(frozen=True, eq=False)
class GradedExam:
    """An exam with its grade.

    Attributes:
        prepared: The files behind it, and those left out.
        grade: Density and probabilities of the exam.
        explanations: What the model says of each view, and its heat map.
        model_version: Version of the model that answered.
        recipe: How its images were prepared.
    """

    prepared: PreparedExam
    grade: ExamGrade
    explanations: dict[str, ViewExplanation]
    model_version: int
    recipe: PreprocessingRecipe


@dataclass(frozen=True)
class ModelRecipe:
    """How a model's images are prepared.

    Attributes:
        recipe: The recipe.
        model_version: Version of the model that it is of.
    """

    recipe: PreprocessingRecipe
    model_version: int


def model_recipe_of(grader: Grader) -> ModelRecipe:
    """Asks a model for its preprocessing recipe, and which version it is.

    Raises:
        ModelNotFoundError: The recipe is of another version of this software.
        ServingError: The model cannot be asked.
    """
    served = grader.preprocessing()
    return ModelRecipe(_recipe(served.json), served.model_version)


def recipe_of(grader: Grader) -> PreprocessingRecipe:
    """Asks a model for its preprocessing recipe alone, see :func:`model_recipe_of`."""
    return model_recipe_of(grader).recipe


def _recipe(text: str) -> PreprocessingRecipe:
    try:
        return PreprocessingRecipe.model_validate_json(text)
    except ValidationError as error:
        raise ModelNotFoundError("The model's preprocessing recipe is of another version: push it again.") from error


def grade_exam(folder: Path, grader: Grader, recipe: PreprocessingRecipe, policy: GradingPolicy) -> GradedExam:
    """Grades the exam in a folder.

    Args:
        folder: Folder with one exam's files; names of files appear in messages.
        grader: Client of a server, or a model in this process.
        recipe: The model's recipe, see :func:`recipe_of`.
        policy: Which exams are graded.

    Returns:
        The grade with a heat map a view.

    Raises:
        ExamRefusedError: The exam is not one to grade; says why.
        ModelChangedError: The answer is of a model with another recipe.
        ServingError: Server or model is at fault.
    """
    return grade_files({path.relative_to(folder).as_posix(): path for path in files_of(folder)}, grader, recipe, policy)


def grade_files(
    exam: ExamFiles | Mapping[str, Path], grader: Grader, recipe: PreprocessingRecipe, policy: GradingPolicy
) -> GradedExam:
    """Grades the exam of some files, as :func:`grade_exam` does; ``exam`` as :func:`prepare_files` takes it."""
    try:
        prepared = prepare_files(exam, recipe)
    except SeveralExamsError as error:
        raise ExamRefusedError(SEVERAL_EXAMS, str(error)) from error
    refuse(prepared, policy)
    try:
        explained = grader.explain_exam({view: item.png for view, item in prepared.views.items()})
    except NotGradedError as error:
        raise _too_few(str(error), prepared.rejected) from error
    if _recipe(explained.preprocessing) != recipe:  # the server changed its version meanwhile, or replicas differ
        raise ModelChangedError("The model server changed its model while the exam was prepared: grade it again.")
    return GradedExam(prepared, explained.grade, explained.views, explained.model_version, recipe)


def refuse(prepared: PreparedExam, policy: GradingPolicy) -> None:
    """Refuses an exam that the policy leaves out.

    Raises:
        ExamRefusedError: It is not one to grade.
    """
    if not prepared.views:
        if not prepared.rejected:
            raise ExamRefusedError(NO_FILE, "The exam has no file: give the folder of its images.")
        first = prepared.rejected[0]
        raise ExamRefusedError(
            first.reason.value, f"The exam has no mammogram that can be graded: {first.message}", prepared.rejected
        )
    missing = [view for view in VIEWS if view not in prepared.views]
    if len(prepared.views) < policy.minimum_views:
        raise _too_few(
            f"The exam has {len(prepared.views)} of {len(VIEWS)} views and a grade needs at least "
            f"{policy.minimum_views}: add {', '.join(missing)}.",
            prepared.rejected,
        )
    for view, item in prepared.views.items():
        if item.result.doubt > policy.maximum_doubt:
            raise ExamRefusedError(
                QUALITY_FAILED,
                f"The segmentation of {view} is in doubt ({item.result.doubt:.2f}, allowed {policy.maximum_doubt:g}): "
                "look at the image, and grade it by eye.",
                prepared.rejected,
            )
        if policy.refuse_failed_segmentation and item.result.status == "failed":
            raise ExamRefusedError(
                QUALITY_FAILED,
                f"The pectoral muscle of {view} was not found: look at the image, and grade it by eye.",
                prepared.rejected,
            )


def _too_few(message: str, rejected: tuple[Rejection, ...]) -> ExamRefusedError:
    left_out = f" A file that was left out: {rejected[0].message}" if rejected else ""
    return ExamRefusedError(MISSING_VIEWS, message + left_out, rejected)


def quality_flags(graded: GradedExam) -> dict[str, tuple[str, ...]]:
    """Names what a reader should know of each view before trusting the grade, by view; empty tuples are fine."""
    flags = {}
    for view, item in graded.prepared.views.items():
        of_view = [f"pectoral muscle {item.result.status}"] if item.result.status == "failed" else []
        if item.result.status != "not_applicable":  # whose reason is that the view shows no muscle
            of_view += [reason.replace("_", " ") for reason in item.result.figures.reasons]
        of_view += [case.value.replace("_", " ") for case in item.loaded.header.special]
        of_view += [remark.text for remark in item.loaded.remarks]
        flags[view] = tuple(dict.fromkeys(of_view))
    return flags


def by_class(probabilities: Probabilities | None) -> dict[str, float] | None:
    """Rounds probabilities and names their classes; ``None`` stays.

    Examples:
        >>> by_class((0.1, 0.2, 0.6, 0.1))
        {'A': 0.1, 'B': 0.2, 'C': 0.6, 'D': 0.1}
    """
    if probabilities is None:
        return None
    return {c: round(p, _ROUNDING) for c, p in zip(DENSITY_CLASSES, probabilities, strict=True)}


def exam_document(graded: GradedExam) -> dict[str, Any]:
    """Writes a grade as a JSON document; it names no patient and no file.

    Args:
        graded: The exam.

    Returns:
        What ``exam.json`` holds and the gateway answers.
    """
    grade = graded.grade
    flags = quality_flags(graded)
    return {
        "density": grade.density,
        "probabilities": by_class(grade.probabilities),
        "raw_probabilities": by_class(grade.raw),
        "right": by_class(grade.right),
        "left": by_class(grade.left),
        "missing_views": [view for view in VIEWS if view not in graded.prepared.views],
        "views": {
            view: {
                "density": graded.explanations[view].density,
                "probabilities": by_class(graded.explanations[view].probabilities),
                "pectoral_status": item.result.status,
                "pectoral_area_fraction": round(item.result.pectoral_area_fraction, _ROUNDING),
                "doubt": round(item.result.doubt, _ROUNDING),
                "acquisition_system": item.loaded.header.system.key,
                "flags": list(flags[view]),
            }
            for view, item in graded.prepared.views.items()
        },
        "rejected_files": len(graded.prepared.rejected),
        "model_version": graded.model_version,
        "notice": NOTICE,
    }
