"""What ``predict`` does with its folders: one exam is described, several give a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from components.dicom_example_gen.identity import HashKey
from pipeline.predict import describe, predict_exam
from pipeline.predict_archive.find import find_exams
from pipeline.predict_archive.run import ArchiveOptions, predict_archive
from serving.grades import Grader
from serving.grading import NO_FILE, ExamRefusedError, model_recipe_of

SOME_NOT_GRADED: Final = 3


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
    folder of an archive, see :func:`predict_archive`.

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
        ExamRefusedError: The only exam is not one to grade, or there is none.
        ServingError: Server or model is at fault.
    """
    model = model_recipe_of(grader)
    found = find_exams(folders, model.recipe, key.key)
    if len(folders) == 1 and len(found.exams) < (1 if options.dicom else 2):
        for line in describe(predict_exam(folders[0], grader, out, options.policy, model.recipe)):
            say(line)
        return 0
    if not found.exams:
        raise ExamRefusedError(NO_FILE, "The folders hold no exam: give those of the DICOM files.")
    if found.strays:
        say(f"{len(found.strays)} files are no mammogram and belong to no exam: left out")
    if key.is_research:
        say("no hash key is set: whoever guesses the names of an exam's files can tell its name in the tables")
    rows = predict_archive(found.exams, grader, model, out, options, say)
    say(f"table    {out / 'grades.csv'}")
    say(f"files    {out / 'exams.csv'} (may name patients: keep it here)")
    return 0 if rows and all(row["status"] == "graded" for row in rows) else SOME_NOT_GRADED
