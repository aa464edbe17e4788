"""Section "Evaluation": figures of the held-out test split, by exam, class, acquisition system and view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.report_generator.artifacts import Evaluation, Gate, History, Metric, SliceMetrics
from components.report_generator.charts import IntervalRow, confusion_chart, interval_chart
from components.report_generator.page import (
    Block,
    Cell,
    Charts,
    Fold,
    Heading,
    Note,
    Picture,
    Section,
    Table,
    Tone,
    missing,
)
from components.report_generator.text import (
    NOTHING,
    SMALL_N,
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
from schema.features import DENSITY_CLASSES, DENSITY_MEANINGS, VIEWS

ANCHOR, TITLE = "evaluation", "Evaluation"
_VIEW_METRICS = ("accuracy", "macro_recall", "macro_precision", "quadratic_kappa", "dense_accuracy", "dense_auc")
_NOBODY = Metric(value=None, ci95=None, n=0)


def slices_by(slices: Sequence[SliceMetrics], key: str) -> list[tuple[str, SliceMetrics]]:
    """Returns the slices made by ``key`` alone, classes in order and others by name."""
    chosen = [(s.slice[key], s) for s in slices if set(s.slice) == {key}]
    return sorted(chosen, key=lambda item: class_order(item[0]))


def _class_blocks(evaluation: Evaluation, overall: SliceMetrics) -> list[Block]:
    # Within one class accuracy is the recall of that class, so of the class slices only the other is drawn.
    recall = _recall_chart(overall)
    charts = ((recall,) if recall else ()) + _slice_charts(evaluation, "density", ("dense_accuracy",))
    return [Charts(charts), _class_table(overall)] if charts else [_class_table(overall)]


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


def _gate_table(evaluation: Evaluation) -> Table:
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


def _change_table(evaluation: Evaluation) -> Table | None:
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


def _calibration_table(evaluation: Evaluation, overall: SliceMetrics) -> Table | None:
    names = ("ece", "nll")
    if not any(name in overall.metrics for name in names):
        return None
    rows = tuple(
        (
            Cell(metric_label(name)),
            metric_cell(name, overall.metrics.get(f"uncalibrated_{name}", overall.metrics.get(name))),
            metric_cell(name, overall.metrics.get(name)),
        )
        for name in names
    )
    return Table(
        "Calibration of exams on the test split",
        ("", "Mean of the views", "As served"),
        rows,
        f"Temperature {evaluation.temperature:.3f}, fitted on the eval split. The calibration error of few exams is "
        "biased upwards, as is its interval: a perfectly calibrated model shows about 0.15 on 50 exams, 0.06 on 300.",
    )


def _class_table(overall: SliceMetrics) -> Table:
    rows = []
    for density, counts in zip(DENSITY_CLASSES, overall.confusion_matrix, strict=True):
        exams = sum(counts)
        # A recall rests on the exams of its own class, however many the test split holds.
        tone: Tone = "muted" if exams < SMALL_N else ""
        recall = metric_cell(f"recall_{density}", overall.metrics.get(f"recall_{density}"))
        precision = metric_cell(f"precision_{density}", overall.metrics.get(f"precision_{density}"))
        rows.append(
            (
                Cell(density, DENSITY_MEANINGS[density]),
                n_cell(exams),
                Cell(recall.text, recall.detail, tone or recall.tone),
                precision,
            )
        )
    return Table("By density class, exam level", ("Class", "Exams", "Recall", "Precision"), tuple(rows))


def _recall_chart(overall: SliceMetrics) -> Picture | None:
    rows = []
    for density, counts in zip(DENSITY_CLASSES, overall.confusion_matrix, strict=True):
        metric = overall.metrics.get(f"recall_{density}", _NOBODY)
        rows.append(IntervalRow(f"Class {density}", metric.model_copy(update={"n": sum(counts)})))
    mean = overall.metrics.get("macro_recall", _NOBODY).value
    return interval_chart(rows, "recall", mean, "by density class")


def _slice_charts(evaluation: Evaluation, key: str, names: Sequence[str]) -> tuple[Picture, ...]:
    chosen = slices_by(evaluation.exam, key)
    if not chosen:
        return ()
    overall = evaluation.overall
    charts = []
    for name in names:
        rows = [IntervalRow(label, s.metrics.get(name, _NOBODY).model_copy(update={"n": s.n})) for label, s in chosen]
        reference = overall.metrics[name].value if overall and name in overall.metrics else None
        charts.append(interval_chart(rows, name, reference, f"by {key.replace('_', ' ')}"))
    return tuple(c for c in charts if c)


def _slice_table(slices: Sequence[SliceMetrics], caption: str) -> Table | None:
    named = [s for s in slices if s.slice]
    if not named:
        return None
    names = ("accuracy", "macro_recall", "quadratic_kappa", "dense_accuracy")
    ordered = sorted(named, key=lambda s: (sorted(s.slice), slice_name(s.slice)))
    rows = tuple(
        (
            _slice_cell(s.slice),
            n_cell(s.n),
            *(metric_cell(name, s.metrics.get(name)) for name in names),
        )
        for s in ordered
    )
    columns = ("Slice", "Exams", *(metric_label(name) for name in names))
    note = "Under each value its 95 % confidence interval."
    if any("pectoral/status" in s.slice for s in named):
        note += " By pectoral status: exams with at least one such image, so these slices overlap."
    return Table(caption, columns, rows, note)


def _view_table(evaluation: Evaluation, training: Mapping[str, History]) -> Table | None:
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
            Cell("Eval accuracy", "at the best epoch"),
            *(Cell(value_text("accuracy", h.best.val_accuracy) if h else NOTHING) for h in histories),
            *blank,
        ),
    ]
    for metric in _VIEW_METRICS:
        label = "Accuracy" if metric == "accuracy" else metric_label(metric)
        label = label if label.startswith("AUC") else f"{label[0].lower()}{label[1:]}"
        rows.append((Cell(f"Test {label}"), *(metric_cell(metric, s.metrics.get(metric)) for _, s in columns)))
    rows.append((Cell("Best epoch"), *(Cell(f"{h.best_epoch}" if h else NOTHING) for h in histories), *blank))
    return Table("Single views beside breasts and exams", ("", *(name for name, _ in columns)), tuple(rows))


def _all_metrics(evaluation: Evaluation) -> Fold:
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
            caption = f"{level} level, {slice_name(one.slice)}, n = {one.n:,}"
            tables.append(Table(caption, ("Metric", "Value and 95 % interval", "n"), rows, note))
    return Fold("Every metric by slice", tuple(tables))


def evaluation_section(evaluation: Evaluation | None, training: Mapping[str, History]) -> Section:
    """Shows exam-level figures with intervals, confusion matrix, slices, views and gates."""
    if evaluation is None:
        return Section(ANCHOR, TITLE, (missing("evaluation", "Evaluator"),))
    blocks: list[Block] = [
        Note(
            "All figures are of the test split. An exam's grade is made of its views' probabilities. "
            "Whiskers and ranges are 95\u00a0% confidence intervals. Slices of fewer than "
            f"{SMALL_N} are drawn hollow and grey and cannot be judged. "
            "The dashed line is the value of the whole test split (for recall, the mean of the classes).",
            "muted",
        )
    ]
    overall = evaluation.overall
    if overall is not None and overall.ungraded:
        blocks.append(
            Note(
                f"{overall.ungraded:,} exams of the test split have too few views for a grade: no figure has them.",
                "warn",
            )
        )
    if overall is None:
        blocks.append(Note("Missing: the evaluation holds no exam-level figures of the whole split.", "warn"))
    else:
        views = [s for s in evaluation.view if not s.slice]
        blocks.append(
            Charts(
                (
                    confusion_chart(overall, "Exams of the test split"),
                    *(confusion_chart(s, "Single views of the test split") for s in views),
                )
            )
        )
        blocks += [Heading("By density class"), *_class_blocks(evaluation, overall)]
    systems = _slice_charts(evaluation, "acquisition_system", ("accuracy", "quadratic_kappa"))
    if systems:
        blocks += [Heading("By acquisition system"), Charts(systems)]
    single = [s for s in evaluation.exam if len(s.slice) == 1]
    crossed = _slice_table([s for s in evaluation.exam if len(s.slice) > 1], "By two keys at once, exam level")
    tables = (
        _slice_table(single, "By slice, exam level"),
        _view_table(evaluation, training),
        _calibration_table(evaluation, overall) if overall else None,
        _change_table(evaluation),
        _gate_table(evaluation) if evaluation.gates else None,
    )
    blocks += [t for t in tables if t]
    if crossed:
        blocks.append(Fold("Slices by two keys at once", (crossed,)))
    blocks.append(_all_metrics(evaluation))
    return Section(ANCHOR, TITLE, tuple(blocks))
