"""Show repeated trainings: tables for a terminal, JSON, and one offline HTML page in the style of a run's report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import yaml
from rich.table import Table as RichTable
from rich.text import Text

from components.report_generator.figures import IntervalGroup, IntervalRow, interval_figure
from components.report_generator.page import Block, Cell, Code, Fold, Note, Section, Table, render_page
from components.report_generator.text import NOTHING, interval_text, is_percent, value_text
from components.statistics.intervals import Figure
from components.statistics.metrics import IN_EXPERIMENT_CHART, short_name
from pipeline.experiments.fold_models import GREY, MODELS, TEXTURE
from pipeline.experiments.repeat import NAME, RepeatRun
from pipeline.experiments.repeat_figures import NAMES, ArmFigures, Comparison
from pipeline.experiments.repeat_result import RepeatResult, counted_seeds
from pipeline.experiments.results import classes_text

_TITLE: Final = "Cross-validation with several seeds"
_INTERVALS: Final = (
    "Each value is the mean over the seeds; every exam is graded by networks that never saw its patient. Intervals are"
    " 95 %, from a bootstrap of the patients in which all arms and seeds are resampled together. They cover the choice"
    " of exams, not that of the seed, whose spread stands beside them. Probabilities are not calibrated: a temperature"
    " changes no grade."
)
_MODELS: Final = (
    f"{TEXTURE} is the texture model and {GREY} a regression on the grey statistics of an exam. They learn from the"
    " training exams of a fold, and do not use those that choose a network's epoch."
)
_DIFFERENCES: Final = (
    "Differences are of the same exams, and both arms are resampled together: where the interval holds 0, no difference"
    " is shown."
)


def conditions(result: RepeatResult) -> list[str]:
    """Return sentences about the exams, the folds, and what is missing."""
    run = result.run
    trained = sorted({(len(folds[0].train), len(folds[0].eval)) for folds in run.divisions.values()})
    shares = " or ".join(f"{train} exams train and {choose} choose the epoch" for train, choose in trained)
    seeds = ", ".join(map(str, run.plan.seeds))
    return [
        f"{classes_text(result.comparison.exams)}, {run.plan.folds} folds by patient, seeds {seeds}. In a fold, some"
        f" {shares}, as in the splits of the configuration, and {len(run.folds[0].test)} are judged.",
        *([_MODELS] if set(MODELS) & set(run.arms) else []),
        *([f"Phantoms, not patients: seed {run.phantoms.seed}."] if run.phantoms else []),
        *(f"Not finished: {text}" for text in result.missing),
    ]


def _signed(name: str, figure: Figure) -> tuple[str, str]:
    """Return value and interval of a difference; differences of shares are in points."""
    text, interval = value_text(name, figure.value), interval_text(name, figure)
    sign = "" if text.startswith(("-", "undefined")) else "+"
    return sign + text.replace("%", "points"), interval.replace("%", "points")


def _spread_text(arm: ArmFigures, name: str) -> str:
    """Return deviation and range between seeds: ``0.012 (0.66 to 0.69)``."""
    deviation = arm.spread(name)
    if deviation is None:
        return "one seed"
    values = [value for value in arm.by_seed[name] if not math.isnan(value)]
    if not values or math.isnan(deviation):
        return "undefined"
    scale, unit = (100.0, "\u00a0%") if is_percent(name) else (1.0, "")
    digits = 1 if is_percent(name) else 3
    low, high = (f"{scale * value:.{digits}f}" for value in (min(values), max(values)))
    return f"{scale * deviation:.{digits}f}{unit} ({low} to {high}{unit})"


_Row = tuple[str, Sequence[tuple[str, str]]]


def _tables(comparison: Comparison) -> list[tuple[str, list[_Row]]]:
    """Return caption and rows of the three tables: metrics, spread between seeds, differences."""
    base = next(iter(comparison.arms))
    metrics: list[_Row] = [
        (name, [(value_text(m, arm.figures[m].value), interval_text(m, arm.figures[m])) for m in NAMES])
        for name, arm in comparison.arms.items()
    ]
    spread: list[_Row] = [
        (name, [(_spread_text(arm, metric), "") for metric in NAMES])
        for name, arm in comparison.arms.items()
        if arm.seeds > 1
    ]
    differences: list[_Row] = [
        (name, [_signed(metric, found[metric]) for metric in NAMES]) for name, found in comparison.differences.items()
    ]
    tables: list[tuple[str, list[_Row]]] = [
        ("Metrics of exams, mean over seeds", metrics),
        ("Standard deviation and range between seeds", spread),
        (f"Difference from {base}, exam by exam", differences),
    ]
    return [(caption, rows) for caption, rows in tables if rows]


def terminal_tables(result: RepeatResult) -> list[Any]:
    """Return the tables and sentences for a terminal: one line per metric, one column per arm."""
    parts: list[Any] = []
    for caption, rows in _tables(result.comparison):
        table = RichTable(title=caption, title_justify="left")
        table.add_column("")
        for name, _ in rows:
            table.add_column(name)
        for number, metric in enumerate(NAMES):
            cells = [cells[number] for _, cells in rows]
            table.add_row(short_name(metric), *(Text.assemble(v, (f"  {i}" if i else "", "dim")) for v, i in cells))
        parts.append(table)
    return [*parts, *map(Text, conditions(result)), Text(_INTERVALS)]


def repeat_page(result: RepeatResult) -> str:
    """Return the page; equal results give equal bytes."""
    run, comparison = result.run, result.comparison
    blocks: list[Block] = [Note(text, "warn" if text.startswith("Not finished") else "") for text in conditions(result)]
    columns = ("\u00a0", *(short_name(name) for name in NAMES))
    for caption, rows in _tables(comparison):
        cells = tuple((Cell(name), *(Cell(value, detail) for value, detail in found)) for name, found in rows)
        blocks.append(Table(caption, columns, cells))
    blocks += [Note(_INTERVALS, "muted"), Note(_DIFFERENCES, "muted")]
    chart = interval_figure(
        "Each arm",
        IN_EXPERIMENT_CHART,
        [IntervalGroup("", [IntervalRow(n, {m: a.figures[m] for m in NAMES}) for n, a in comparison.arms.items()])],
    )
    sections = (
        Section("table", "Tables", tuple(blocks)),
        Section("chart", "Chart", (chart,)),
        Section("trainings", "Trainings", tuple(_trainings(run))),
    )
    return render_page(f"Experiment: {_TITLE}", ("Out-of-fold predictions.", f"Run on {run.date}."), sections)


def _trainings(run: RepeatRun) -> list[Block]:
    rows = []
    for (name, seed), finished in run.finished.items():
        networks = [network for summary in finished.summaries for network in summary["networks"].values()]
        epochs = [network["best_epoch"] for network in networks]
        seconds = sum(summary["seconds"] for summary in finished.summaries)
        rows.append(
            (
                Cell(name),
                Cell(str(seed)),
                Cell(f"{len(networks)}"),
                Cell(f"{np.median(epochs):.0f}", f"{min(epochs)} to {max(epochs)}") if epochs else Cell(NOTHING),
                Cell(f"{seconds / 60:.0f}"),
            )
        )
    columns = ("Arm", "Seed", "Networks", "Best epoch", "Minutes")
    return [
        Table("Trainings of all folds", columns, tuple(rows)),
        Fold("Configurations of the arms", (Code(yaml.safe_dump(_configurations(run), sort_keys=False)),)),
    ]


def _configurations(run: RepeatRun) -> dict[str, Any]:
    found = {name: arm.config.pipeline.model_dump(mode="json") for name, arm in run.arms.items() if name not in MODELS}
    texture = {name: arm.config.pipeline.ensemble.texture for name, arm in run.arms.items() if name == TEXTURE}
    return found | {name: config.model_dump(mode="json") for name, config in texture.items()}


def _figures(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: figure.to_dict() for name, figure in figures.items()}


def repeat_document(result: RepeatResult) -> dict[str, Any]:
    """Return a result as JSON types, without paths and without names of persons."""
    run, comparison = result.run, result.comparison
    return {
        "experiment": NAME,
        "title": _TITLE,
        "date": run.date,
        "complete": run.is_complete,
        "not_finished": list(result.missing),
        "phantoms": run.phantoms.model_dump(mode="json") if run.phantoms else None,
        "exams": dict(comparison.exams),
        "folds": [
            {"fold": f.number, "train": len(f.train), "eval": len(f.eval), "test": len(f.test)} for f in run.folds
        ],
        "seeds": list(run.plan.seeds),
        "counted_seeds": list(counted_seeds(run)),
        "baseline": next(iter(comparison.arms)),
        "figures": {name: _figures(arm.figures) for name, arm in comparison.arms.items()},
        "by_seed": {
            name: {metric: [None if math.isnan(v) else round(v, 6) for v in arm.by_seed[metric]] for metric in NAMES}
            for name, arm in comparison.arms.items()
        },
        "differences": {name: _figures(found) for name, found in comparison.differences.items()},
        "trainings": [
            {
                "arm": name,
                "seed": seed,
                "predictions": f"{NAME}/{finished.table.name}" if finished.table else None,
                "folds": [dict(summary) for summary in finished.summaries],
            }
            for (name, seed), finished in run.finished.items()
        ],
        "configurations": _configurations(run),
    }
