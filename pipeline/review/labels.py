"""Exams whose labels out-of-fold models doubt most, for a second reading: a table, and a page with their images.

The page shows the images first and hides label and suggestion, because a reader who sees them tends to agree.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.files import write_whole
from components.evaluator.offline import by_exam, observations
from components.evaluator.predictions import read_predictions
from components.preprocessing.outputs import grey_picture
from components.preprocessing.preprocess import preprocess_view
from components.statistics.confident_learning import doubted_labels
from components.statistics.intervals import Figure, clustered_interval, make_figure
from components.statistics.scores import make_scores
from pipeline.review.page import DoubtedExam, labels_page
from pipeline.review.session import ReviewableRun, ReviewRunError, find_run, ingested_images
from schema.features import ACQUISITION_SYSTEM, DENSITY_CLASSES, UNKNOWN, VIEWS

TABLE: Final = "labels.csv"
PAGE: Final = "labels.html"
_LONGEST_SIDE: Final = 360  # pixels of a picture on the page


@dataclass(frozen=True)
class DoubtedLabel:
    """An exam whose label is doubted.

    Attributes:
        rank: From 1, the most doubted.
        exam_id: Keyed hash.
        label: Its density.
        suggested: The class that the models are confident of.
        margin: Probability of the label, less that of the likeliest other class.
        probabilities: Mean probabilities of the four classes.
        system: Acquisition system.
    """

    rank: int
    exam_id: str
    label: str
    suggested: str
    margin: float
    probabilities: tuple[float, ...]
    system: str


def find_doubted(tables: Sequence[Path]) -> tuple[tuple[DoubtedLabel, ...], Figure]:
    """Find the doubted labels of out-of-fold predictions.

    Args:
        tables: Tables of ``experiment repeat`` of the same exams, such as one per seed; they are averaged.

    Returns:
        The doubted labels, the most doubted first; and their share of all exams, with its interval by patient.

    Raises:
        PredictionsError: A table cannot be read.
        ValueError: The tables differ in exams or labels.
    """
    read = [read_predictions(table).rows for table in tables]
    scores = [make_scores(observations("exam", by_exam(rows).values())) for rows in read]
    for table, other in zip(tables, scores, strict=True):
        if other.keys != scores[0].keys or (other.labels != scores[0].labels).any():
            raise ValueError(f"{table}: it has other exams or labels than {tables[0]}; give tables of the same exams.")
    systems = {row.exam_id: row.slices.get(ACQUISITION_SYSTEM, UNKNOWN) for row in read[0]}
    mean = np.mean([one.probabilities for one in scores], axis=0)
    keys, labels = scores[0].keys, scores[0].labels
    doubts = doubted_labels(labels, mean)
    found = tuple(
        DoubtedLabel(
            rank,
            keys[position],
            DENSITY_CLASSES[labels[position]],
            DENSITY_CLASSES[suggested],
            float(margin),
            tuple(mean[position].tolist()),
            systems[keys[position]],
        )
        for rank, (position, suggested, margin) in enumerate(
            zip(doubts.positions, doubts.suggested, doubts.margins, strict=True), start=1
        )
    )
    hits = np.isin(np.arange(len(keys)), doubts.positions)
    share = make_figure(len(found) / len(keys), clustered_interval(hits, scores[0].clusters), len(keys))
    return found, share


def _files_of(run: ReviewableRun) -> dict[str, list[str]]:
    """Return the accepted files of each exam, from the ingest reports beside the run's examples."""
    files: dict[str, list[str]] = defaultdict(list)
    for examples in run.examples:
        report = examples.parent.parent / "ingest_report" / examples.name / "files.jsonl"
        lines = report.read_text(encoding="utf-8").splitlines() if report.is_file() else []
        for row in map(json.loads, lines):
            if row["outcome"] == "accepted":
                files[row["exam_id"]].append(row["file"])
    return files


def _table(doubted: Sequence[DoubtedLabel], files: Mapping[str, Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    probabilities = (f"p_{name}" for name in DENSITY_CLASSES)
    # A reader who hides the columns to the right of the second reading does not see the label.
    known = ("label", "suggested", "margin", *probabilities)
    writer.writerow(("rank", "exam_id", "files", ACQUISITION_SYSTEM, "second_reading", *known))
    for one in doubted:
        begin = (one.rank, one.exam_id, " | ".join(files.get(one.exam_id, ())), one.system, "")
        values = (f"{value:.6f}" for value in (one.margin, *one.probabilities))
        writer.writerow((*begin, one.label, one.suggested, *values))
    return text.getvalue().encode()


def _reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = min(1.0, _LONGEST_SIDE / max(picture.shape))
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def export_doubted(output: Path, tables: Sequence[Path], out: Path, top: int) -> tuple[int, Figure]:
    """Write the table of all doubted labels, and a page with the images of the first.

    Args:
        output: Output folder of the run, or of the experiment, that preprocessed the exams.
        tables: Out-of-fold predictions, see :func:`find_doubted`.
        out: Folder to write ``labels.csv`` and ``labels.html`` to.
        top: Number of exams on the page.

    Returns:
        Number of exams on the page, and the share of doubted labels.

    Raises:
        ReviewRunError: There is no run, or its exams are not those of the predictions.
        PredictionsError: A table cannot be read.
    """
    doubted, share = find_doubted(tables)
    run = find_run(output)
    shown = {one.exam_id: one for one in doubted[:top]}
    pictures: dict[str, dict[str, NDArray[np.uint8]]] = defaultdict(dict)
    for exam, view, pixels in ingested_images(run, lambda exam, view: exam in shown):
        result = preprocess_view(pixels, view, run.config)
        pictures[exam][view] = _reduced(grey_picture(pixels, result.breast_mask))
    if shown and not pictures:
        raise ReviewRunError(f"{output}: none of the doubted exams is in this run; give the run of the predictions.")
    exams = [
        DoubtedExam(
            rank=one.rank,
            title=f"exam {exam[:8]}",
            system=one.system,
            label=one.label,
            suggested=one.suggested,
            probabilities=dict(zip(DENSITY_CLASSES, one.probabilities, strict=True)),
            pictures={view: pictures[exam][view] for view in VIEWS if view in pictures[exam]},
        )
        for exam, one in shown.items()
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / TABLE, _table(doubted, _files_of(run)))
    write_whole(out / PAGE, labels_page(exams).encode())
    return len(exams), share
