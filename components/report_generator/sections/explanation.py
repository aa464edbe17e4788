"""Section "Explanation": where the network looks, by class and view, and where it went wrong."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from components.report_generator.artifacts import Explanation, Explanations
from components.report_generator.limits import PictureLimits
from components.report_generator.page import Block, Cell, Gallery, Note, Picture, Section, Table, missing
from components.report_generator.pictures import overlay_path, thumbnail_uri
from components.report_generator.text import class_order, metric_cell, n_cell, value_text, view_name
from schema.features import DENSITY_CLASSES, DENSITY_MEANINGS, VIEWS

ANCHOR, TITLE = "explanation", "Explanation"


def _energy(view: Explanation) -> float:
    return view.energy_in_breast or 0.0


def typical(views: Sequence[Explanation], density: str, view: str) -> Explanation | None:
    """Returns the example of a class and view: a right one with the median heat share, else a wrong one.

    The median keeps the choice from being the prettiest picture.
    """
    cell = [v for v in views if v.density == density and v.view == view and v.overlay]
    cell = [v for v in cell if v.predicted == density] or cell
    if not cell:
        return None
    middle = statistics.median(_energy(v) for v in cell)
    return min(cell, key=lambda v: (abs(_energy(v) - middle), v.exam_id))


def most_wrong(views: Sequence[Explanation], count: int) -> tuple[Explanation, ...]:
    """Returns wrongly graded views, furthest from the label first, then the surest."""

    def key(view: Explanation) -> tuple[int, float, str, str]:
        distance = abs(class_order(view.density)[0] - class_order(view.predicted)[0])
        return -distance, -max(view.probabilities), view.exam_id, view.view

    return tuple(sorted((v for v in views if v.overlay and v.predicted != v.density), key=key)[:count])


def most_astray(views: Sequence[Explanation], count: int) -> tuple[Explanation, ...]:
    """Returns the views with the least share of heat inside the breast."""
    drawn = (v for v in views if v.overlay and v.energy_in_breast is not None)
    return tuple(sorted(drawn, key=lambda v: (_energy(v), v.exam_id, v.view))[:count])


def _picture(explanations: Explanations, view: Explanation, limits: PictureLimits) -> Picture:
    path = overlay_path(explanations.folder, view.overlay or "")
    right = view.predicted == view.density
    name = view_name(view.view)
    sure = f"{100 * max(view.probabilities):.0f} %"
    heat = value_text("energy_in_breast", view.energy_in_breast)
    verdict = f"graded {view.predicted} ({sure}), label {view.density}"
    return Picture(
        thumbnail_uri(path, limits.max_side, limits.quality),
        f"Heat map of a {name} view, {verdict}, heat inside the breast {heat}",
        f"{'✓' if right else '✗'} {name}: {verdict}",
        f"Heat in breast {heat}. Exam {view.exam_id[:8]}",
        "" if right else "warn",
    )


def _table(explanations: Explanations) -> Table:
    summary = explanations.summary
    groups = [("All views", summary.energy_in_breast)]
    groups += [(f"Class {c}", summary.by_class[c]) for c in sorted(summary.by_class, key=class_order)]
    return Table(
        "Share of the Grad-CAM heat that lies inside the breast",
        ("Views", "n", "Mean share"),
        tuple((Cell(name), n_cell(mean.n), metric_cell("energy_in_breast", mean.as_metric())) for name, mean in groups),
        "Under each value its 95 % confidence interval. 100 %: the network looks at nothing but the breast.",
    )


def _class_gallery(explanations: Explanations, density: str, limits: PictureLimits) -> Gallery:
    pictures = []
    for view in VIEWS:
        example = typical(explanations.views, density, view)
        name = view_name(view)
        none = Picture(None, f"No {name} view of class {density}", f"{name}: none in the test split")
        pictures.append(_picture(explanations, example, limits) if example else none)
    return Gallery(f"Class {density}: {DENSITY_MEANINGS[density]}", tuple(pictures))


def explanation_section(explanations: Explanations | None, limits: PictureLimits) -> Section:
    """Shows the heat's share inside the breast, and heat maps by true class and view."""
    if explanations is None:
        return Section(ANCHOR, TITLE, (missing("explanations", "GradCamExplainer"),))
    gate = (
        Note("✓ The explanation gate is passed: the heat lies where tissue is.", "pass")
        if explanations.summary.passed
        else Note("✗ The explanation gate is failed: too much heat lies outside the breast.", "fail")
    )
    blocks: list[Block] = [
        gate,
        Note(
            "Grad-CAM of the predicted class (Selvaraju 2017): warm colours mark what spoke for the class "
            "given. Each row shows rightly graded views with the median heat share of their class and view, "
            "where there are any.",
            "muted",
        ),
        _table(explanations),
        *(_class_gallery(explanations, density, limits) for density in DENSITY_CLASSES),
    ]
    wrong = most_wrong(explanations.views, limits.wrong)
    astray = most_astray(explanations.views, limits.astray)
    if wrong:
        note = "Furthest from the label first, then the surest."
        blocks.append(Gallery("Wrongly graded", tuple(_picture(explanations, v, limits) for v in wrong), note))
    if astray:
        pictures = tuple(_picture(explanations, v, limits) for v in astray)
        blocks.append(Gallery("Least heat inside the breast", pictures))
    return Section(ANCHOR, TITLE, tuple(blocks))
