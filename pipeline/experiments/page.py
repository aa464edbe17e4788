"""Show an outcome as one offline HTML page, in the style of a run's report."""

from __future__ import annotations

import yaml

from components.report_generator.figures import IntervalGroup, IntervalRow, interval_figure
from components.report_generator.page import Block, Cell, Code, Fold, Note, Section, Table, render_page
from components.report_generator.text import metric_cell
from components.statistics.metrics import IN_EXPERIMENT_CHART
from pipeline.config import to_yaml
from pipeline.console import duration
from pipeline.experiments.results import classes_text, conditions, slides_remark
from pipeline.experiments.run import Outcome
from pipeline.experiments.table import figure_name, lay_out, page_tables
from pipeline.experiments.thesis_figures import SLIDE_FIGURES


def _tables(outcome: Outcome) -> Section:
    experiment = outcome.experiment
    blocks: list[Block] = [*page_tables(lay_out(experiment, outcome.figures, experiment.published))]
    blocks += [Note(text, "warn") for text in slides_remark(experiment)]
    blocks += [Note(text) for text in conditions(outcome)]
    if experiment.note:
        blocks.append(Note(experiment.note))
    if outcome.differences:
        blocks += page_tables(lay_out(experiment, outcome.differences, None, differences=True))
        remark = "Differences are of the same exams, and both arms are resampled together: where the interval holds 0,"
        blocks.append(Note(f"{remark} no difference is shown."))
    return Section("table", "Table", tuple(blocks))


def _charts(outcome: Outcome) -> Section:
    """Draw each arm with its interval, related arms beside each other."""
    figures = outcome.figures
    arms = list(dict.fromkeys(arm for arm, _, _ in figures))
    parts = list(dict.fromkeys(part for _, part, _ in figures))
    names = [name for name in IN_EXPERIMENT_CHART if name in outcome.experiment.figures]

    def row(arm: str, part: str) -> IntervalRow:
        return IntervalRow(arm, {name: figures[arm, part, name] for name in names})

    groups = [IntervalGroup(part, [row(arm, part) for arm in arms]) for part in parts]
    return Section("chart", "Chart", (interval_figure(f"{outcome.experiment.title}: each arm", names, groups),))


def _view_by_view(outcome: Outcome, arm: str) -> Fold:
    """Return the slides' backup table of an arm."""
    details, networks = outcome.details, outcome.arms[arm].networks
    views = outcome.arms[arm].config.pipeline.trainer.views_by_network
    network_of = {view: networks[name] for name, of in views.items() for view in of}
    parts = [part for name, part, figure in details if name == arm and figure == SLIDE_FIGURES[0]]
    published = outcome.experiment.detail_published
    nothing = Cell("")
    rows = [
        (
            Cell("validation accuracy"),
            *(Cell(share_text(network_of[p].validation_accuracy)) if p in network_of else nothing for p in parts),
        )
    ]
    for name in SLIDE_FIGURES:
        cells = []
        for part in parts:
            cell = metric_cell(name, details[arm, part, name])
            beside = published.figures.get((arm, part, name)) if published else None
            slides = "" if beside is None else f" · slides {share_text(beside)}"
            cells.append(Cell(cell.text, cell.detail + slides, cell.tone))
        rows.append((Cell(figure_name(name)), *cells))
    epochs = (Cell(str(network_of[p].best_epoch)) if p in network_of else nothing for p in parts)
    rows.append((Cell("BV epoch"), *epochs))
    where = outcome.experiment.detail.name
    return Fold(arm, (Table(f"{arm}, {where}", ("\u00a0", *parts), tuple(rows)),))


def share_text(value: float) -> str:
    """Return a share in per cent, with one decimal as in the slides."""
    return f"{100 * value:.1f}\u00a0%"


def _arms(outcome: Outcome) -> Section:
    rows = []
    for name, arm in outcome.arms.items():
        cached = sum(node.cached for node in arm.nodes)
        rows.append(
            (
                Cell(name),
                Cell(classes_text(arm.exams["train"])),
                Cell(classes_text(arm.exams["eval"])),
                Cell(f"{arm.temperature:.2f}"),
                Cell(duration(arm.seconds), f"{cached} of {len(arm.nodes)} nodes cached"),
            )
        )
    columns = ("arm", "training exams", "eval exams", "temperature", "time of this call")
    changed = {arm.name: dict(arm.overrides) for arm in outcome.experiment.arms}
    blocks: list[Block] = [
        Table("What the arms learnt from", columns, tuple(rows)),
        Fold("What the arms change", (Code(yaml.safe_dump(changed, sort_keys=False)),)),
        Fold("Configuration that they start from", (Code(to_yaml(outcome.base.pipeline)),)),
    ]
    return Section("arms", "Arms", tuple(blocks))


def experiment_page(outcome: Outcome) -> str:
    """Return the page; equal outcomes result in equal bytes.

    Args:
        outcome: The outcome to show.

    Returns:
        HTML text, which loads no other files.
    """
    experiment = outcome.experiment
    details = tuple(_view_by_view(outcome, arm) for arm in outcome.arms)
    sections = (
        _tables(outcome),
        _charts(outcome),
        Section("views", "View by view", (Note("As the slides' backup tables."), *details)),
        _arms(outcome),
    )
    return render_page(f"Experiment: {experiment.title}", (experiment.sentence, f"Run on {outcome.date}."), sections)
