"""Grade an archive: several exams at a time, each stored when it is done, so that a later run can continue.

The results are a folder per exam, the table of grades with one row per exam, and the local list of each exam's files.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from schema.features import DENSITY_CLASSES
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
from serving.pictures import texture_pictures

COLUMNS: Final = (
    "exam", "status", "density", *(f"p_{c}" for c in DENSITY_CLASSES), "right", "left", "views", "missing", "flags",
    "unseen_system", "unlike_training", "familiarity", "warnings", "rejected_files", "reason", "message",
    "model_version",
)  # fmt: skip
_KNOWN: Final = {True: "yes", False: "no", None: "not known"}


def _likeliest(probabilities: dict[str, float] | None) -> str | None:
    return None if probabilities is None else max(probabilities, key=lambda c: probabilities[c])


def row_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the table row of an exam from its ``exam.json``; missing values are None."""
    row = dict.fromkeys(COLUMNS) | {name: record[name] for name in COLUMNS if name in record}
    if record["status"] == "graded":
        views = record["views"]
        row |= {f"p_{c}": record["probabilities"][c] for c in DENSITY_CLASSES}
        row |= {side: _likeliest(record[side]) for side in ("right", "left")}
        row |= {"views": " ".join(views), "missing": " ".join(record["missing_views"])}
        row |= {flag: _KNOWN[record[flag]] for flag in ("unseen_system", "unlike_training")}
        row["warnings"] = " ".join(record["warnings"])
        row["flags"] = "; ".join(f"{view}: {', '.join(item['flags'])}" for view, item in views.items() if item["flags"])
    return row


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def write_grades(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write ``grades.csv`` and ``grades.json``, which contain no patient names and no file names."""
    write_whole(out / "grades.csv", _csv(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))
    write_whole(out / "grades.json", json.dumps(rows, indent=1).encode())


def write_exam_files(out: Path, exams: Iterable[FoundExam]) -> None:
    """Write ``exams.csv``, the files of each exam. It must stay on this machine: paths and exams may name patients."""
    rows = [
        (exam.key, name, path, exam.name)
        for exam in exams
        for name, path in ([(name, str(path)) for name, path in exam.files.items()] or [("", "")])
    ]
    write_whole(out / "exams.csv", _csv(("exam", "file", "path", "exam_id"), rows))
    (out / "exams.csv").chmod(0o600)


_STOPPING: Final = (ServerUnreachableError, ServerBusyError, ModelNotFoundError, ModelChangedError)
_PROGRESS_S: Final = 5.0
_NO_DICOM: Final = "no_dicom"


class ArchiveOptions(BaseModel):
    """How an archive is graded.

    Attributes:
        workers: Number of exams that are graded at the same time.
        policy: Which exams are graded.
        dicom: Write the results as DICOM objects too; they contain the patient's name.
        retry_waits_s: Wait before each retry if the server is busy or unreachable, s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(2, ge=1, le=64)
    policy: GradingPolicy = GradingPolicy()
    dicom: bool = False
    retry_waits_s: tuple[float, ...] = (1.0, 3.0, 9.0)


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
    """Grade exams, and write a folder per exam, ``grades.csv``, ``grades.json`` and ``exams.csv``.

    If this model version has already graded or refused an exam with the same recipe and policy, its result in ``out``
    is reused, provided that the names, sizes and times of its files are unchanged. A failed exam is tried again.

    Args:
        exams: The exams.
        grader: Client of a server, or a model in this process; threads share it.
        model: The model's recipe and version.
        out: Folder to write to; ``exams.csv`` and the DICOM objects in it identify patients.
        options: How exams are graded.
        say: Shows a line to the user.

    Returns:
        The rows of ``grades.csv``.

    Raises:
        ServingError: The server or the model failed; finished exams are kept for the next run.
        OSError: Results cannot be written.
    """
    task = _Task(grader, model, out, options)
    out.mkdir(parents=True, exist_ok=True)
    write_exam_files(out, exams)
    records = {exam.key: _reusable_record(exam, task) for exam in exams}
    waiting = [exam for exam in exams if records[exam.key] is None]
    say(f"{len(exams)} exams, {len(exams) - len(waiting)} of them done before")
    started = shown = time.monotonic()
    pool = ThreadPoolExecutor(options.workers)
    try:
        futures = {pool.submit(_grade, exam, task): exam for exam in waiting}
        for done, future in enumerate(as_completed(futures), 1):
            records[futures[future].key] = future.result()
            if done == len(waiting) or time.monotonic() - shown > _PROGRESS_S:
                shown = time.monotonic()
                say(progress_text(Progress(done, len(waiting), "exams"), shown - started))
    finally:
        pool.shutdown(cancel_futures=True)
    rows = [row_of(record) for record in records.values() if record is not None]
    write_grades(out, rows)
    counts = Counter(row["status"] for row in rows)
    say(", ".join(f"{counts[status]} {status}" for status in ("graded", "refused", "failed")))
    return rows


def _stats(exam: FoundExam) -> list[tuple[str | int, ...]]:
    """Return what an exam's grade depends on besides the model: its files, and their rows in a manifest."""
    files = [
        (
            name,
            path.name,
            path.stat().st_size,
            path.stat().st_mtime_ns,
            exam.views.get(name, ""),
            exam.systems.get(name, ""),
        )
        for name, path in exam.files.items()
    ]
    return [*files, *((rejection.message,) for rejection in exam.rejected)]


def _fingerprint(stats: list[tuple[str | int, ...]], version: int, task: _Task) -> str:
    policy = task.options.policy.model_dump_json()
    whole = json.dumps([version, task.model.recipe.model_dump_json(), policy, task.options.dicom, stats])
    return hashlib.sha256(whole.encode()).hexdigest()


def _reusable_record(exam: FoundExam, task: _Task) -> dict[str, Any] | None:
    """Return the record of an earlier run if it is still valid, else None."""
    try:
        record: dict[str, Any] = json.loads((task.out / exam.key / "exam.json").read_bytes())
        valid = record["status"] != "failed" and record["fingerprint"] == _fingerprint(
            _stats(exam), task.model.model_version, task
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if valid else None


def _grade(exam: FoundExam, task: _Task) -> dict[str, Any]:
    record: dict[str, Any] = {"exam": exam.key}
    files: dict[str, bytes] = {}
    objects: list[Dataset] = []
    try:
        stats = _stats(exam)  # before the files are read, so that a later change is not missed
        graded = _grade_with_retries(exam, task)
        # Of the version that answered, which may be newer than the version at the start.
        fingerprint = _fingerprint(stats, graded.model_version, task)
        record |= {"status": "graded", **exam_document(graded), "fingerprint": fingerprint}
        for view, item in graded.prepared.views.items():
            files[f"{view}.png"] = item.png
            files[f"{view}.heatmap.png"] = graded.explanations[view].overlay_png
            drawn = texture_pictures(graded.explanations[view], item.png)
            files |= {f"{view}.{name}.png": picture for name, picture in drawn.items()}
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
    except Exception as error:  # one exam never stops the run
        # Messages of other errors can contain paths or values of tags.
        is_safe = isinstance(error, ServingError)
        message = (
            str(error) if is_safe else f"The exam could not be graded ({type(error).__name__}): look at its files."
        )
        record = {"exam": exam.key, "status": "failed", "reason": type(error).__name__, "message": message}
        files = {}
    _write(task.out, record, files, objects)
    return record


def _grade_with_retries(exam: FoundExam, task: _Task) -> GradedExam:
    for wait in task.options.retry_waits_s:
        try:
            return grade_files(exam.source, task.grader, task.model.recipe, task.options.policy)
        except (ServerUnreachableError, ServerBusyError):
            time.sleep(wait)
    return grade_files(exam.source, task.grader, task.model.recipe, task.options.policy)


def _headers(exam: FoundExam) -> Iterator[Dataset]:
    """Read the headers of an exam's DICOM files. A rejected file may be anything: unreadable files are skipped."""
    for path in exam.files.values():
        try:
            header = parse_file_header(path)
        except Exception:  # pydicom raises nearly anything on broken files
            continue
        yield header


def _dicom_results(exam: FoundExam, graded: GradedExam) -> tuple[list[Dataset], dict[str, str]]:
    """Build the DICOM results, or return why these files cannot have any; the grade is kept in both cases."""
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
    """Build the report of a refusal; empty if no DICOM object can refer to the files."""
    from serving.dicom_results import ResultsConfig, ResultsError, build_refusal, by_view

    sources = by_view(_headers(exam))
    try:
        return build_refusal(sources, refusal, ResultsConfig()) if sources else []
    except ResultsError:  # the table contains the refusal
        return []


def _write(out: Path, record: dict[str, Any], files: dict[str, bytes], objects: list[Dataset]) -> None:
    """Replace the exam's folder as a whole."""
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
