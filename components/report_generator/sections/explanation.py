"""Section "Explanation": where the network looks, by class and view, and where it went wrong."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from components.report_generator.artifacts import Explanation, Explanations
from components.report_generator.limits import PictureLimits
from components.report_generator.page import Block, Charts, Fold, Gallery, Note, Picture, Section, missing
from components.report_generator.pictures import overlay_path, thumbnail_uri
from components.report_generator.sections.explanation_tables import gates_table, sanity_table, scores_table
from components.report_generator.text import class_order, value_text, view_name
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


def by_system(views: Sequence[Explanation], system: str) -> tuple[Explanation, ...]:
    """Returns a right and a wrong example of each class from an acquisition system, where there are any.

    The right one has the median heat share; the wrong one is furthest from its label.
    """
    chosen: list[Explanation] = []
    for density in DENSITY_CLASSES:
        cell = [v for v in views if v.density == density and v.acquisition_system == system and v.overlay]
        right = [v for v in cell if v.predicted == density]
        if right:
            middle = statistics.median(map(_energy, right))
            chosen.append(min(right, key=lambda v: (abs(_energy(v) - middle), v.exam_id, v.view)))
        chosen += most_wrong(cell, 1)
    return tuple(chosen)


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f}\u00a0%"


def _picture(explanations: Explanations, view: Explanation, limits: PictureLimits) -> Picture:
    path = overlay_path(explanations.folder, view.overlay or "")
    right = view.predicted == view.density
    name = view_name(view.view)
    heat = value_text("energy_in_breast", view.energy_in_breast)
    verdict = f"graded {view.predicted} ({_percent(max(view.probabilities))}), label {view.density}"
    classes = zip(DENSITY_CLASSES, view.probabilities, strict=True)
    graded = " · ".join(f"{density}\u00a0{_percent(probability)}" for density, probability in classes)
    scores = [f"heat in breast {heat}"]
    if view.energy_in_pectoral is not None:
        scores.append(f"on muscle {value_text('energy_in_pectoral', view.energy_in_pectoral)}")
    if view.spearman is not None:
        scores.append(f"rank correlation {view.spearman:.2f}")
    return Picture(
        thumbnail_uri(path, limits.max_side, limits.quality),
        f"Heat map of a {name} view, {verdict}, heat inside the breast {heat}",
        f"{'✓' if right else '✗'} {name}: {verdict}",
        f"{graded}. {', '.join(scores).capitalize()}. Exam {view.exam_id[:8]}",
        "" if right else "warn",
    )


def _class_gallery(explanations: Explanations, density: str, limits: PictureLimits) -> Gallery:
    pictures = []
    for view in VIEWS:
        example = typical(explanations.views, density, view)
        name = view_name(view)
        none = Picture(None, f"No {name} view of class {density}", f"{name}: none in the test split")
        pictures.append(_picture(explanations, example, limits) if example else none)
    return Gallery(f"Class {density}: {DENSITY_MEANINGS[density]}", tuple(pictures))


def _system_galleries(explanations: Explanations, limits: PictureLimits) -> list[Gallery]:
    counts = Counter(view.acquisition_system for view in explanations.views)
    galleries = []
    for system, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: limits.explained_systems]:
        of_system = [view for view in explanations.views if view.acquisition_system == system]
        right = sum(view.predicted == view.density for view in of_system)
        pictures = tuple(_picture(explanations, view, limits) for view in by_system(of_system, system))
        note = f"{count:,} views explained, {right:,} of them graded as labelled. Wrong grades are framed."
        galleries.append(Gallery(system, pictures, note))
    return galleries


def _feature_maps(explanations: Explanations, limits: PictureLimits) -> Fold | None:
    pictures = []
    for maps in explanations.summary.feature_maps:
        path = overlay_path(explanations.folder, maps.picture)
        uri = thumbnail_uri(path, limits.sheet_width, limits.quality)
        if uri is None:
            continue
        title = f"{view_name(maps.view)}, {maps.block}"
        shown = ", ".join(map(str, maps.filters))
        pictures.append(Picture(uri, f"Feature maps of {title}: filters {shown}, a row a class", title))
    if not pictures:
        return None
    note = Note(
        "Output of the first blocks of each network: one rightly graded view a class (a row), and the filters whose "
        "maps vary most (a column), on one colour scale a filter. Dark is low.",
        "muted",
    )
    return Fold(f"Feature maps of the first blocks: {len(pictures)} pictures", (note, Charts(tuple(pictures))))


def explanation_section(explanations: Explanations | None, limits: PictureLimits) -> Section:
    """Shows where the heat lies, the gates on it, and heat maps by true class, view and acquisition system."""
    if explanations is None:
        return Section(ANCHOR, TITLE, (missing("explanations", "GradCamExplainer"),))
    summary = explanations.summary
    gate = (
        Note("✓ The explanation gate is passed: the heat lies where tissue is.", "pass")
        if summary.passed
        else Note("✗ The explanation gate is failed: too much heat lies in the wrong place.", "fail")
    )
    asked = "of the predicted class" if summary.target_class == "predicted" else f"of class {summary.target_class}"
    blocks: list[Block] = [
        gate,
        *([gates_table(summary)] if summary.gates else []),
        Note(
            f"Grad-CAM {asked} (Selvaraju 2017), of logits, at the last block: warm colours mark what spoke for the "
            "class. Each row shows rightly graded views with the median heat share of their class and view, "
            "where there are any.",
            "muted",
        ),
        scores_table(summary.groups, crossed=False),
    ]
    if any(len(group.slice) > 1 for group in summary.groups):
        blocks.append(Fold("By class and acquisition system", (scores_table(summary.groups, crossed=True),)))
    if summary.sanity:
        blocks.append(sanity_table(summary))
    blocks += [_class_gallery(explanations, density, limits) for density in DENSITY_CLASSES]
    wrong = most_wrong(explanations.views, limits.wrong)
    astray = most_astray(explanations.views, limits.astray)
    if wrong:
        note = "Furthest from the label first, then the surest."
        blocks.append(Gallery("Wrongly graded", tuple(_picture(explanations, v, limits) for v in wrong), note))
    if astray:
        pictures = tuple(_picture(explanations, v, limits) for v in astray)
        blocks.append(Gallery("Least heat inside the breast", pictures))
    galleries = [gallery for gallery in _system_galleries(explanations, limits) if gallery.pictures]
    if galleries:
        blocks.append(Fold("Right and wrong grades by class and acquisition system", tuple(galleries)))
    if maps := _feature_maps(explanations, limits):
        blocks.append(maps)
    return Section(ANCHOR, TITLE, tuple(blocks))
