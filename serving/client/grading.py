"""From the files of one exam to its grade and heat maps, or to a refusal with its reason.

The command ``predict`` and all channels of the gateway (DICOM node, DICOMweb, page) use this path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.dicom.rejections import Rejection
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.preprocess import EXPECTED_REASONS
from schema.features import DENSITY_CLASSES, VIEWS
from schema.software import NOTICE
from schema.training_systems import SystemStatus, worst
from serving.client.grader import Grader
from serving.client.grades import ExamGrade, NotGradedError, Probabilities, ServingError, ViewExplanation
from serving.client.preprocessing import ExamFiles, PreparedExam, SeveralExamsError, files_of, prepare_files

NO_FILE: Final = "no_file"
SEVERAL_EXAMS: Final = "several_exams"
MISSING_VIEWS: Final = "missing_views"
QUALITY_FAILED: Final = "quality_failed"
UNSEEN_SYSTEM: Final = "unseen_system"
UNLIKE_TRAINING: Final = "unlike_training"
LOW_CONFIDENCE: Final = "low_confidence"

Unfamiliar = Literal["flag", "refuse"]

_ROUNDING: Final = 6


class GradingPolicy(BaseModel):
    """Which exams are graded. The model may require more views.

    Attributes:
        minimum_views: Views that an exam needs, 1..4.
        maximum_doubt: Largest uncertainty of a view's segmentation, 0..1; exams above it are refused.
        refuse_failed_segmentation: Refuse exams in which the pectoral muscle of a view was not found.
        unseen: Exams of an acquisition system (manufacturer and model) that the model's training data do not have:
            ``flag`` grades them with a warning, ``refuse`` refuses them.
        unlike_training: Exams whose pictures are unlike those of the training exams (familiarity below 1): ``flag`` or
            ``refuse``.
        minimum_confidence: Smallest probability of the most probable class, 0..1; exams below it are refused. 0 refuses
            none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_views: int = Field(1, ge=1, le=len(VIEWS))
    maximum_doubt: float = Field(1.0, ge=0, le=1)
    refuse_failed_segmentation: bool = False
    unseen: Unfamiliar = "flag"
    unlike_training: Unfamiliar = "flag"
    minimum_confidence: float = Field(0.0, ge=0, le=1)


class ExamRefusedError(Exception):
    """An exam is not graded.

    Attributes:
        reason: Short name: a ``RejectionReason`` of the files, or a constant of this module.
        message: One sentence that says what to do.
        rejected: Rejected files.
        flags: All flags of an exam that was refused after it was graded.
        familiarity: Its familiarity; None if it is not known, or if the exam was not graded.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        rejected: tuple[Rejection, ...] = (),
        flags: tuple[str, ...] = (),
        familiarity: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.rejected = rejected
        self.flags = flags
        self.familiarity = familiarity


class ModelChangedError(ServingError):
    """The model version that graded the exam requires another recipe: ask for it and prepare the exam again."""


@dataclass(frozen=True, eq=False)
class GradedExam:
    """An exam with its grade.

    Attributes:
        prepared: Its prepared views and rejected files.
        grade: Density and probabilities of the exam.
        explanations: Grade and heat map of each view.
        model_version: Version of the model that graded it.
        recipe: How its images were prepared.
    """

    prepared: PreparedExam
    grade: ExamGrade
    explanations: dict[str, ViewExplanation]
    model_version: int
    recipe: PreprocessingRecipe

    @property
    def systems(self) -> dict[str, SystemStatus]:
        """How the acquisition system of each view relates to the model's training data."""
        return {view: self.grade.training.status(system) for view, system in self.prepared.systems.items()}

    @property
    def unseen_system(self) -> bool | None:
        """True if a view is of a system without training exams; None if it is not known."""
        return _UNSEEN[worst(self.systems.values())]

    @property
    def unlike_training(self) -> bool | None:
        """True if the pictures are unlike those of the training exams; None if it is not known."""
        return None if self.grade.familiarity is None else self.grade.familiarity < 1

    @property
    def flags(self) -> tuple[str, ...]:
        """What makes the grade less trustworthy, by name."""
        found = {UNSEEN_SYSTEM: self.unseen_system, UNLIKE_TRAINING: self.unlike_training}
        return tuple(flag for flag, raised in found.items() if raised)


_UNSEEN: Final = {
    SystemStatus.SEEN: False,
    SystemStatus.OTHER_VERSION: False,
    SystemStatus.UNNAMED: None,
    SystemStatus.UNSEEN: True,
    SystemStatus.NOT_KNOWN: None,
}


def grade_exam(folder: Path, grader: Grader, recipe: PreprocessingRecipe, policy: GradingPolicy) -> GradedExam:
    """Grade the exam in a folder.

    Args:
        folder: Folder with the files of one exam; messages contain the names of files.
        grader: Client of a server, or a model in this process.
        recipe: Recipe of the model, see `Grader.model_recipe`.
        policy: Which exams are graded.

    Returns:
        The grade with one heat map per view.

    Raises:
        ExamRefusedError: The exam is not graded; the message says why.
        ModelChangedError: A model with another recipe graded the exam.
        ServingError: Server or model is at fault.
    """
    return grade_files({path.relative_to(folder).as_posix(): path for path in files_of(folder)}, grader, recipe, policy)


def grade_files(
    exam: ExamFiles | Mapping[str, Path], grader: Grader, recipe: PreprocessingRecipe, policy: GradingPolicy
) -> GradedExam:
    """Grade the exam in a set of files, see :func:`grade_exam`; ``exam`` is as in :func:`prepare_files`."""
    return grade_prepared(lambda: prepare_files(exam, recipe), grader, recipe, policy)


def grade_prepared(
    prepare: Callable[[], PreparedExam], grader: Grader, recipe: PreprocessingRecipe, policy: GradingPolicy
) -> GradedExam:
    """Grade an exam that ``prepare`` reads with the recipe, see :func:`grade_exam`."""
    try:
        prepared = prepare()
    except SeveralExamsError as error:
        raise ExamRefusedError(SEVERAL_EXAMS, str(error)) from error
    refuse(prepared, policy)
    try:
        explained = grader.explain_exam({view: item.png for view, item in prepared.views.items()})
    except NotGradedError as error:
        raise _too_few(str(error), prepared.rejected) from error
    if explained.model.recipe != recipe:  # the server changed its version meanwhile, or replicas differ
        raise ModelChangedError("The model server changed its model while the exam was prepared: grade it again.")
    graded = GradedExam(prepared, explained.grade, explained.views, explained.model.model_version, recipe)
    _refuse_unfamiliar(graded, policy)
    return graded


def _refuse_unfamiliar(graded: GradedExam, policy: GradingPolicy) -> None:
    """Refuse an exam that the model knows too little about.

    Raises:
        ExamRefusedError: The policy refuses what the answer flags.
    """
    confidence, flags = max(graded.grade.probabilities), graded.flags
    if policy.unseen == "refuse" and graded.unseen_system:
        message = f"{_unseen_sentence(graded)} Grade it by eye, or train a model with exams of this system."
        raise _refused(graded, UNSEEN_SYSTEM, message, flags)
    if policy.unlike_training == "refuse" and graded.unlike_training:
        message = f"{_unlike_sentence(graded)} Look at the images, and grade the exam by eye."
        raise _refused(graded, UNLIKE_TRAINING, message, flags)
    if confidence < policy.minimum_confidence:
        message = (
            f"The most probable class has a probability of {confidence:.2f}, and a grade needs at least"
            f" {policy.minimum_confidence:g}: grade the exam by eye."
        )
        raise _refused(graded, LOW_CONFIDENCE, message, (*flags, LOW_CONFIDENCE))


def _refused(graded: GradedExam, reason: str, message: str, flags: tuple[str, ...]) -> ExamRefusedError:
    return ExamRefusedError(reason, message, graded.prepared.rejected, flags, graded.grade.familiarity)


def refuse(prepared: PreparedExam, policy: GradingPolicy) -> None:
    """Refuse an exam that the policy excludes.

    Raises:
        ExamRefusedError: The exam is not graded.
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
                f"The segmentation of {view} is uncertain ({item.result.doubt:.2f}, allowed "
                f"{policy.maximum_doubt:g}): look at the image, and grade it by eye.",
                prepared.rejected,
            )
        if policy.refuse_failed_segmentation and item.result.status == "failed":
            raise ExamRefusedError(
                QUALITY_FAILED,
                f"The pectoral muscle of {view} was not found: look at the image, and grade it by eye.",
                prepared.rejected,
            )


def _too_few(message: str, rejected: tuple[Rejection, ...]) -> ExamRefusedError:
    first = f" Rejected file: {rejected[0].message}" if rejected else ""
    return ExamRefusedError(MISSING_VIEWS, message + first, rejected)


def quality_flags(graded: GradedExam) -> dict[str, tuple[str, ...]]:
    """Return the quality flags of each view: what a reader should know before trusting the grade."""
    flags = {}
    for view, item in graded.prepared.views.items():
        of_view = [f"pectoral muscle {item.result.status}"] if item.result.status == "failed" else []
        reasons = (reason for reason in item.result.measurements.reasons if reason not in EXPECTED_REASONS)
        of_view += [reason.replace("_", " ") for reason in reasons]
        of_view += [case.value.replace("_", " ") for case in item.loaded.header.special]
        of_view += [remark.text for remark in item.loaded.remarks]
        flags[view] = tuple(dict.fromkeys(of_view))
    return flags


_SHOWN: Final = 4  # names in a sentence


def _names(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _unseen_sentence(graded: GradedExam) -> str:
    systems = graded.prepared.systems
    unseen = [systems[view].key for view, status in graded.systems.items() if status is SystemStatus.UNSEEN]
    known = graded.grade.training.systems
    trained = _names(system.name for system in [one for one in known if one.named] or known)
    return f"Unseen acquisition system: {_names(unseen)}. The model was trained on: {trained}."


def _unlike_sentence(graded: GradedExam) -> str:
    views = [view for view, of in graded.explanations.items() if of.familiarity is not None and of.familiarity < 1]
    least = f", least of all {', '.join(views)}" if 0 < len(views) < len(graded.explanations) else ""
    assert graded.grade.familiarity is not None
    return (
        f"The pictures are unlike those of the training exams{least} (familiarity {graded.grade.familiarity:.2f}; like"
        " them is 1 or more)."
    )


def warnings_of(graded: GradedExam) -> tuple[str, ...]:
    """Return what limits the trust in a grade, one sentence each; the worst first."""
    systems, training = graded.prepared.systems, graded.grade.training
    by_status: dict[SystemStatus, list[str]] = {}
    for view, status in graded.systems.items():
        by_status.setdefault(status, []).append(systems[view].key)
    found = []
    if SystemStatus.UNSEEN in by_status:
        found.append(f"{_unseen_sentence(graded)} Do not trust the grade.")
    if graded.unlike_training:
        found.append(f"{_unlike_sentence(graded)} Do not trust the grade.")
    if training.origin:
        found.append(f"The model was trained on {training.origin}, not on exams of patients.")
    if others := by_status.get(SystemStatus.OTHER_VERSION):
        found.append(f"No training exam has this software version: {_names(others)}.")
    if unnamed := by_status.get(SystemStatus.UNNAMED):
        found.append(
            f"The images do not name their acquisition system ({_names(unnamed)}): as in the training data, but only"
            " the kind of image could be compared."
        )
    if SystemStatus.NOT_KNOWN in by_status:
        found.append(
            "It is not known whether the model has seen this acquisition system: push the model again with this"
            " version."
        )
    if graded.unlike_training is None:
        found.append("It is not known whether the pictures are like those of the training exams.")
    return tuple(found)


def by_class(probabilities: Probabilities | None) -> dict[str, float] | None:
    """Return rounded probabilities by class name; ``None`` stays ``None``.

    Examples:
        >>> by_class((0.1, 0.2, 0.6, 0.1))
        {'A': 0.1, 'B': 0.2, 'C': 0.6, 'D': 0.1}
    """
    if probabilities is None:
        return None
    return {c: round(p, _ROUNDING) for c, p in zip(DENSITY_CLASSES, probabilities, strict=True)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _ROUNDING)


def exam_document(graded: GradedExam) -> dict[str, Any]:
    """Return a grade as a JSON document, without patient identity and file names.

    ``predict`` writes it as ``exam.json``, and the gateway returns it.
    """
    grade = graded.grade
    flags, systems = quality_flags(graded), graded.prepared.systems
    return {
        "density": grade.density,
        "probabilities": by_class(grade.probabilities),
        "raw_probabilities": by_class(grade.raw),
        "right": by_class(grade.right),
        "left": by_class(grade.left),
        "unseen_system": graded.unseen_system,
        "unlike_training": graded.unlike_training,
        "familiarity": _rounded(graded.grade.familiarity),
        "warnings": list(warnings_of(graded)),
        "missing_views": [view for view in VIEWS if view not in graded.prepared.views],
        "views": {
            view: {
                "density": graded.explanations[view].density,
                "probabilities": by_class(graded.explanations[view].probabilities),
                "pectoral_status": item.result.status,
                "pectoral_area_fraction": round(item.result.pectoral_area_fraction, _ROUNDING),
                "doubt": round(item.result.doubt, _ROUNDING),
                "acquisition_system": systems[view].key,
                "system_status": graded.systems[view].value,
                "familiarity": _rounded(graded.explanations[view].familiarity),
                "heat_map": graded.explanations[view].method,
                "texture_map": graded.explanations[view].texture is not None,
                "flags": list(flags[view]),
            }
            for view, item in graded.prepared.views.items()
        },
        "rejected_files": len(graded.prepared.rejected),
        "model_version": graded.model_version,
        "notice": NOTICE,
    }
