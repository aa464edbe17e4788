"""Grade one exam for ``predict``: its files in, its grade and heat maps out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from components.common.files import write_whole
from components.exam_model.recipe import PreprocessingRecipe
from schema.features import DENSITY_CLASSES, VIEWS
from serving.client.grader import Grader
from serving.client.grades import ExamGrade
from serving.client.grading import GradingPolicy, exam_document, grade_exam, grade_files, warnings_of
from serving.client.preprocessing import ExamFiles, PreparedExam
from serving.pictures import texture_pictures


@dataclass(frozen=True)
class WrittenExam:
    """The result of ``predict`` for one exam.

    Attributes:
        grade: Density and probabilities of the exam.
        prepared: The files used, and the rejected files.
        overlays: Heat-map pictures by view.
        summary: Path of ``exam.json``.
        warnings: What limits the trust in the grade, one sentence each.
    """

    grade: ExamGrade
    prepared: PreparedExam
    overlays: dict[str, Path]
    summary: Path
    warnings: tuple[str, ...] = ()


def predict_exam(
    source: Path | ExamFiles,
    grader: Grader,
    out: Path,
    policy: GradingPolicy | None = None,
    recipe: PreprocessingRecipe | None = None,
) -> WrittenExam:
    """Grade an exam, and write ``exam.json``, and an image and an overlay per view.

    Args:
        source: Folder with the DICOM files of the exam, or the files.
        grader: Client of a server, or a model in this process.
        out: Folder to write to.
        policy: Which exams are graded; None for the default policy.
        recipe: The model's recipe; None to ask the model.

    Returns:
        The grade. ``exam.json`` names missing views; the mean is over the available views.

    Raises:
        ExamRefusedError: The exam must not be graded; the message contains the first reason.
        ServingError: The server, the model or the exam caused an error.
    """
    recipe, policy = recipe or grader.model_recipe().recipe, policy or GradingPolicy()
    if isinstance(source, ExamFiles):
        graded = grade_files(source, grader, recipe, policy)
    else:
        graded = grade_exam(source, grader, recipe, policy)
    for view in VIEWS:  # remove the pictures of an exam that was graded before
        for ending in ("heatmap.png", "texture.png", "sum.png", "png"):
            (out / f"{view}.{ending}").unlink(missing_ok=True)
    overlays = {}
    for view, explanation in graded.explanations.items():
        overlays[view] = out / f"{view}.heatmap.png"
        write_whole(overlays[view], explanation.overlay_png)
        png = graded.prepared.views[view].png
        write_whole(out / f"{view}.png", png)
        for name, picture in texture_pictures(explanation, png).items():
            write_whole(out / f"{view}.{name}.png", picture)
    summary = out / "exam.json"
    write_whole(summary, json.dumps(exam_document(graded), indent=1).encode())
    return WrittenExam(graded.grade, graded.prepared, overlays, summary, warnings_of(graded))


def exam_lines(graded: WrittenExam) -> list[str]:
    """Return the result as lines of text for the user."""
    grade = graded.grade

    def row(name: str, probabilities: tuple[float, ...] | None) -> str:
        if probabilities is None:
            return f"  {name:<6} no view"
        return f"  {name:<6} " + "  ".join(f"{c} {p:.3f}" for c, p in zip(DENSITY_CLASSES, probabilities, strict=True))

    lines = [f"BI-RADS density {grade.density}"]
    lines += [f"  WARNING {warning}" for warning in graded.warnings]
    lines += [row("exam", grade.probabilities), row("right", grade.right), row("left", grade.left)]
    for view, item in graded.prepared.views.items():
        muscle = "" if item.result.status == "not_applicable" else f"pectoral muscle {item.result.status}"
        lines.append(f"  {view:<6} heat map {graded.overlays[view]}  {muscle}".rstrip())
    missing = [view for view in VIEWS if view not in graded.prepared.views]
    if missing:
        lines.append(f"  missing {', '.join(missing)}: the mean is over the available views")
    lines += [f"  left out: {rejection.message}" for rejection in graded.prepared.rejected]
    return lines
