"""The command ``predict`` for one exam: its files in, its grade and heat maps out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from components.common.files import write_whole
from components.exam_model.recipe import PreprocessingRecipe
from schema.features import DENSITY_CLASSES, VIEWS
from serving.client.grader import Grader
from serving.client.grades import ExamGrade
from serving.client.grading import GradingPolicy, exam_document, grade_exam, grade_files
from serving.client.preprocessing import ExamFiles, PreparedExam


@dataclass(frozen=True)
class WrittenExam:
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


def predict_exam(
    source: Path | ExamFiles,
    grader: Grader,
    out: Path,
    policy: GradingPolicy | None = None,
    recipe: PreprocessingRecipe | None = None,
) -> WrittenExam:
    """Grades an exam and writes ``exam.json``, an image and an overlay a view.

    Args:
        source: Folder with the exam's files, DICOM, or the files.
        grader: Client of a server, or a model in this process.
        out: Folder to write to.
        policy: Which exams are graded; None leaves it to the model.
        recipe: The model's recipe; None asks the model.

    Returns:
        The grade. Views that lack are named in ``exam.json`` and left out of the mean.

    Raises:
        ExamRefusedError: The exam is not one to grade; the message gives the first reason.
        ServingError: Server, model or exam is at fault.
    """
    recipe, policy = recipe or grader.model_recipe().recipe, policy or GradingPolicy()
    if isinstance(source, ExamFiles):
        graded = grade_files(source, grader, recipe, policy)
    else:
        graded = grade_exam(source, grader, recipe, policy)
    for view in VIEWS:  # pictures of an exam graded before must not stay beside this one's
        for ending in ("heatmap.png", "png"):
            (out / f"{view}.{ending}").unlink(missing_ok=True)
    overlays = {}
    for view, explanation in graded.explanations.items():
        overlays[view] = out / f"{view}.heatmap.png"
        write_whole(overlays[view], explanation.overlay_png)
        write_whole(out / f"{view}.png", graded.prepared.views[view].png)
    summary = out / "exam.json"
    write_whole(summary, json.dumps(exam_document(graded), indent=1).encode())
    return WrittenExam(graded.grade, graded.prepared, overlays, summary)


def describe(graded: WrittenExam) -> list[str]:
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
