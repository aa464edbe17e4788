"""Section "Explanation": where the networks look, by class and acquisition system, and where they went wrong."""

from __future__ import annotations

from components.report_generator.limits import PictureLimits
from components.report_generator.model_artifacts import Explanations
from components.report_generator.page import Block, CaseGroup, Cases, Charts, Fold, Heading, Note, Section, missing
from components.report_generator.pictures import overlay_path, picture
from components.report_generator.sections.explanation_tables import gates_table, sanity_figure, scores_table
from components.report_generator.sections.heat_maps import (
    case_of,
    class_cases,
    most_astray,
    view_cases,
)
from components.report_generator.text import view_name
from schema.features import DENSITY_CLASSES

ANCHOR, TITLE = "explanation", "Explanation"


def _feature_maps(explanations: Explanations, limits: PictureLimits) -> Fold | None:
    pictures = []
    for maps in explanations.summary.feature_maps:
        path = overlay_path(explanations.folder, maps.picture)
        title = f"{view_name(maps.view)}, {maps.block}"
        alt = f"Feature maps of {title}: filters {', '.join(map(str, maps.filters))}, a row a class"
        sheet = picture(path, limits.sheet_width, limits.quality, alt, caption=title)
        if sheet.uri:
            pictures.append(sheet)
    if not pictures:
        return None
    note = Note(
        "Output of the first blocks of each network: one rightly graded view a class (a row), and the filters whose "
        "maps vary most (a column), on one colour scale a filter. Dark is low.",
        "muted",
    )
    return Fold(f"Feature maps of the first blocks: {len(pictures)} pictures", (note, Charts(tuple(pictures))))


def _gallery(explanations: Explanations, limits: PictureLimits) -> list[Block]:
    every = len({view.acquisition_system for view in explanations.views})
    systems = min(every, limits.explained_systems)
    chosen = f"each of the {every}" if every == systems else f"each of the {systems} largest of {every}"
    how = (
        "Left the view as the network sees it, right its heat map: red is most, blue is least, each picture on a scale"
        " of its own. ✓ the view's grade is the label; ✗ it is not, and the case is framed (other views can still make"
        f" the exam's grade right). From {chosen} acquisition systems, a class: the right view with the median heat"
        " share, and the wrong one furthest from its label."
    )
    blocks: list[Block] = [Heading("Heat maps by class and acquisition system"), Note(how, "muted")]
    if not any(view.image for view in explanations.views):
        blocks.append(Note("Missing: the explanations hold no pictures without heat, so overlays stand alone.", "warn"))
    blocks += [class_cases(explanations, density, limits) for density in DENSITY_CLASSES]
    astray = tuple(case_of(explanations, v, limits) for v in most_astray(explanations.views, limits.astray))
    if astray:
        blocks.append(Cases("Least heat inside the breast", (CaseGroup("", astray),), "Of all classes. Look at these."))
    typical = tuple(view_cases(explanations, density, limits) for density in DENSITY_CLASSES)
    note = Note("The median heat share of its class and view, rightly graded where there is one.", "muted")
    blocks.append(Fold("Typical heat maps by class and view", (note, *typical)))
    return blocks


def explanation_section(explanations: Explanations | None, limits: PictureLimits) -> Section:
    """Shows where the heat lies, the gates on it, and heat maps by true class and acquisition system."""
    if explanations is None:
        return Section(ANCHOR, TITLE, (missing("explanations", "GradCamExplainer"),))
    summary = explanations.summary
    gate = (
        Note("✓ The explanation gates are passed.", "pass")
        if summary.passed
        else Note("✗ An explanation gate is failed: too much heat lies in the wrong place.", "fail")
    )
    asked = "of the predicted class" if summary.target_class == "predicted" else f"of class {summary.target_class}"
    what = (
        f"Grad-CAM {asked} (Selvaraju 2017), of logits, at the last block, of {summary.views:,} views of the test"
        " split. It says where the evidence for a class lies, not whether the grade is right."
    )
    blocks: list[Block] = [gate, Note(what, "muted")]
    if summary.gates:
        blocks.append(gates_table(summary))
    blocks.append(scores_table(summary.groups, crossed=False))
    if any(len(group.slice) > 1 for group in summary.groups):
        blocks.append(Fold("By class and acquisition system", (scores_table(summary.groups, crossed=True),)))
    if summary.sanity:
        blocks.append(sanity_figure(summary))
    blocks += _gallery(explanations, limits)
    if maps := _feature_maps(explanations, limits):
        blocks.append(maps)
    return Section(ANCHOR, TITLE, tuple(blocks))
