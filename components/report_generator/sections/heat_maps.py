"""Heat maps of explained views: the choice of the views, and the text below each."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final

from components.report_generator.figures import segments
from components.report_generator.model_artifacts import Explanation, ReadExplanations
from components.report_generator.page import Case, CaseGroup, Cases, Picture
from components.report_generator.pictures import PictureLimits, overlay_path, picture
from components.report_generator.text import class_order, value_text, view_name
from schema.features import DENSITY_CLASSES, DENSITY_MEANINGS, VIEWS


def _energy(view: Explanation) -> float:
    return view.energy_in_breast or 0.0


def _median_first(cell: Sequence[Explanation]) -> Explanation:
    """Return the view with the median share of heat, which is neither the best nor the worst picture."""
    middle = statistics.median(map(_energy, cell))
    return min(cell, key=lambda v: (abs(_energy(v) - middle), v.exam_id, v.view))


def typical_explanation(views: Sequence[Explanation], density: str, view: str) -> Explanation | None:
    """Return the example of a class and view: a correct one with the median share of heat, else a wrong one."""
    cell = [v for v in views if v.density == density and v.view == view and v.overlay]
    cell = [v for v in cell if v.predicted == density] or cell
    return _median_first(cell) if cell else None


def most_wrong(views: Sequence[Explanation], count: int) -> tuple[Explanation, ...]:
    """Return wrongly predicted views: furthest from the label first, then those with the highest probability."""

    def key(view: Explanation) -> tuple[int, float, str, str]:
        distance = abs(class_order(view.density)[0] - class_order(view.predicted)[0])
        return -distance, -max(view.probabilities), view.exam_id, view.view

    return tuple(sorted((v for v in views if v.overlay and v.predicted != v.density), key=key)[:count])


def least_heat(views: Sequence[Explanation], count: int) -> tuple[Explanation, ...]:
    """Return the views with the least share of heat inside the breast."""
    drawn = (v for v in views if v.overlay and v.energy_in_breast is not None)
    return tuple(sorted(drawn, key=lambda v: (_energy(v), v.exam_id, v.view))[:count])


def largest_systems(views: Sequence[Explanation], count: int) -> tuple[str, ...]:
    """Return the acquisition systems with the most views, largest first."""
    counts = Counter(view.acquisition_system for view in views)
    return tuple(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count])


def right_and_wrong(cell: Sequence[Explanation]) -> tuple[Explanation | None, Explanation | None]:
    """Return a correct and a wrong example among views of one class, ``None`` if there is none.

    The correct one has the median share of heat in the breast; the wrong one is furthest from its label.
    """
    right = [v for v in cell if v.overlay and v.predicted == v.density]
    wrong = most_wrong(cell, 1)
    return _median_first(right) if right else None, wrong[0] if wrong else None


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f}\u00a0%"


_MAPS: Final = {
    "image": ("input", "The {} view as the network sees it"),
    "muscle": ("muscle", "The {} view with the outline of the muscle"),
    "overlay": ("network", "Heat map of a {} view"),
    "texture": ("texture", "What the texture part measured in a {} view"),
    "sum": ("sum", "Sum of heat map and texture of a {} view"),
}


def _pictures(explanations: ReadExplanations, view: Explanation, limits: PictureLimits) -> tuple[Picture, ...]:
    """Return the pictures of a view that were drawn; of a heat map whose file is absent the block that says so."""
    found = []
    for kind, (caption, alt) in _MAPS.items():
        file = overlay_path(explanations.folder, getattr(view, kind) or "")
        name = alt.format(view_name(view.view))
        if kind == "overlay":
            heat = value_text("energy_in_breast", view.energy_in_breast)
            name += f", predicted {view.predicted}, label {view.density}, heat inside the breast {heat}"
        shown = picture(file, limits.max_side, limits.quality, name, caption=caption)
        if shown.uri or kind == "overlay":
            found.append(shown)
    return tuple(found)


def case_of(
    explanations: ReadExplanations, view: Explanation, limits: PictureLimits, *, with_system: bool = True
) -> Case:
    """Show a view: its pictures, prediction, label, probabilities and scores of the heat map."""
    scores = [f"heat in breast {value_text('energy_in_breast', view.energy_in_breast)}"]
    if view.energy_in_pectoral is not None:
        scores.append(f"on muscle {value_text('energy_in_pectoral', view.energy_in_pectoral)}")
    if view.spearman is not None:
        scores.append(f"rank correlation {view.spearman:.2f}")
    classes = zip(DENSITY_CLASSES, view.probabilities, strict=True)
    origin = (view.acquisition_system,) if with_system else ()
    return Case(
        _pictures(explanations, view, limits),
        view.predicted == view.density,
        view_name(view.view),
        view.predicted,
        view.density,
        segments(view.probabilities),
        " · ".join(f"{density}\u00a0{_percent(probability)}" for density, probability in classes),
        ". ".join((", ".join(scores).capitalize(), *origin, f"Exam {view.exam_id[:8]}")),
    )


def _lacking(kind: str, views: int) -> str:
    return f"No {kind} prediction." if views == 0 else f"Views with a {kind} prediction have no image."


def _system_group(explanations: ReadExplanations, density: str, system: str, limits: PictureLimits) -> CaseGroup:
    cell = [v for v in explanations.views if v.density == density and v.acquisition_system == system]
    if not cell:
        return CaseGroup(system, (), "No view of this class in the test split.")
    right, wrong = right_and_wrong(cell)
    hits = sum(view.predicted == density for view in cell)
    kinds = (("correct", right, hits), ("wrong", wrong, len(cell) - hits))
    return CaseGroup(
        f"{system}: {hits:,} of {len(cell):,} views correct",
        tuple(case_of(explanations, view, limits, with_system=False) for _, view, _ in kinds if view),
        " ".join(_lacking(kind, views) for kind, view, views in kinds if view is None),
    )


def class_cases(explanations: ReadExplanations, density: str, limits: PictureLimits) -> Cases:
    """Show a correct and a wrong case of a class from each acquisition system."""
    systems = largest_systems(explanations.views, limits.explained_systems)
    of_class = [view for view in explanations.views if view.density == density]
    right = sum(view.predicted == density for view in of_class)
    note = (
        f"{len(of_class):,} views explained, {right:,} of them with a correct prediction."
        if of_class
        else "No views in the test split."
    )
    groups = tuple(_system_group(explanations, density, system, limits) for system in systems if of_class)
    return Cases(DENSITY_MEANINGS[density].capitalize(), groups, note, density)


def view_cases(explanations: ReadExplanations, density: str, limits: PictureLimits) -> Cases:
    """Show a typical case of a class from each view, with a correct prediction if there is one."""
    found = {view: typical_explanation(explanations.views, density, view) for view in VIEWS}
    absent = [view_name(view) for view, example in found.items() if example is None]
    cases = tuple(case_of(explanations, example, limits) for example in found.values() if example)
    group = CaseGroup("", cases, f"No image of {', '.join(absent)}." if absent else "")
    return Cases(DENSITY_MEANINGS[density].capitalize(), (group,), density=density)
