"""What ``predict`` does with its folders or its manifest: one exam is described, several give a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from components.dicom_example_gen.plan.identity import HashKey
from pipeline.predict.archive import ArchiveOptions, predict_archive
from pipeline.predict.exam import describe, predict_exam
from pipeline.predict.find import FoundExam, find_exams
from pipeline.predict.manifest import exams_of_manifest
from serving.client.grader import Grader
from serving.client.grades import ModelRecipe
from serving.client.grading import (
    MISSING_VIEWS,
    QUALITY_FAILED,
    SEVERAL_EXAMS,
    ExamRefusedError,
)
from serving.client.preprocessing import ExamFiles

SOME_NOT_GRADED: Final = 3
_BY_POLICY: Final = (MISSING_VIEWS, QUALITY_FAILED, SEVERAL_EXAMS)  # the exam has files that can be used


def grade_folders(
    folders: Sequence[Path],
    grader: Grader,
    out: Path,
    options: ArchiveOptions,
    key: HashKey,
    say: Callable[[str], None],
) -> int:
    """Grades the exams of folders.

    A folder with one exam is written straight to ``out``; several folders, several exams, or DICOM objects make the
    folder of an archive, see :func:`predict_archive`. So does a folder without one usable file.

    Args:
        folders: Folders with exams.
        grader: Client of a server, or a model in this process.
        out: Folder to write to.
        options: How they are graded.
        key: Of the keyed hashes that exams are named by.
        say: Takes lines for a person.

    Returns:
        Exit code: 0 where every exam has a grade, ``SOME_NOT_GRADED`` else.

    Raises:
        ExamRefusedError: The only exam has usable files, and is not one to grade.
        ServingError: Server or model is at fault.
    """
    model = grader.model_recipe()
    found = find_exams(folders, model.recipe, key.key)
    if found.strays:
        say(f"{len(found.strays)} files are no mammogram and belong to no exam: left out")
    only = folders[0] if len(folders) == 1 else None
    return _grade(found.exams, only, grader, model, out, options, key, say)


def grade_manifest(
    manifest: Path,
    grader: Grader,
    out: Path,
    options: ArchiveOptions,
    key: HashKey,
    say: Callable[[str], None],
) -> int:
    """Grades the exams that a manifest names; arguments, result and errors as :func:`grade_folders`.

    Raises:
        ManifestError: The manifest cannot be used at all.
    """
    exams, sentences = exams_of_manifest(manifest, key.key)
    for sentence in sentences:
        say(sentence)
    only = exams[0].source if len(exams) == 1 else None
    return _grade(exams, only, grader, grader.model_recipe(), out, options, key, say)


def _grade(
    exams: Sequence[FoundExam],
    only: Path | ExamFiles | None,
    grader: Grader,
    model: ModelRecipe,
    out: Path,
    options: ArchiveOptions,
    key: HashKey,
    say: Callable[[str], None],
) -> int:
    """Grades exams; ``only`` is where they lie, if one folder or one exam was given."""
    if only is not None and len(exams) == 1 and not options.dicom:
        try:
            for line in describe(predict_exam(only, grader, out, options.policy, model.recipe)):
                say(line)
            return 0
        except ExamRefusedError as refusal:
            if refusal.reason in _BY_POLICY:
                raise
            say(refusal.message)
    if not exams:
        say("No exam was found: give folders of DICOM files, or name the files in a manifest.")
    if key.is_research:
        say("no hash key is set: whoever guesses the names of an exam's files can tell its name in the tables")
    rows = predict_archive(exams, grader, model, out, options, say)
    say(f"table    {out / 'grades.csv'}")
    say(f"files    {out / 'exams.csv'} (may name patients: keep it here)")
    return 0 if rows and all(row["status"] == "graded" for row in rows) else SOME_NOT_GRADED
