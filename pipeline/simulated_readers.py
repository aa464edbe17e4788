"""The command ``readers``: a labels table with drawn readers, and what their disagreement does to a perfect model."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.common.files import write_whole
from components.common.location import location
from components.report_generator.page import Cell, Table
from components.report_generator.sections.readers import agreement_table
from components.report_generator.text import SMALL_N_NOTE, metric_cell, metric_label
from components.sources.candidates import Label
from components.sources.labels import LABEL_COLUMNS, read_labels
from components.sources.readers import BREAST_COLUMNS, majority
from components.sources.tables import READER_COLUMN, columns_of_readers, read_rows
from components.statistics.agreement import DRAWS, RatedExam, agreements
from components.statistics.confusion import CLASSES
from components.statistics.figures import density_figures
from components.statistics.scores import Scores, cluster_of
from components.statistics.simulated_readers import (
    draw_readers,
    fit_errors,
    kappa_between_readers,
    kappa_with_truth,
)
from schema.features import DENSITY_CLASSES

_TRUTH: Final = "true_density"
_SHOWN: Final = ("accuracy", "quadratic_kappa", "macro_recall", "dense_accuracy")


@dataclass(frozen=True)
class ReaderPlan:
    """What to draw.

    Attributes:
        kappa: Expected quadratic weighted kappa between two readers.
        readers: Number of readers.
        seed: Seed.
    """

    kappa: float
    readers: int
    seed: int


@dataclass(frozen=True, eq=False)
class DrawnReaders:
    """Drawn readers of the exams of a table.

    Attributes:
        labels: The exams with a label, sorted by name.
        truth: int64 [N], index of the class in the table.
        drawn: int64 [N, readers].
    """

    labels: tuple[Label, ...]
    truth: NDArray[Any]
    drawn: NDArray[Any]

    def expected(self, kappa: float) -> str:
        """Return the expected agreement in a sentence."""
        counts = np.bincount(self.truth, minlength=CLASSES)
        errors = fit_errors(kappa, counts)
        return (
            f"Expected quadratic weighted kappa: {kappa_between_readers(errors, counts):.3f} between two readers,"
            f" {kappa_with_truth(errors, counts):.3f} between a reader and the labels that they were drawn from."
        )


def _refuse_readers(columns: Mapping[str, str], path: Path) -> None:
    found = [*columns_of_readers(columns), *({READER_COLUMN} & set(columns))]
    if found:
        raise ValueError(
            f"{path}: readers are drawn over labels without readers; remove these columns. Received: {', '.join(found)}"
        )


def draw(path: Path, plan: ReaderPlan, values: Mapping[str, str] | None = None) -> tuple[DrawnReaders, bytes]:
    """Draw readers over a labels file or a manifest.

    Args:
        path: Table with the columns ``exam_id`` and ``density``, as for a run.
        plan: What to draw.
        values: Meanings of densities, instead of the built-in ones.

    Returns:
        The readers; and the table as CSV: its rows with their other columns, the readers' columns instead of the
        density, and the column ``true_density``, which a run does not read.

    Raises:
        ManifestError: The table cannot be used.
        ValueError: It has readers already, has labels of one class only, or kappa is out of range.
    """
    named, _ = read_labels(location(str(path)), values)
    labels = tuple(label for _, label in sorted(named.items()) if isinstance(label, Label))
    truth = np.array([DENSITY_CLASSES.index(label.density) for label in labels], np.int64)
    drawn = draw_readers(truth, plan.readers, plan.kappa, plan.seed)
    of_exam = {
        label.exam_id: [label.density, *(DENSITY_CLASSES[k] for k in row)]
        for label, row in zip(labels, drawn, strict=True)
    }
    added = (_TRUTH, *(f"density_reader{number}" for number in range(1, plan.readers + 1)))
    rows = [row.cells for row in read_rows(location(str(path)), LABEL_COLUMNS)]
    _refuse_readers(rows[0], path)
    kept = [name for name in rows[0] if name not in ("density", *BREAST_COLUMNS, *added)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*kept, *added))
    for cells in rows:
        densities = of_exam.get(cells["exam_id"], [""] * len(added))
        writer.writerow((*(cells[name] for name in kept), *densities))
    return DrawnReaders(labels, truth, drawn), text.getvalue().encode()


def write_table(path: Path, table: bytes) -> None:
    """Write the CSV file completely, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, table)


def pairs_table(readers: DrawnReaders) -> Table:
    """Return the agreement of the readers in pairs."""
    exams = [
        RatedExam(
            cluster_of(label.patient_id, label.exam_id),
            {str(number): DENSITY_CLASSES[k] for number, k in enumerate(row, start=1)},
        )
        for label, row in zip(readers.labels, readers.drawn, strict=True)
    ]
    return agreement_table("Agreement of the drawn readers", agreements(exams))


def perfect_model_table(readers: DrawnReaders) -> Table:
    """Return the metrics that a model without any error has, if readers judge it."""
    _, clusters = np.unique([cluster_of(one.patient_id, one.exam_id) for one in readers.labels], return_inverse=True)
    votes = [majority([DENSITY_CLASSES[k] for k in row])[0] for row in readers.drawn]
    judges = {
        "The labels": readers.truth,
        "Reader 1": readers.drawn[:, 0],
        f"Majority of {readers.drawn.shape[1]} readers": np.array([DENSITY_CLASSES.index(vote) for vote in votes]),
    }
    rows = []
    for name, judge in judges.items():
        scores = Scores(
            keys=tuple(label.exam_id for label in readers.labels),
            labels=judge,
            probabilities=np.eye(CLASSES)[readers.truth],
            raw=None,
            clusters=clusters,
            ungraded=0,
        )
        figures = density_figures(scores, DRAWS, seed=1, names=_SHOWN)
        rows.append((Cell(name), *(metric_cell(metric, figures[metric]) for metric in _SHOWN)))
    return Table(
        f"A model that always gives the label of the table, judged by others, n = {len(readers.labels):,} exams",
        ("Judged by", *map(metric_label, _SHOWN)),
        tuple(rows),
        f"What is missing to 1 is the readers' share, not the model's. {SMALL_N_NOTE}",
    )
