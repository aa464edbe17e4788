"""Section "Evaluation": metrics of the held-out test split, by exam, class, acquisition system and view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from components.report_generator.artifacts import Gate, History, ReadEvaluation, ReadSliceMetrics
from components.report_generator.figures import IntervalGroup, IntervalRow, confusion_figure, interval_figure
from components.report_generator.page import (
    Block,
    Cell,
    Confusions,
    Fold,
    Heading,
    Intervals,
    Note,
    Section,
    Table,
    missing_note,
)
from components.report_generator.sections.comparison import baseline_blocks, selective_blocks
from components.report_generator.sections.readers import model_beside_readers
from components.report_generator.text import (
    NOTHING,
    SMALL_N_NOTE,
    SMALL_N_REMARK,
    class_order,
    metric_cell,
    metric_label,
    n_cell,
    number,
    passed_cell,
    value_text,
    view_name,
)
from components.statistics.intervals import SMALL_N, Figure
from components.statistics.metrics import BY_SLICE, BY_VIEW, CHARTED
from schema.features import DENSITY_CLASSES, VIEWS


def slices_by(slices: Sequence[ReadSliceMetrics], key: str) -> list[tuple[str, ReadSliceMetrics]]:
    """Return the slices by ``key`` only: classes in their order, other values by name."""
    chosen = [(s.slice[key], s) for s in slices if set(s.slice) == {key}]
    return sorted(chosen, key=lambda item: class_order(item[0]))


def _slice_cell(chosen: Mapping[str, str]) -> Cell:
    keys = sorted(chosen)
    return Cell(", ".join(chosen[k] for k in keys), " and ".join(k.replace("_", " ") for k in keys))


def slice_name(chosen: Mapping[str, str]) -> str:
    """Name a slice: ``all``, or its keys and values."""
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in sorted(chosen.items())) or "all"


def _gate_cell(gate: Gate) -> Cell:
    if gate.verdict == "warning":
        return Cell("! missed, warns only", gate.reason, "warn")
    result = passed_cell(gate.passed) if gate.judged else Cell("not judged", tone="muted")
    missed = f"Missed by {gate.short:.3f}." if gate.short is not None and not gate.passed else ""
    return Cell(result.text, " ".join(filter(None, (missed, gate.reason))), result.tone)


def _gate_value(gate: Gate) -> Cell:
    interval = f"{gate.ci95[0]:.3f} to {gate.ci95[1]:.3f}" if gate.ci95 and gate.value is not None else ""
    return Cell(number(gate.value, 3), interval)


def gate_table(evaluation: ReadEvaluation) -> Table:
    """Return the conditions for the blessing and their results."""
    rows = tuple(
        (
            Cell(gate.name.replace("_", " ")),
            Cell(gate.slice or "all"),
            Cell(gate.threshold),
            _gate_value(gate),
            Cell(NOTHING) if gate.n is None else n_cell(gate.n),
            _gate_cell(gate),
        )
        for gate in evaluation.gates
    )
    baseline = evaluation.baseline
    note = f"Compared with the blessed version {baseline.version}." if baseline else "No earlier blessed model."
    note += (
        " A gate checks the value; the interval below the value shows its uncertainty. Where the threshold names the"
        " interval, the gate checks that: chance must not explain a gain, and must explain a loss."
    )
    columns = ("Gate", "Slice", "Threshold", "Value", "Exams", "Result")
    return Table("Gates for the blessing", columns, rows, note)


def change_table(evaluation: ReadEvaluation) -> Table | None:
    """Compare with the blessed model on the same exams, by acquisition system; None if nothing was compared."""
    compared = [s for s in evaluation.exam if s.change and set(s.slice) <= {"acquisition_system"}]
    if not compared or evaluation.baseline is None:
        return None
    names = list(compared[0].change)
    rows = tuple(
        (
            Cell(slice_name(s.slice)),
            n_cell(s.n),
            *(metric_cell(name, s.change.get(name)) for name in names),
        )
        for s in compared
    )
    return Table(
        f"Change from the blessed version {evaluation.baseline.version}, on the same exams",
        ("Slice", "Exams", *(metric_label(name) for name in names)),
        rows,
        "This model minus the blessed model, with paired 95 % intervals; recalls within the exams of their class. Dense"
        " or non-dense grades lost: share of exams whose prediction was correct in this respect and is now wrong.",
    )


def slice_table(slices: Sequence[ReadSliceMetrics], caption: str) -> Table | None:
    """Return the main metrics of the slices; None if there are only metrics of the whole split."""
    named = [s for s in slices if s.slice]
    if not named:
        return None
    ordered = sorted(named, key=lambda s: (sorted(s.slice), slice_name(s.slice)))
    rows = tuple(
        (
            _slice_cell(s.slice),
            n_cell(s.n),
            *(metric_cell(name, s.metrics.get(name)) for name in BY_SLICE),
        )
        for s in ordered
    )
    columns = ("Slice", "Exams", *(metric_label(name) for name in BY_SLICE))
    note = f"Below each value: its 95 % confidence interval. {SMALL_N_NOTE}"
    if any("pectoral/status" in s.slice for s in named):
        note += " By pectoral status: exams with at least one such image, so these slices overlap."
    return Table(caption, columns, rows, note)


def view_table(evaluation: ReadEvaluation, training: Mapping[str, History]) -> Table | None:
    """Compare single views with breasts and exams; None if there are no metrics of single views."""
    # As in the thesis: one column per view, then the breasts, then the whole exam.
    views = dict(slices_by(evaluation.view, "view"))
    names = [v for v in VIEWS if v in views] + sorted(set(views) - set(VIEWS))
    if not names:
        return None
    by_side = dict(slices_by(evaluation.breast, "laterality"))
    sides = [(name, by_side[side]) for side, name in (("R", "Right"), ("L", "Left")) if side in by_side]
    overall = [("Exam (all views)", evaluation.overall)] if evaluation.overall else []
    columns = [*((view_name(v), views[v]) for v in names), *sides, *overall]
    histories = [training.get(v) for v in names]
    blank = (Cell(""),) * (len(columns) - len(names))
    rows = [
        (Cell("n", "images, breasts, exams"), *(n_cell(s.n) for _, s in columns)),
        (
            Cell("Eval accuracy", "at the BV epoch"),
            *(Cell(value_text("accuracy", h.best.val_accuracy) if h else NOTHING) for h in histories),
            *blank,
        ),
    ]
    for metric in BY_VIEW:
        label = "Accuracy" if metric == "accuracy" else metric_label(metric)
        label = label if label.startswith("AUC") else f"{label[0].lower()}{label[1:]}"
        rows.append((Cell(f"Test {label}"), *(metric_cell(metric, s.metrics.get(metric)) for _, s in columns)))
    rows.append((Cell("BV epoch"), *(Cell(f"{h.best_epoch}" if h else NOTHING) for h in histories), *blank))
    caption = "Single views compared with breasts and exams, test split"
    return Table(caption, ("", *(name for name, _ in columns)), tuple(rows))


def all_metrics(evaluation: ReadEvaluation) -> Fold:
    """Return every metric of exams by one key, breasts by side and images by view, folded."""
    # Tables of all of exam_metrics.json would take a megabyte.
    shown = (
        ("Exam", [s for s in evaluation.exam if len(s.slice) < 2]),
        ("Breast", [s for s in evaluation.breast if set(s.slice) <= {"laterality"}]),
        ("View", [s for s in evaluation.view if set(s.slice) <= {"view"}]),
    )
    tables = []
    for level, slices in shown:
        for one in slices:
            rows = tuple(
                (Cell(metric_label(name)), metric_cell(name, metric), Cell(f"{metric.n:,}"))
                for name, metric in one.metrics.items()
            )
            note = SMALL_N_REMARK if one.n < SMALL_N else ""
            if one.ungraded:
                note = f"{one.ungraded:,} without a prediction because views are missing. {note}".strip()
            caption = f"{level} level, {slice_name(one.slice)}, test split, n = {one.n:,}"
            tables.append(Table(caption, ("Metric", "Value and 95 % interval", "n"), rows, note))
    return Fold("Every metric by slice", tuple(tables))


ANCHOR, TITLE = "evaluation", "Evaluation"
_KEYS: Final = {  # in this order; density classes have their own figure
    "acquisition_system": "Acquisition system",
    "manufacturer": "Manufacturer",
    "age_band": "Age, years",
    "acquisition_year": "Year of acquisition",
    "pectoral/status": "Pectoral muscle (exams with such an image; slices overlap)",
}
_NOBODY: Final = Figure(value=None, ci95=None, n=0)
_FEW: Final = f"too few exams to judge, n < {SMALL_N}."


def _class_figure(overall: ReadSliceMetrics) -> Intervals:
    """Show recall and precision by class; n is the number of exams of the class, not of the test split."""
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
        "Dot and whiskers: value and 95 % interval. Dashed: mean of the classes. n: exams of the class. Hollow dot:"
        f" {_FEW}",
    )


def _slice_figure(evaluation: ReadEvaluation, overall: ReadSliceMetrics | None) -> Intervals | None:
    found = {key for s in evaluation.exam if len(s.slice) == 1 for key in s.slice} - {"density"}
    if not found:
        return None
    keys = [key for key in _KEYS if key in found] + sorted(found - set(_KEYS))

    def row(label: str, s: ReadSliceMetrics) -> IntervalRow:
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
        "Dot and whiskers: value and 95 % interval, by patient. No interval: all resamples are equal, because exams are"
        f" few, not because the metric is certain. Dashed: whole test split. Hollow dot: {_FEW}",
    )


def _matrices(evaluation: ReadEvaluation, overall: ReadSliceMetrics) -> Confusions:
    found = [confusion_figure(overall, f"Test exams, n = {overall.n:,}")]
    for name, slices in (("breasts", evaluation.breast), ("views", evaluation.view)):
        found += [confusion_figure(s, f"Test {name}, n = {s.n:,}") for s in slices if not s.slice]
    return Confusions(tuple(found))


def _overall_blocks(evaluation: ReadEvaluation, overall: ReadSliceMetrics | None) -> list[Block]:
    if overall is None:
        return [Note("Missing: the evaluation has no exam-level metrics of the whole split.", "warn")]
    blocks: list[Block] = []
    if overall.ungraded:
        sentence = (
            f"{overall.ungraded:,} exams of the test split have too few views for a prediction; no metric uses them."
        )
        blocks.append(Note(sentence, "warn"))
    return [
        *blocks,
        Heading("Confusion matrices"),
        _matrices(evaluation, overall),
        Heading("By density class"),
        _class_figure(overall),
    ]


def evaluation_section(evaluation: ReadEvaluation | None, training: Mapping[str, History]) -> Section:
    """Show gates, and exam-level metrics with intervals, confusion matrices, slices and views."""
    if evaluation is None:
        return Section(ANCHOR, TITLE, (missing_note("evaluation", "Evaluator"),))
    intro = (
        "All metrics are computed on the test split. Its patients were not used to train or to choose a network. The"
        " prediction for an exam combines the probabilities of its views. Intervals are 95 %, by patient. Slices with"
        f" fewer than {SMALL_N} observations are too small to judge."
    )
    overall = evaluation.overall
    blocks: list[Block] = [Note(intro, "muted")]
    if evaluation.gates:
        blocks.append(gate_table(evaluation))
    if (changed := change_table(evaluation)) is not None:
        blocks.append(changed)
    blocks += baseline_blocks(evaluation)
    blocks += model_beside_readers(evaluation)
    blocks += _overall_blocks(evaluation, overall)
    blocks += selective_blocks(evaluation)
    if (figure := _slice_figure(evaluation, overall)) is not None:
        blocks += [Heading("By slice"), figure]
    if (views := view_table(evaluation, training)) is not None:
        blocks += [Heading("By view"), views]
    single = slice_table([s for s in evaluation.exam if len(s.slice) == 1], "By slice, exams of the test split")
    crossed = slice_table([s for s in evaluation.exam if len(s.slice) > 1], "By two keys, exams of the test split")
    if single:
        blocks.append(Fold("Four metrics by slice", (single,)))
    if crossed:
        blocks.append(Fold("Slices by two keys", (crossed,)))
    blocks.append(all_metrics(evaluation))
    return Section(ANCHOR, TITLE, tuple(blocks))
