"""Section "Explanation": where the networks look, by class and acquisition system, and the check by random weights."""

from __future__ import annotations

from collections.abc import Sequence

from components.report_generator.figures import IntervalGroup, IntervalRow, interval_figure
from components.report_generator.model_artifacts import NO_MEAN, ExplanationGroup, ExplanationSummary, ReadExplanations
from components.report_generator.page import (
    Block,
    CaseGroup,
    Cases,
    Cell,
    Charts,
    Fold,
    Heading,
    Intervals,
    Note,
    Section,
    Table,
    missing_note,
)
from components.report_generator.pictures import PictureLimits, overlay_path, picture
from components.report_generator.sections.heat_maps import case_of, class_cases, least_heat, view_cases
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
from schema.features import DENSITY_CLASSES, VIEWS


def _name(group: ExplanationGroup) -> Cell:
    chosen = group.slice
    if not chosen:
        return Cell("All views")
    density = f"class {chosen['density']}" if "density" in chosen else ""
    view, system = view_name(chosen.get("view", "")), chosen.get("acquisition_system", "")
    first, *rest = [part for part in (system, view, density) if part]
    return Cell(first[0].upper() + first[1:], rest[0] if rest else "acquisition system" if system else "")


def _order(group: ExplanationGroup) -> tuple[object, ...]:
    """Return a sort key: all views, then classes, views and systems, each in its own order."""
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
    """Return a table of mean scores by slice.

    Args:
        groups: Slices of the explained views.
        crossed: Show the slices by class and acquisition system, instead of all others.
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
        "Where the heat lies, by pairs of view, class and acquisition system"
        if crossed
        else "Where the heat lies, by view, class and acquisition system",
        (
            "Views",
            "n",
            "Heat in the breast",
            "Breast area",
            "Heat on the muscle",
            "Muscle area",
            "Heat where labels were",
            "Rank correlation",
        ),
        tuple(rows),
        ""
        if crossed
        else "Means over views. Below each mean: its 95 % interval, from a bootstrap over exams. Areas are shares "
        "of the image; evenly spread heat has the share of the area. Muscle and labels: only views that have them; "
        "both are removed from the input of the network unless segmentation is off. Rank correlation: Spearman "
        "correlation of heat and grey level inside the breast, without the muscle.",
    )


def gates_table(summary: ExplanationSummary) -> Table:
    """Return the gates of the explanation and their results."""
    rows = [
        (
            Cell(metric_label(gate.name)),
            Cell(gate.slice.removeprefix("acquisition_system=").removeprefix("view=").replace("_", "\u00a0")),
            Cell(gate.threshold),
            Cell(value_text("", gate.value), "{:.3f} to {:.3f}".format(*gate.ci95) if gate.ci95 else ""),
            passed_cell(gate.passed),
        )
        for gate in summary.gates
    ]
    return Table("Gates of the explanation", ("Mean of", "Slice", "Threshold", "Value", "Result"), tuple(rows))


def sanity_figure(summary: ExplanationSummary) -> Intervals:
    """Show how heat maps change when the weights of the network are randomised, stage by stage."""
    rows = [
        IntervalRow(f"{'… and ' if number else ''}{stage.stage}", {"likeness": stage})
        for number, stage in enumerate(summary.sanity)
    ]
    return interval_figure(
        "Do the heat maps depend on what the network learned? Similarity to the original map as weights are randomised",
        ("likeness",),
        (IntervalGroup("Randomised weights, beginning at the head", rows),),
        note="Mean Spearman rank correlation over the cells of the map, with its 95 % interval; n: views. 1: the"
        " map is the same without the learned weights and shows nothing of what was learned (Adebayo 2018). The classes"
        " are the predictions of the trained networks.",
    )


ANCHOR, TITLE = "explanation", "Explanation"


def _feature_maps(explanations: ReadExplanations, limits: PictureLimits) -> Fold | None:
    pictures = []
    for maps in explanations.summary.feature_maps:
        path = overlay_path(explanations.folder, maps.picture)
        title = f"{view_name(maps.view)}, {maps.block}"
        alt = f"Feature maps of {title}: filters {', '.join(map(str, maps.filters))}, one row per class"
        sheet = picture(path, limits.sheet_width, limits.quality, alt, caption=title)
        if sheet.uri:
            pictures.append(sheet)
    if not pictures:
        return None
    note = Note(
        "Output of the first blocks of each network. Rows: one correctly predicted view per class. Columns: the "
        "filters whose maps vary most, with one colour scale per filter. Dark is low.",
        "muted",
    )
    return Fold(f"Feature maps of the first blocks: {len(pictures)} pictures", (note, Charts(tuple(pictures))))


def _gallery(explanations: ReadExplanations, limits: PictureLimits) -> list[Block]:
    every = len({view.acquisition_system for view in explanations.views})
    systems = min(every, limits.explained_systems)
    chosen = f"each of the {every}" if every == systems else f"each of the {systems} largest of {every}"
    how = (
        "Input: the view as the network sees it; of MLO views also with the outline of the muscle, which is filled with"
        " mean grey. Network: its heat map; red is high, blue is low, and each image has its own scale. Of a mixed"
        " classifier also texture: the energy of the bands that its texture part measures, which is not evidence for a"
        " class; and the sum of both, half each: where either part looked. ✓: the prediction for the view is its label."
        " ✗ (framed): it is not; other views can still make the prediction for the exam correct. For each class, from"
        f" {chosen} acquisition systems: the correct view with the median share of heat in the breast, and the wrong"
        " view furthest from its label."
    )
    blocks: list[Block] = [Heading("Heat maps by class and acquisition system"), Note(how, "muted")]
    if not any(view.image for view in explanations.views):
        blocks.append(Note("Missing: no images without heat, so only the overlays are shown.", "warn"))
    blocks += [class_cases(explanations, density, limits) for density in DENSITY_CLASSES]
    least = tuple(case_of(explanations, v, limits) for v in least_heat(explanations.views, limits.least_heat))
    if least:
        blocks.append(Cases("Least heat inside the breast", (CaseGroup("", least),), "All classes. Check these first."))
    typical = tuple(view_cases(explanations, density, limits) for density in DENSITY_CLASSES)
    note = Note(
        "For each class and view: the view with the median share of heat, correctly predicted if possible.", "muted"
    )
    blocks.append(Fold("Typical heat maps by class and view", (note, *typical)))
    return blocks


def explanation_section(explanations: ReadExplanations | None, limits: PictureLimits) -> Section:
    """Show where the heat lies, its gates, and heat maps by true class and acquisition system."""
    if explanations is None:
        return Section(ANCHOR, TITLE, (missing_note("explanations", "GradCamExplainer"),))
    summary = explanations.summary
    gate = (
        Note("✓ All gates of the explanation passed.", "pass")
        if summary.passed
        else Note("✗ A gate of the explanation failed: too much heat lies in the wrong place.", "fail")
    )
    target = "the predicted class" if summary.target_class == "predicted" else f"class {summary.target_class}"
    what = (
        f"{summary.method}, of {target}, from the logits, for {summary.views:,} views of the"
        " test split. It shows where the evidence for a class lies, not whether the prediction is correct."
    )
    blocks: list[Block] = [gate, Note(what, "muted")]
    if summary.gates:
        blocks.append(gates_table(summary))
    blocks.append(scores_table(summary.groups, crossed=False))
    if any(len(group.slice) > 1 for group in summary.groups):
        blocks.append(
            Fold("By pairs of view, class and acquisition system", (scores_table(summary.groups, crossed=True),))
        )
    if summary.sanity:
        blocks.append(sanity_figure(summary))
    blocks += _gallery(explanations, limits)
    if maps := _feature_maps(explanations, limits):
        blocks.append(maps)
    return Section(ANCHOR, TITLE, tuple(blocks))
