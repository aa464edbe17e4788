"""Grading an archive: exams side by side, kept one by one, and taken up again where a run ended."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydicom.dataset import Dataset

from components.common.files import write_whole
from components.common.progress import Progress
from components.dicom.bounded_stream import parse_file_header
from pipeline.console import progress_text
from pipeline.predict.find import FoundExam
from pipeline.predict.table import row_of, write_files, write_grades
from serving.client.grader import Grader
from serving.client.grades import (
    ModelNotFoundError,
    ModelRecipe,
    ServerBusyError,
    ServerUnreachableError,
    ServingError,
)
from serving.client.grading import (
    ExamRefusedError,
    GradedExam,
    GradingPolicy,
    ModelChangedError,
    exam_document,
    grade_files,
)

_STOPPING: Final = (ServerUnreachableError, ServerBusyError, ModelNotFoundError, ModelChangedError)
_LINE_S: Final = 5.0
_NO_DICOM: Final = "no_dicom"


class ArchiveOptions(BaseModel):
    """How an archive is graded.

    Attributes:
        workers: Exams that are graded side by side.
        policy: Which exams are graded.
        dicom: Write the results as DICOM objects too; they name the patient.
        pauses_s: Waits before an exam is tried again on a server that is busy or silent, s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(2, ge=1, le=64)
    policy: GradingPolicy = GradingPolicy()
    dicom: bool = False
    pauses_s: tuple[float, ...] = (1.0, 3.0, 9.0)


@dataclass(frozen=True)
class _Task:
    grader: Grader
    model: ModelRecipe
    out: Path
    options: ArchiveOptions


def predict_archive(
    exams: Sequence[FoundExam],
    grader: Grader,
    model: ModelRecipe,
    out: Path,
    options: ArchiveOptions,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Grades exams and writes a folder an exam, ``grades.csv``, ``grades.json`` and ``exams.csv``.

    An exam that this model version graded or refused before, by the same recipe and policy, is taken from ``out`` if
    its files kept names, sizes and times; one that failed is tried again.

    Args:
        exams: The exams.
        grader: Client of a server, or a model in this process; threads share it.
        model: The model's recipe and version.
        out: Folder to write to; ``exams.csv`` and the DICOM objects in it identify patients.
        options: How they are graded.
        say: Takes lines for a person.

    Returns:
        The rows of ``grades.csv``.

    Raises:
        ServingError: Server or model is at fault; exams that are done are kept for the next run.
        OSError: Results cannot be written.
    """
    task = _Task(grader, model, out, options)
    out.mkdir(parents=True, exist_ok=True)
    write_files(out, exams)
    records = {exam.key: _kept(exam, task) for exam in exams}
    waiting = [exam for exam in exams if records[exam.key] is None]
    say(f"{len(exams)} exams, {len(exams) - len(waiting)} of them done before")
    started = said = time.monotonic()
    pool = ThreadPoolExecutor(options.workers)
    try:
        futures = {pool.submit(_grade, exam, task): exam for exam in waiting}
        for done, future in enumerate(as_completed(futures), 1):
            records[futures[future].key] = future.result()
            if done == len(waiting) or time.monotonic() - said > _LINE_S:
                said = time.monotonic()
                say(progress_text(Progress(done, len(waiting), "exams"), said - started))
    finally:
        pool.shutdown(cancel_futures=True)
    rows = [row_of(record) for record in records.values() if record is not None]
    write_grades(out, rows)
    counts = Counter(row["status"] for row in rows)
    say(", ".join(f"{counts[status]} {status}" for status in ("graded", "refused", "failed")))
    return rows


def _stats(exam: FoundExam) -> list[tuple[str | int, ...]]:
    """Returns what an exam's grade depends on besides the model: its files, and what a manifest says of them."""
    files = [
        (name, path.name, path.stat().st_size, path.stat().st_mtime_ns, exam.views.get(name, ""))
        for name, path in exam.files.items()
    ]
    return [*files, *((rejection.message,) for rejection in exam.rejected)]


def _fingerprint(stats: list[tuple[str | int, ...]], version: int, task: _Task) -> str:
    policy = task.options.policy.model_dump_json()
    whole = json.dumps([version, task.model.recipe.model_dump_json(), policy, task.options.dicom, stats])
    return hashlib.sha256(whole.encode()).hexdigest()


def _kept(exam: FoundExam, task: _Task) -> dict[str, Any] | None:
    """Returns the record of an earlier run; None if there is none that holds still."""
    try:
        record: dict[str, Any] = json.loads((task.out / exam.key / "exam.json").read_bytes())
        holds = record["status"] != "failed" and record["fingerprint"] == _fingerprint(
            _stats(exam), task.model.model_version, task
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if holds else None


def _grade(exam: FoundExam, task: _Task) -> dict[str, Any]:
    record: dict[str, Any] = {"exam": exam.key}
    files: dict[str, bytes] = {}
    objects: list[Dataset] = []
    try:
        stats = _stats(exam)  # before the files are read, lest a later change be missed
        graded = _patiently(exam, task)
        # Of the version that answered, which may be a later one than that of the start.
        fingerprint = _fingerprint(stats, graded.model_version, task)
        record |= {"status": "graded", **exam_document(graded), "fingerprint": fingerprint}
        for view, item in graded.prepared.views.items():
            files[f"{view}.png"] = item.png
            files[f"{view}.heatmap.png"] = graded.explanations[view].overlay_png
        if task.options.dicom:
            objects, problem = _dicom_results(exam, graded)
            record |= problem
    except ExamRefusedError as refusal:
        record |= {"status": "refused", "reason": refusal.reason, "message": refusal.message}
        version = task.model.model_version
        record |= {"rejected_files": len(refusal.rejected), "model_version": version}
        record |= {"fingerprint": _fingerprint(stats, version, task)}
        if task.options.dicom:
            objects = _dicom_refusal(exam, refusal)
    except _STOPPING:
        raise
    except Exception as error:  # one exam never ends the run
        # Texts of other errors can hold paths or values of tags.
        told = isinstance(error, ServingError)
        message = str(error) if told else f"The exam could not be graded ({type(error).__name__}): look at its files."
        record = {"exam": exam.key, "status": "failed", "reason": type(error).__name__, "message": message}
        files = {}
    _write(task.out, record, files, objects)
    return record


def _patiently(exam: FoundExam, task: _Task) -> GradedExam:
    for pause in task.options.pauses_s:
        try:
            return grade_files(exam.source, task.grader, task.model.recipe, task.options.policy)
        except (ServerUnreachableError, ServerBusyError):
            time.sleep(pause)
    return grade_files(exam.source, task.grader, task.model.recipe, task.options.policy)


def _headers(exam: FoundExam) -> Iterator[Dataset]:
    """Reads the headers of an exam's DICOM files; a file that was left out may be anything, and is passed over."""
    for path in exam.files.values():
        try:
            header = parse_file_header(path)
        except Exception:  # pydicom raises nearly anything on broken files
            continue
        yield header


def _dicom_results(exam: FoundExam, graded: GradedExam) -> tuple[list[Dataset], dict[str, str]]:
    """Makes the results, or says why these files can have none: the grade is kept either way."""
    from serving.dicom_results import ResultsConfig, ResultsError, build_results

    views = {item.loaded.header.sop_uid: view for view, item in graded.prepared.views.items()}
    sources: dict[str, Dataset] = {}
    for source in _headers(exam):
        if view := views.get(str(source.get("SOPInstanceUID", ""))):
            sources.setdefault(view, source)
    try:
        return build_results(sources, graded, ResultsConfig()), {}
    except ResultsError as error:
        return [], {"reason": _NO_DICOM, "message": str(error)}


def _dicom_refusal(exam: FoundExam, refusal: ExamRefusedError) -> list[Dataset]:
    """Makes the refusal's report; none for files that no DICOM object can refer to."""
    from serving.dicom_results import ResultsConfig, ResultsError, build_refusal, by_view

    sources = by_view(_headers(exam))
    try:
        return build_refusal(sources, refusal, ResultsConfig()) if sources else []
    except ResultsError:  # the table has the refusal all the same
        return []


def _write(out: Path, record: dict[str, Any], files: dict[str, bytes], objects: list[Dataset]) -> None:
    """Replaces the exam's folder as a whole."""
    folder, fresh = out / record["exam"], out / f".{record['exam']}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    for name, data in files.items():
        write_whole(fresh / name, data)
    if objects:
        from serving.dicom_results import write_results

        write_results(fresh / "dicom", objects)
    write_whole(fresh / "exam.json", json.dumps(record, indent=1).encode())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(fresh, folder)
