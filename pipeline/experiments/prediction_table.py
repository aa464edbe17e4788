"""Write predictions of single images as the table that ``breast-density evaluate`` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from components.common.files import write_whole
from components.evaluator.predictions import ViewPrediction
from schema import features as f

_HEADER: Final = ("exam_id", "patient_id", "view", "label", *(f"p_{name}" for name in f.DENSITY_CLASSES))


def write_predictions(path: Path, rows: Iterable[ViewPrediction]) -> None:
    """Write predictions as CSV; the file is written completely or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_HEADER, f.ACQUISITION_SYSTEM])
    for row in rows:
        values = [f"{value:.8f}" for value in row.probabilities]
        names = (row.exam_id, row.patient_id, row.view, row.label)
        writer.writerow([*names, *values, row.slices[f.ACQUISITION_SYSTEM]])
    write_whole(path, text.getvalue().encode())
