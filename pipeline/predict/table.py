"""The table of an archive's grades, one row an exam, and the local list of which files an exam has."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from components.common.files import write_whole
from pipeline.predict.find import FoundExam
from schema.features import DENSITY_CLASSES

COLUMNS: Final = (
    "exam", "status", "density", *(f"p_{c}" for c in DENSITY_CLASSES), "right", "left", "views", "missing", "flags",
    "rejected_files", "reason", "message", "model_version",
)  # fmt: skip


def _likeliest(probabilities: dict[str, float] | None) -> str | None:
    return None if probabilities is None else max(probabilities, key=lambda c: probabilities[c])


def row_of(record: dict[str, Any]) -> dict[str, Any]:
    """Makes the row of an exam from its ``exam.json``; what it lacks is None."""
    row = dict.fromkeys(COLUMNS) | {name: record[name] for name in COLUMNS if name in record}
    if record["status"] == "graded":
        views = record["views"]
        row |= {f"p_{c}": record["probabilities"][c] for c in DENSITY_CLASSES}
        row |= {side: _likeliest(record[side]) for side in ("right", "left")}
        row |= {"views": " ".join(views), "missing": " ".join(record["missing_views"])}
        row["flags"] = "; ".join(f"{view}: {', '.join(item['flags'])}" for view, item in views.items() if item["flags"])
    return row


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def write_grades(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes ``grades.csv`` and ``grades.json``, which name no patient and no file."""
    write_whole(out / "grades.csv", _csv(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))
    write_whole(out / "grades.json", json.dumps(rows, indent=1).encode())


def write_files(out: Path, exams: Iterable[FoundExam]) -> None:
    """Writes ``exams.csv``: the files of each exam. It is for this machine only: paths and exams may name patients."""
    rows = [
        (exam.key, name, path, exam.name)
        for exam in exams
        for name, path in ([(name, str(path)) for name, path in exam.files.items()] or [("", "")])
    ]
    write_whole(out / "exams.csv", _csv(("exam", "file", "path", "exam_id"), rows))
    (out / "exams.csv").chmod(0o600)
