"""Tables of the section "Evaluation": gates, change against the blessed model, slices, views, every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.report_generator.artifacts import Evaluation, Gate, History, SliceMetrics
from components.report_generator.page import Cell, Fold, Table
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
from components.statistics.intervals import SMALL_N
from components.statistics.metrics import BY_SLICE, BY_VIEW
from schema.features import VIEWS


def slices_by(slices: Sequence[SliceMetrics], key: str) -> list[tuple[str, SliceMetrics]]:
    """Returns the slices made by ``key`` alone, classes in order and others by name."""
    chosen = [(s.slice[key], s) for s in slices if set(s.slice) == {key}]
    return sorted(chosen, key=lambda item: class_order(item[0]))


def _slice_cell(chosen: Mapping[str, str]) -> Cell:
    keys = sorted(chosen)
    return Cell(", ".join(chosen[k] for k in keys), " and ".join(k.replace("_", " ") for k in keys))


def slice_name(chosen: Mapping[str, str]) -> str:
    """Names a slice: ``all``, or its keys and values."""
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in sorted(chosen.items())) or "all"


def _gate_cell(gate: Gate) -> Cell:
    result = passed_cell(gate.passed) if gate.judged else Cell("not judged", tone="muted")
    return Cell(result.text, gate.reason, result.tone)


def _gate_value(gate: Gate) -> Cell:
    interval = f"{gate.ci95[0]:.3f} to {gate.ci95[1]:.3f}" if gate.ci95 and gate.value is not None else ""
    return Cell(number(gate.value, 3), interval)


def gate_table(evaluation: Evaluation) -> Table:
    """Conditions for the blessing, and how the model met them."""
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
    note += " A gate judges the value; the interval under it says how sure that is."
    columns = ("Gate", "Slice", "Threshold", "Value", "Exams", "Result")
    return Table("Gates for the blessing", columns, rows, note)


def change_table(evaluation: Evaluation) -> Table | None:
    """Compares with the blessed model on the same exams, by acquisition system."""
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
        f"Change against the blessed version {evaluation.baseline.version}, same exams",
        ("Slice", "Exams", *(metric_label(name) for name in names)),
        rows,
        "This model minus that one, with paired 95 % intervals; the last column is the share of exams whose dense or "
        "non-dense grade was right and is wrong now.",
    )


def slice_table(slices: Sequence[SliceMetrics], caption: str) -> Table | None:
    """Lists the main metrics of slices; the whole split is not a slice."""
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
    note = f"Under each value its 95 % confidence interval. {SMALL_N_NOTE}"
    if any("pectoral/status" in s.slice for s in named):
        note += " By pectoral status: exams with at least one such image, so these slices overlap."
    return Table(caption, columns, rows, note)


def view_table(evaluation: Evaluation, training: Mapping[str, History]) -> Table | None:
    """Puts single views beside breasts and exams."""
    # The form of the thesis: a column a view, then breasts, the whole exam last.
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
    return Table("Single views beside breasts and exams, test split", ("", *(name for name, _ in columns)), tuple(rows))


def all_metrics(evaluation: Evaluation) -> Fold:
    """Lists every metric of the slices by one key, folded."""
    # All of exam_metrics.json would be a megabyte of tables: exams by one key, breasts by side, images by view.
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
                note = f"{one.ungraded:,} without a grade, for want of views. {note}".strip()
            caption = f"{level} level, {slice_name(one.slice)}, test split, n = {one.n:,}"
            tables.append(Table(caption, ("Metric", "Value and 95 % interval", "n"), rows, note))
    return Fold("Every metric by slice", tuple(tables))
