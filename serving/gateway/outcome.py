"""Results of a graded or refused study: JSON, pictures, and DICOM objects for the PACS."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from components.common.png import encode_png
from components.dicom.bounded_stream import parse_file_header
from components.exam_model.heat_layer import heat_layer_png
from serving.client.grading import ExamRefusedError, GradedExam, exam_document
from serving.dicom_results import ResultsConfig, build_refusal, build_results
from serving.gateway.config import Sent
from serving.pictures import outline_png, station_pictures


@dataclass(frozen=True)
class StudyOutcome:
    """The results of a study.

    Attributes:
        document: The grade; ``None`` if the study was refused.
        refusal: Reason and message of a refusal; ``None`` if the study was graded.
        rejected: Rejected files.
        files: Pictures and DICOM objects, by file name.
        flags: What makes the grade less trustworthy, or caused the refusal, by name.
        familiarity: Familiarity of the exam; None if it is not known.
    """

    document: dict[str, Any] | None
    refusal: dict[str, str] | None
    rejected: tuple[dict[str, str], ...]
    files: dict[str, bytes]
    flags: tuple[str, ...] = ()
    familiarity: float | None = None


def kind_of(name: str) -> Sent | None:
    """Return the kind of a result file for destinations; ``None`` for pictures, which are not sent."""
    if not name.endswith(".dcm"):
        return None
    kinds: dict[str, Sent] = {
        "sr": "sr",
        "heatmap": "heat_maps",
        "refusal": "refusals",
        "rejection": "rejection_notes",
    }
    return kinds[name.partition("-")[0]]


def _encoded(objects: Iterable[Dataset], refusal: bool) -> dict[str, bytes]:
    files = {}
    for number, dataset in enumerate(objects):
        kind = {"SR": "refusal" if refusal else "sr", "KO": "rejection"}.get(str(dataset.Modality), "heatmap")
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
        files[f"{kind}-{number:02}.dcm"] = buffer.getvalue()
    return files


def _rejected(problem: GradedExam | ExamRefusedError) -> tuple[dict[str, str], ...]:
    rejections = problem.prepared.rejected if isinstance(problem, GradedExam) else problem.rejected
    return tuple({"file": r.file, "reason": r.reason.value, "message": r.message} for r in rejections)


def results_in(folder: Path) -> tuple[Dataset, ...]:
    """Return the headers of the DICOM results in a folder; nothing if it does not exist."""
    files = sorted(folder.glob("*.dcm")) if folder.is_dir() else []
    return tuple(parse_file_header(path) for path in files if kind_of(path.name) != "rejection_notes")


def graded_outcome(
    graded: GradedExam, images: Mapping[str, Path], results: ResultsConfig | None, earlier: Sequence[Dataset] = ()
) -> StudyOutcome:
    """Return the results of a graded study.

    Args:
        graded: The grade.
        images: Files of the study by SOP Instance UID.
        results: Configuration of the DICOM objects; ``None`` makes none.
        earlier: Headers of the sent results that these replace.
    """
    files: dict[str, bytes] = {}
    if results is not None:
        views = graded.prepared.views.items()
        headers = {view: parse_file_header(images[item.loaded.header.sop_uid]) for view, item in views}
        files |= _encoded(build_results(headers, graded, results, earlier), refusal=False)
    for view, item in graded.prepared.views.items():
        shown = station_pictures(item, graded.explanations[view], graded.recipe)
        files[f"{view}.png"] = encode_png(shown.grey)
        files |= {f"{view}.{name}.png": heat_layer_png(of, files[f"{view}.png"]) for name, of in shown.maps.items()}
        if shown.muscle.any():
            files[f"{view}.muscle.png"] = outline_png(shown.muscle)
    return StudyOutcome(exam_document(graded), None, _rejected(graded), files, graded.flags, graded.grade.familiarity)


def refused_outcome(
    refusal: ExamRefusedError,
    images: Mapping[str, Path],
    results: ResultsConfig | None,
    earlier: Sequence[Dataset] = (),
) -> StudyOutcome:
    """Return the results of a study that is not graded.

    Args:
        refusal: The reason.
        images: Files of the study by view, or by another name if they show no standard view.
        results: Configuration of the DICOM objects; ``None`` makes none.
        earlier: Headers of the sent results that this replaces.
    """
    files: dict[str, bytes] = {}
    if results is not None:
        headers = {view: parse_file_header(path) for view, path in images.items()}
        files |= _encoded(build_refusal(headers, refusal, results, earlier), refusal=True)
    told = {"reason": refusal.reason, "message": refusal.message}
    return StudyOutcome(None, told, _rejected(refusal), files, refusal.flags, refusal.familiarity)
