"""The command ``predict``: an exam's files in, its grade and heat maps out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from components.common.files import write_whole
from schema.features import DENSITY_CLASSES, VIEWS
from serving.client import ExamGrade, Grader, ModelNotFoundError, NotGradedError
from serving.preprocessing import PreparedExam, PreprocessingRecipe, prepare_exam

_ROUNDING: Final = 6


class NoViewError(ValueError):
    """A folder holds no usable view."""


@dataclass(frozen=True)
class GradedExam:
    """What ``predict`` gives.

    Attributes:
        grade: Density and probabilities of the exam.
        prepared: The files behind it, and those left out.
        overlays: Heat-map pictures by view.
        summary: ``exam.json``.
    """

    grade: ExamGrade
    prepared: PreparedExam
    overlays: dict[str, Path]
    summary: Path


def _by_class(probabilities: tuple[float, ...] | None) -> dict[str, float] | None:
    if probabilities is None:
        return None
    return {c: round(p, _ROUNDING) for c, p in zip(DENSITY_CLASSES, probabilities, strict=True)}


def predict_exam(folder: Path, grader: Grader, out: Path) -> GradedExam:
    """Grades the exam in a folder and writes ``exam.json`` and an overlay a view.

    Args:
        folder: Folder with the exam's files, DICOM.
        grader: Client of a server, or a model in this process.
        out: Folder to write to.

    Returns:
        The grade. Views that lack are named in ``exam.json`` and left out of the mean.

    Raises:
        NoViewError: No file can be used; the message gives the first reason.
        NotGradedError: Fewer views can be used than the model wants for a grade.
        ServingError: Server, model or exam is at fault.
    """
    try:
        recipe = PreprocessingRecipe.model_validate_json(grader.preprocessing())
    except ValidationError as error:
        raise ModelNotFoundError("The model's preprocessing recipe is of another version: push it again.") from error
    prepared = prepare_exam(folder, recipe)
    if not prepared.views:
        reason = prepared.rejected[0].message if prepared.rejected else "the folder has no file"
        raise NoViewError(f"{folder} has no mammogram that can be graded: {reason}")
    images = {view: item.png for view, item in prepared.views.items()}
    try:
        grade = grader.predict_exam(images)
    except NotGradedError as error:
        if not prepared.rejected:
            raise
        raise NotGradedError(f"{error} A file that was left out: {prepared.rejected[0].message}") from error
    explanations = grader.gradcam(images)
    for view in VIEWS:  # pictures of an exam graded before must not stay beside this one's
        for ending in ("heatmap.png", "png"):
            (out / f"{view}.{ending}").unlink(missing_ok=True)
    overlays = {}
    for view, explanation in explanations.items():
        overlays[view] = out / f"{view}.heatmap.png"
        write_whole(overlays[view], explanation.overlay_png)
        write_whole(out / f"{view}.png", images[view])
    document = {
        "density": grade.density,
        "probabilities": _by_class(grade.probabilities),
        "raw_probabilities": _by_class(grade.raw),
        "right": _by_class(grade.right),
        "left": _by_class(grade.left),
        "missing_views": [view for view in VIEWS if view not in prepared.views],
        "views": {
            view: {
                "density": explanations[view].density,
                "probabilities": _by_class(explanations[view].probabilities),
                "pectoral_status": item.result.status,
                "pectoral_area_fraction": round(item.result.pectoral_area_fraction, _ROUNDING),
                "doubt": round(item.result.doubt, _ROUNDING),
                "acquisition_system": item.loaded.header.system.key,
            }
            for view, item in prepared.views.items()
        },
        "rejected_files": len(prepared.rejected),
        "notice": "Research software. Not a medical device.",
    }
    summary = out / "exam.json"
    write_whole(summary, json.dumps(document, indent=1).encode())
    return GradedExam(grade, prepared, overlays, summary)


def describe(graded: GradedExam) -> list[str]:
    """Writes the result in lines for a person."""
    grade = graded.grade

    def row(name: str, probabilities: tuple[float, ...] | None) -> str:
        if probabilities is None:
            return f"  {name:<6} no view"
        return f"  {name:<6} " + "  ".join(f"{c} {p:.3f}" for c, p in zip(DENSITY_CLASSES, probabilities, strict=True))

    lines = [f"BI-RADS density {grade.density}", row("exam", grade.probabilities)]
    lines += [row("right", grade.right), row("left", grade.left)]
    for view, item in graded.prepared.views.items():
        muscle = "" if item.result.status == "not_applicable" else f"pectoral muscle {item.result.status}"
        lines.append(f"  {view:<6} heat map {graded.overlays[view]}  {muscle}".rstrip())
    missing = [view for view in VIEWS if view not in graded.prepared.views]
    if missing:
        lines.append(f"  missing {', '.join(missing)}: the mean is of the views that are there")
    lines += [f"  left out: {rejection.message}" for rejection in graded.prepared.rejected]
    return lines
