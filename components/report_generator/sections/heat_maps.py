"""Heat maps of graded views: which are shown, and what is said under each."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from components.report_generator.class_bars import segments
from components.report_generator.limits import PictureLimits
from components.report_generator.model_artifacts import Explanation, Explanations
from components.report_generator.page import Case, CaseGroup, Cases
from components.report_generator.pictures import overlay_path, picture
from components.report_generator.text import class_order, value_text, view_name
from schema.features import DENSITY_CLASSES, DENSITY_MEANINGS, VIEWS


def _energy(view: Explanation) -> float:
    return view.energy_in_breast or 0.0


def _median_first(cell: Sequence[Explanation]) -> Explanation:
    """The median keeps the choice from being the prettiest picture."""
    middle = statistics.median(map(_energy, cell))
    return min(cell, key=lambda v: (abs(_energy(v) - middle), v.exam_id, v.view))


def typical(views: Sequence[Explanation], density: str, view: str) -> Explanation | None:
    """Returns the example of a class and view: a right one with the median heat share, else a wrong one."""
    cell = [v for v in views if v.density == density and v.view == view and v.overlay]
    cell = [v for v in cell if v.predicted == density] or cell
    return _median_first(cell) if cell else None


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


def largest_systems(views: Sequence[Explanation], count: int) -> tuple[str, ...]:
    """Returns the acquisition systems with the most views, largest first."""
    counts = Counter(view.acquisition_system for view in views)
    return tuple(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count])


def right_and_wrong(cell: Sequence[Explanation]) -> tuple[Explanation | None, Explanation | None]:
    """Returns a right and a wrong example of views of one class, ``None`` where there is none.

    The right one has the median heat share; the wrong one is furthest from its label.
    """
    right = [v for v in cell if v.overlay and v.predicted == v.density]
    wrong = most_wrong(cell, 1)
    return _median_first(right) if right else None, wrong[0] if wrong else None


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f}\u00a0%"


def case_of(explanations: Explanations, view: Explanation, limits: PictureLimits, *, with_system: bool = True) -> Case:
    """Shows a view: picture, heat map, grade, label, probabilities, where the heat lies."""
    right = view.predicted == view.density
    name = view_name(view.view)
    heat = value_text("energy_in_breast", view.energy_in_breast)
    grade = f"graded {view.predicted} ({_percent(max(view.probabilities))}), label {view.density}"
    overlay = picture(
        overlay_path(explanations.folder, view.overlay or ""),
        limits.max_side,
        limits.quality,
        f"Heat map of a {name} view, {grade}, heat inside the breast {heat}",
    )
    image = None
    if view.image and overlay.uri:
        path = overlay_path(explanations.folder, view.image)
        image = picture(path, limits.max_side, limits.quality, f"The {name} view as the network sees it")
    scores = [f"heat in breast {heat}"]
    if view.energy_in_pectoral is not None:
        scores.append(f"on muscle {value_text('energy_in_pectoral', view.energy_in_pectoral)}")
    if view.spearman is not None:
        scores.append(f"rank correlation {view.spearman:.2f}")
    classes = zip(DENSITY_CLASSES, view.probabilities, strict=True)
    origin = (view.acquisition_system,) if with_system else ()
    return Case(
        image,
        overlay,
        right,
        name,
        view.predicted,
        view.density,
        segments(view.probabilities),
        " · ".join(f"{density}\u00a0{_percent(probability)}" for density, probability in classes),
        ". ".join((", ".join(scores).capitalize(), *origin, f"Exam {view.exam_id[:8]}")),
    )


def _lacking(kind: str, views: int) -> str:
    return f"No view was graded {kind}ly." if views == 0 else f"{kind.capitalize()}ly graded views were not drawn."


def _system_group(explanations: Explanations, density: str, system: str, limits: PictureLimits) -> CaseGroup:
    cell = [v for v in explanations.views if v.density == density and v.acquisition_system == system]
    if not cell:
        return CaseGroup(system, (), "No view of this class in the test split.")
    right, wrong = right_and_wrong(cell)
    hits = sum(view.predicted == density for view in cell)
    kinds = (("right", right, hits), ("wrong", wrong, len(cell) - hits))
    return CaseGroup(
        f"{system}: {hits:,} of {len(cell):,} views right",
        tuple(case_of(explanations, view, limits, with_system=False) for _, view, _ in kinds if view),
        " ".join(_lacking(kind, views) for kind, view, views in kinds if view is None),
    )


def class_cases(explanations: Explanations, density: str, limits: PictureLimits) -> Cases:
    """Shows a right and a wrong case of a class from each acquisition system."""
    systems = largest_systems(explanations.views, limits.explained_systems)
    of_class = [view for view in explanations.views if view.density == density]
    right = sum(view.predicted == density for view in of_class)
    note = (
        f"{len(of_class):,} views explained, {right:,} of them graded as labelled."
        if of_class
        else "None in the test split."
    )
    groups = tuple(_system_group(explanations, density, system, limits) for system in systems if of_class)
    return Cases(DENSITY_MEANINGS[density].capitalize(), groups, note, density)


def view_cases(explanations: Explanations, density: str, limits: PictureLimits) -> Cases:
    """Shows a typical case of a class from each view, rightly graded where there is one."""
    found = {view: typical(explanations.views, density, view) for view in VIEWS}
    absent = [view_name(view) for view, example in found.items() if example is None]
    cases = tuple(case_of(explanations, example, limits) for example in found.values() if example)
    group = CaseGroup("", cases, f"No picture of {', '.join(absent)}." if absent else "")
    return Cases(DENSITY_MEANINGS[density].capitalize(), (group,), density=density)
