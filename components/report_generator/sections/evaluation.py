"""Section "Evaluation": figures of the held-out test split, by exam, class, acquisition system and view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.report_generator.artifacts import Evaluation, History, Metric, SliceMetrics
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
_VIEW_METRICS = ("accuracy", "macro_recall", "macro_precision", "quadratic_kappa")
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


def _gate_table(evaluation: Evaluation) -> Table:
    rows = tuple(
        (
            Cell(gate.name),
            Cell(gate.slice or "all"),
            Cell(gate.threshold),
            Cell(number(gate.value, 3)),
            passed_cell(gate.passed),
        )
        for gate in evaluation.gates
    )
    baseline = evaluation.baseline
    note = f"Compared with the blessed version {baseline.version}." if baseline else "No earlier blessed model."
    return Table("Gates for the blessing", ("Gate", "Slice", "Threshold", "Value", "Result"), rows, note)


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


def _slice_table(evaluation: Evaluation) -> Table | None:
    named = [s for s in evaluation.exam if s.slice]
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
    return Table("By slice, exam level", columns, rows, "Under each value its 95 % confidence interval.")


def _view_table(evaluation: Evaluation, training: Mapping[str, History]) -> Table | None:
    # The form of the thesis: a column a view, the whole exam last.
    views = dict(slices_by(evaluation.view, "view"))
    names = [v for v in VIEWS if v in views] + sorted(set(views) - set(VIEWS))
    if not names:
        return None
    overall = evaluation.overall
    histories = [training.get(v) for v in names]
    rows = [
        (Cell("n", "images; exams in the last column"), *(n_cell(views[v].n) for v in names))
        + ((n_cell(overall.n),) if overall else ()),
        (
            Cell("Eval accuracy", "at the best epoch"),
            *(Cell(value_text("accuracy", h.best.val_accuracy) if h else NOTHING) for h in histories),
        )
        + ((Cell(""),) if overall else ()),
    ]
    for metric in _VIEW_METRICS:
        cells = [metric_cell(metric, views[v].metrics.get(metric)) for v in names]
        if overall:
            cells.append(metric_cell(metric, overall.metrics.get(metric)))
        label = "Accuracy" if metric == "accuracy" else metric_label(metric)
        rows.append((Cell(f"Test {label[0].lower()}{label[1:]}"), *cells))
    rows.append(
        (Cell("Best epoch"), *(Cell(f"{h.best_epoch}" if h else NOTHING) for h in histories))
        + ((Cell(""),) if overall else ())
    )
    columns = ("", *(view_name(v) for v in names), *(("Exam (all views)",) if overall else ()))
    return Table("Single views beside the whole exam", columns, tuple(rows))


def _all_metrics(evaluation: Evaluation) -> Fold:
    tables = []
    for level, slices in (("Exam", evaluation.exam), ("View", evaluation.view)):
        for one in slices:
            rows = tuple(
                (Cell(metric_label(name)), metric_cell(name, metric), Cell(f"{metric.n:,}"))
                for name, metric in one.metrics.items()
            )
            note = SMALL_N_REMARK if one.n < SMALL_N else ""
            caption = f"{level} level, {slice_name(one.slice)}, n = {one.n:,}"
            tables.append(Table(caption, ("Metric", "Value and 95 % interval", "n"), rows, note))
    return Fold("Every metric of every slice", tuple(tables))


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
    tables = (_slice_table(evaluation), _view_table(evaluation, training))
    blocks += [t for t in tables if t]
    if evaluation.gates:
        blocks.append(_gate_table(evaluation))
    blocks.append(_all_metrics(evaluation))
    return Section(ANCHOR, TITLE, tuple(blocks))
