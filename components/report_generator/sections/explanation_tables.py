"""Tables of the section "Explanation": where the heat lies, the gates on it, and the check by random weights."""

from __future__ import annotations

from collections.abc import Sequence

from components.report_generator.interval_figure import IntervalGroup, IntervalRow, interval_figure
from components.report_generator.model_artifacts import NO_MEAN, ExplanationGroup, ExplanationSummary
from components.report_generator.page import Cell, Intervals, Table
from components.report_generator.text import (
    class_order,
    interval_text,
    metric_cell,
    metric_label,
    n_cell,
    passed_cell,
    value_text,
    view_name,
)
from components.statistics.intervals import SMALL_N
from schema.features import VIEWS


def _name(group: ExplanationGroup) -> Cell:
    chosen = group.slice
    if not chosen:
        return Cell("All views")
    if "acquisition_system" in chosen:
        density = chosen.get("density")
        return Cell(chosen["acquisition_system"], f"class {density}" if density else "acquisition system")
    return Cell(f"Class {chosen['density']}" if "density" in chosen else view_name(chosen["view"]))


def _order(group: ExplanationGroup) -> tuple[object, ...]:
    """All, classes, views, systems; inside of these by class, by view, by name."""
    chosen = group.slice
    density, view = chosen.get("density", ""), chosen.get("view", "")
    system = chosen.get("acquisition_system", "")
    kind = (bool(system), bool(view), bool(density))
    return kind, system, class_order(density), VIEWS.index(view) if view in VIEWS else len(VIEWS), view


def _score_cell(group: ExplanationGroup, name: str) -> Cell:
    mean = group.scores.get(name, NO_MEAN)
    if mean.value is None:
        return Cell("–", tone="muted")
    interval = interval_text(name, mean)
    counted = "" if mean.n == group.scores.get("energy_in_breast", NO_MEAN).n else f", n = {mean.n:,}"
    return Cell(value_text(name, mean.value), f"{interval}{counted}", "muted" if mean.n < SMALL_N else "")


def _area_cell(group: ExplanationGroup, name: str) -> Cell:
    mean = group.scores.get(name, NO_MEAN)
    return Cell("–" if mean.value is None else value_text(name, mean.value))


def scores_table(groups: Sequence[ExplanationGroup], *, crossed: bool) -> Table:
    """Shows mean scores by slice.

    Args:
        groups: Slices of the explained views.
        crossed: Show class by acquisition system, instead of everything else.
    """
    chosen = sorted((g for g in groups if (len(g.slice) > 1) == crossed), key=_order)
    rows = [
        (
            _name(group),
            n_cell(group.scores.get("energy_in_breast", NO_MEAN).n),
            metric_cell("energy_in_breast", group.scores.get("energy_in_breast", NO_MEAN)),
            _area_cell(group, "area_in_breast"),
            _score_cell(group, "energy_in_pectoral"),
            _area_cell(group, "area_in_pectoral"),
            _score_cell(group, "energy_in_labels"),
            _score_cell(group, "spearman"),
        )
        for group in chosen
    ]
    return Table(
        "Where the Grad-CAM heat lies, by class and acquisition system" if crossed else "Where the Grad-CAM heat lies",
        (
            "Views",
            "n",
            "Heat in the breast",
            "Its area",
            "Heat on the muscle",
            "Its area",
            "Heat where labels were",
            "Rank correlation",
        ),
        tuple(rows),
        ""
        if crossed
        else "Means over views; under each its 95 % interval, from a bootstrap over exams. Areas are shares of the "
        "picture: heat that is spread evenly has the share of the area. Muscle and labels: of the views that have "
        "them; both are gone from the picture the network sees, unless segmentation is off. Rank correlation: "
        "Spearman's, of heat and grey level inside the breast without the muscle.",
    )


def gates_table(summary: ExplanationSummary) -> Table:
    """Shows what the heat maps had to reach."""
    rows = [
        (
            Cell(metric_label(gate.name)),
            Cell(gate.slice.removeprefix("acquisition_system=")),
            Cell(gate.threshold),
            Cell(value_text("", gate.value)),
            passed_cell(gate.passed),
        )
        for gate in summary.gates
    ]
    return Table("Gates of the explanation", ("Mean of", "Slice", "Threshold", "Value", ""), tuple(rows))


def sanity_figure(summary: ExplanationSummary) -> Intervals:
    """Shows how heat maps lose their likeness as weights are made random."""
    rows = [
        IntervalRow(f"{'… and ' if number else ''}{stage.stage}", {"likeness": stage})
        for number, stage in enumerate(summary.sanity)
    ]
    return interval_figure(
        "Do the heat maps depend on what was learnt? Likeness to the true map as weights are made random",
        ("likeness",),
        (IntervalGroup("Weights made random, from the head on", rows),),
        note="Mean Spearman's rank correlation over the cells of the last block with its 95 % interval; n: views. 1:"
        " the map is the same without what was learnt, and says nothing about it (Adebayo 2018). Classes as the trained"
        " networks gave them.",
    )
