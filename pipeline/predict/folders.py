"""Grade folders or a manifest for ``predict``: one exam is described, several exams make a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.dicom_example_gen.plan.identity import HashKey
from pipeline.predict.archive import ArchiveOptions, predict_archive
from pipeline.predict.exam import exam_lines, predict_exam
from pipeline.predict.find import FoundExam, exams_of_manifest, find_exams
from serving.client.grader import Grader
from serving.client.grades import ModelRecipe
from serving.client.grading import (
    LOW_CONFIDENCE,
    MISSING_VIEWS,
    QUALITY_FAILED,
    SEVERAL_EXAMS,
    UNLIKE_TRAINING,
    UNSEEN_SYSTEM,
    ExamRefusedError,
)
from serving.client.preprocessing import ExamFiles

SOME_NOT_GRADED: Final = 3
_BY_POLICY: Final = (
    MISSING_VIEWS,
    QUALITY_FAILED,
    SEVERAL_EXAMS,
    UNSEEN_SYSTEM,
    UNLIKE_TRAINING,
    LOW_CONFIDENCE,
)  # the exam has files that can be used


@dataclass(frozen=True)
class PredictRun:
    """How exams are graded, and where the results go.

    Attributes:
        grader: Client of a server, or a model in this process.
        out: Folder to write to.
        options: How exams are graded.
        key: Key of the hashes that name the exams.
        say: Shows a line to the user.
    """

    grader: Grader
    out: Path
    options: ArchiveOptions
    key: HashKey
    say: Callable[[str], None]


def grade_folders(folders: Sequence[Path], run: PredictRun) -> int:
    """Grade the exams in folders.

    The result of a folder with one exam is written directly to ``out``. Several folders, several exams, or DICOM
    objects are written as an archive, see :func:`predict_archive`. So is a folder without a usable file.

    Args:
        folders: Folders with exams.
        run: How exams are graded, and where the results go.

    Returns:
        Exit code: 0 if every exam has a grade, else ``SOME_NOT_GRADED``.

    Raises:
        ExamRefusedError: The only exam has usable files, but the policy refuses it.
        ServingError: The server or the model failed.
    """
    model = run.grader.model_recipe()
    found = find_exams(folders, model.recipe, run.key.key)
    if found.strays:
        run.say(f"{len(found.strays)} files are not mammograms and belong to no exam: not used")
    return _grade(found.exams, folders[0] if len(folders) == 1 else None, model, run)


def grade_manifest(manifest: Path, run: PredictRun) -> int:
    """Grade the exams of a manifest; result and errors as for :func:`grade_folders`.

    Raises:
        ManifestError: The manifest cannot be used at all.
    """
    exams, warnings = exams_of_manifest(manifest, run.key.key)
    for warning in warnings:
        run.say(warning)
    return _grade(exams, exams[0].source if len(exams) == 1 else None, run.grader.model_recipe(), run)


def _grade(exams: Sequence[FoundExam], single: Path | ExamFiles | None, model: ModelRecipe, run: PredictRun) -> int:
    """Grade exams; ``single`` is the source of the exam if only one folder or exam was given."""
    if single is not None and len(exams) == 1 and not run.options.dicom:
        try:
            for line in exam_lines(predict_exam(single, run.grader, run.out, run.options.policy, model.recipe)):
                run.say(line)
            return 0
        except ExamRefusedError as refusal:
            if refusal.reason in _BY_POLICY:
                raise
            run.say(refusal.message)
    if not exams:
        run.say("No exam was found: give folders of DICOM files, or list the files in a manifest.")
    if run.key.is_research:
        run.say("no hash key is set: anyone who guesses the file names of an exam can find its name in the tables")
    rows = predict_archive(exams, run.grader, model, run.out, run.options, run.say)
    run.say(f"table    {run.out / 'grades.csv'}")
    run.say(f"files    {run.out / 'exams.csv'} (may name patients: keep it on this machine)")
    return 0 if rows and all(row["status"] == "graded" for row in rows) else SOME_NOT_GRADED
