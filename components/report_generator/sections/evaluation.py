"""Section "Evaluation": figures of the held-out test split, by exam, class, acquisition system and view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from components.report_generator.artifacts import Evaluation, History, SliceMetrics
from components.report_generator.confusion_figure import confusion_figure
from components.report_generator.interval_figure import IntervalGroup, IntervalRow, interval_figure
from components.report_generator.page import Block, Confusions, Fold, Heading, Intervals, Note, Section, missing
from components.report_generator.sections.evaluation_tables import (
    all_metrics,
    change_table,
    gate_table,
    slice_table,
    slices_by,
    view_table,
)
from components.statistics.intervals import SMALL_N, Figure
from components.statistics.metrics import CHARTED
from schema.features import DENSITY_CLASSES

ANCHOR, TITLE = "evaluation", "Evaluation"
_KEYS: Final = {  # in this order; classes have a figure of their own
    "acquisition_system": "Acquisition system",
    "manufacturer": "Manufacturer",
    "age_band": "Age, years",
    "acquisition_year": "Year of acquisition",
    "pectoral/status": "Pectoral muscle (exams with such an image; they overlap)",
}
_NOBODY: Final = Figure(value=None, ci95=None, n=0)
_FEW: Final = f"too few, n < {SMALL_N}, no basis for a judgement."


def _class_figure(overall: SliceMetrics) -> Intervals:
    """A class's figures rest on the exams of that class, however many the test split holds."""
    rows = []
    for density, counts in zip(DENSITY_CLASSES, overall.confusion_matrix, strict=True):
        of_class = {"n": sum(counts)}
        metrics = {
            name: overall.metrics.get(f"{name}_{density}", _NOBODY).model_copy(update=of_class)
            for name in ("recall", "precision")
        }
        rows.append(IntervalRow(f"Class {density}", metrics))
    means = {name: overall.metrics.get(f"macro_{name}", _NOBODY).value for name in ("recall", "precision")}
    return interval_figure(
        "Recall and precision by density class, exams of the test split",
        ("recall", "precision"),
        (IntervalGroup("", rows),),
        means,
        "Dot and whiskers: value and 95 % interval. Dashed: mean of the classes. n: exams of the class. Hollow:"
        f" {_FEW}",
    )


def _slice_figure(evaluation: Evaluation, overall: SliceMetrics | None) -> Intervals | None:
    found = {key for s in evaluation.exam if len(s.slice) == 1 for key in s.slice} - {"density"}
    if not found:
        return None
    keys = [key for key in _KEYS if key in found] + sorted(found - set(_KEYS))

    def row(label: str, s: SliceMetrics) -> IntervalRow:
        return IntervalRow(label, {n: s.metrics.get(n, _NOBODY).model_copy(update={"n": s.n}) for n in CHARTED})

    groups = [
        IntervalGroup(
            _KEYS.get(key, key.replace("_", " ").capitalize()), [row(*one) for one in slices_by(evaluation.exam, key)]
        )
        for key in keys
    ]
    whole = [IntervalGroup("", [row("Whole test split", overall)])] if overall else []
    references: dict[str, float | None] = (
        {n: overall.metrics[n].value for n in CHARTED if n in overall.metrics} if overall else {}
    )
    return interval_figure(
        "Accuracy and quadratic weighted kappa by slice, exams of the test split",
        CHARTED,
        [*whole, *groups],
        references,
        "Dot and whiskers: value and 95 % interval, by patient. No interval: all resamples agree, which says that exams"
        f" are few, not that the figure is sure. Dashed: whole test split. Hollow: {_FEW}",
    )


def _matrices(evaluation: Evaluation, overall: SliceMetrics) -> Confusions:
    found = [confusion_figure(overall, f"Test exams, n = {overall.n:,}")]
    for name, slices in (("breasts", evaluation.breast), ("views", evaluation.view)):
        found += [confusion_figure(s, f"Test {name}, n = {s.n:,}") for s in slices if not s.slice]
    return Confusions(tuple(found))


def _overall_blocks(evaluation: Evaluation, overall: SliceMetrics | None) -> list[Block]:
    if overall is None:
        return [Note("Missing: the evaluation holds no exam-level figures of the whole split.", "warn")]
    blocks: list[Block] = []
    if overall.ungraded:
        sentence = f"{overall.ungraded:,} exams of the test split have too few views for a grade: no figure has them."
        blocks.append(Note(sentence, "warn"))
    return [
        *blocks,
        Heading("Confusion matrices"),
        _matrices(evaluation, overall),
        Heading("By density class"),
        _class_figure(overall),
    ]


def evaluation_section(evaluation: Evaluation | None, training: Mapping[str, History]) -> Section:
    """Shows exam-level figures with intervals, confusion matrix, slices, views and gates."""
    if evaluation is None:
        return Section(ANCHOR, TITLE, (missing("evaluation", "Evaluator"),))
    intro = (
        "All figures are of the test split, whose patients no network was trained or chosen on. An exam's grade is made"
        f" of its views' probabilities. Intervals are 95 %, by patient; slices of fewer than {SMALL_N} are no basis for"
        " a judgement."
    )
    overall = evaluation.overall
    blocks: list[Block] = [Note(intro, "muted")]
    if evaluation.gates:
        blocks.append(gate_table(evaluation))
    if (changed := change_table(evaluation)) is not None:
        blocks.append(changed)
    blocks += _overall_blocks(evaluation, overall)
    if (figure := _slice_figure(evaluation, overall)) is not None:
        blocks += [Heading("By slice"), figure]
    if (views := view_table(evaluation, training)) is not None:
        blocks += [Heading("By view"), views]
    single = slice_table([s for s in evaluation.exam if len(s.slice) == 1], "By slice, exams of the test split")
    crossed = slice_table([s for s in evaluation.exam if len(s.slice) > 1], "By two keys, exams of the test split")
    if single:
        blocks.append(Fold("Four metrics by slice", (single,)))
    if crossed:
        blocks.append(Fold("Slices by two keys at once", (crossed,)))
    blocks.append(all_metrics(evaluation))
    return Section(ANCHOR, TITLE, tuple(blocks))
