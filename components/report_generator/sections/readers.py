"""Tables of exams with several readers: how far the readers agree, with each other and with the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from components.report_generator.artifacts import IngestSummary, ReadEvaluation, ReadExam
from components.report_generator.page import Block, Cell, Heading, Note, Table
from components.report_generator.text import SMALL_N_NOTE, metric_cell, metric_label, n_cell, value_text
from components.sources.readers import majority
from components.statistics.agreement import MODEL, Agreement, RatedExam, agreements
from components.statistics.scores import cluster_of
from schema.features import SPLITS

_METRICS: Final = ("exact_agreement", "kappa", "quadratic_kappa")
_NOTE: Final = (
    "Intervals are 95 %, by patient. Kappa is 0 if two raters agree as often as by chance, and undefined if one of them"
    f" chose one class only. {SMALL_N_NOTE}"
)


def _name(rater: str) -> str:
    return "Model" if rater == MODEL else f"Reader {rater}"


def agreement_table(caption: str, pairs: Sequence[Agreement]) -> Table:
    """Return the agreement of each pair of raters."""
    return Table(
        caption,
        ("Pair", "Exams", *map(metric_label, _METRICS)),
        tuple(
            (
                Cell(f"{_name(pair.first)} and {_name(pair.second)[0].lower()}{_name(pair.second)[1:]}"),
                n_cell(pair.exact_agreement.n),
                *(metric_cell(name, getattr(pair, name)) for name in _METRICS),
            )
            for pair in pairs
        ),
        _NOTE,
    )


def _split_table(exams: Sequence[ReadExam]) -> Table:
    rows = []
    for split in (*SPLITS, "all"):
        found = [list(exam.readings.values()) for exam in exams if split in (exam.split, "all")]
        differ = [grades for grades in found if len(set(grades)) > 1]
        tied = sum(majority(grades)[1] for grades in differ)
        counts = (len(found), len(found) - len(differ), len(differ), tied)
        rows.append((Cell(split), *(Cell(f"{count:,}") for count in counts)))
    return Table(
        "Kept exams with several readers, by split",
        ("Split", "Exams", "Readers agree", "Readers differ", "Of these, no majority"),
        tuple(rows),
        "pipeline.selection.labels decides what is learned from exams whose readers differ. With majority, an exam has"
        " the density that most readers chose, or the densest of these if there are several, or the adjudicated one.",
    )


def reader_tables(ingest: IngestSummary) -> tuple[Table, ...]:
    """Return the agreement of the readers, and their exams by split; nothing if no exam has several readers."""
    if not ingest.readings:
        return ()
    rated = [RatedExam(cluster_of(exam.patient_id, exam.exam_id), exam.readings) for exam in ingest.readings]
    pairs = agreement_table("Agreement of readers, kept exams that both read", agreements(rated))
    return pairs, _split_table(ingest.readings)


def _range(pairs: Sequence[Agreement]) -> str:
    name = "quadratic_kappa"
    values = sorted(pair.quadratic_kappa.value for pair in pairs if pair.quadratic_kappa.value is not None)
    ends = list(dict.fromkeys(value_text(name, value) for value in (values[:1] + values[-1:])))
    return " to ".join(ends) or "undefined"


def model_beside_readers(evaluation: ReadEvaluation) -> list[Block]:
    """Show the model's agreement with each reader beside that of the readers; nothing without several readers."""
    of_model = [pair for pair in evaluation.readers if MODEL in (pair.first, pair.second)]
    others = [pair for pair in evaluation.readers if pair not in of_model]
    if not of_model:
        return []
    sentence = (
        f"Quadratic weighted kappa: {_range(of_model)} between the model and a reader, {_range(others)} between two"
        " readers. A model cannot be shown to be better than the readers who made its labels."
    )
    return [
        Heading("Beside the readers"),
        Note(sentence, "muted"),
        agreement_table("Agreement of model and readers, exams of the test split", [*of_model, *others]),
    ]
