"""Section "Segmentation": results for the pectoral muscle, and the images that a person should check."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from components.report_generator.artifacts import Quality, QualityView, ReviewSummary
from components.report_generator.page import Block, Cell, Fold, Gallery, Note, Picture, Section, Table, missing_note
from components.report_generator.pictures import PictureLimits, overlay_path, picture
from components.report_generator.text import number, share, view_name
from components.statistics.intervals import wilson_interval
from schema.features import PECTORAL_STATUSES

ANCHOR, TITLE = "segmentation", "Segmentation"


def _uncertainty(view: QualityView) -> float:
    return view.doubt or 0.0


def most_uncertain(views: Sequence[QualityView], count: int) -> tuple[QualityView, ...]:
    """Return the views with an overlay whose segmentation is most uncertain, worst first."""
    drawn = [v for v in views if v.overlay and _uncertainty(v) > 0]
    return tuple(sorted(drawn, key=lambda v: (-_uncertainty(v), v.exam_id, v.view))[:count])


def median_uncertainty(views: Sequence[QualityView]) -> float | None:
    """Return the median uncertainty of all views whose muscle was segmented, drawn or not; of all views without any."""
    segmented = [v for v in views if v.status != "not_applicable"] or views
    return statistics.median(map(_uncertainty, segmented)) if segmented else None


def typical_views(views: Sequence[QualityView], count: int) -> tuple[QualityView, ...]:
    """Return the drawn views of an acquisition system whose uncertainty is nearest to the median of all its views.

    A view outside the middle half of the uncertainties is not typical, even if no other was drawn.
    """
    segmented = [v for v in views if v.status != "not_applicable"] or list(views)
    middle = median_uncertainty(segmented)
    if middle is None:
        return ()
    low, high = np.percentile([_uncertainty(v) for v in segmented], [25, 75])
    drawn = [v for v in segmented if v.overlay and low <= _uncertainty(v) <= high]
    return tuple(sorted(drawn, key=lambda v: (abs(_uncertainty(v) - middle), v.exam_id, v.view))[:count])


def _picture(quality: Quality, view: QualityView, limits: PictureLimits, middle: float | None = None) -> Picture:
    muscle = view.pectoral_area_fraction
    parts = [view.status.replace("_", " ")]
    if muscle:
        parts.append(f"muscle {100 * muscle:.0f} % of breast and muscle")
    if view.doubt is not None:
        parts.append(f"uncertainty {number(view.doubt, 2)}")
    if middle is not None:
        parts.append(f"median of the system {number(middle, 2)}")
    detail = ", ".join(parts)
    return picture(
        overlay_path(quality.folder, view.overlay or ""),
        limits.max_side,
        limits.quality,
        f"{view_name(view.view)} view of class {view.density}, {view.acquisition_system}: {detail}",
        caption=f"{view_name(view.view)}, class {view.density}",
        detail=f"{detail}. {view.acquisition_system}. Exam {view.exam_id[:8]}",
        tone="warn" if view.status == "failed" else "",
    )


def _status_table(quality: Quality) -> Table:
    summary = quality.summary
    seen = {*summary.by_status, *(s for counts in summary.by_system.values() for s in counts)}
    statuses = [s for s in PECTORAL_STATUSES if s in seen] + sorted(seen - set(PECTORAL_STATUSES))
    rows = []
    for name, counts in [*sorted(summary.by_system.items()), ("All", summary.by_status)]:
        total = sum(counts.values())
        cells = (Cell(f"{counts.get(s, 0):,}", share(counts.get(s, 0), total)) for s in statuses)
        rows.append((Cell(name), *cells, Cell(f"{total:,}")))
    return Table(
        "Views by status of the pectoral muscle",
        ("System", *(s.replace("_", " ") for s in statuses), "Views"),
        tuple(rows),
        "Not applicable: CC views, where the muscle is not visible.",
    )


def _corrected(reviews: ReviewSummary) -> Cell:
    low, high = wilson_interval(reviews.corrected, reviews.used) or (0.0, 1.0)
    interval = f"{share(reviews.corrected, reviews.used)}, 95 % interval {100 * low:.0f} to {100 * high:.0f}\u00a0%"
    return Cell(f"{reviews.corrected:,} of {reviews.used:,}", interval)


def _agreement(reviews: ReviewSummary) -> Cell:
    dice = reviews.dice
    detail = f"n = {dice.n:,}, lowest {number(dice.lowest, 2)}" if dice.n else ""
    return Cell(number(dice.median, 3), detail)


def _reviews(reviews: ReviewSummary) -> list[Block]:
    """Count the reviews and name each that was not used."""
    refused = Cell(f"{reviews.refused:,}", tone="warn" if reviews.refused else "")
    rows: list[tuple[Cell, ...]] = [
        (Cell("Images reviewed"), Cell(f"{reviews.used:,}")),
        (Cell("Automatic result accepted"), Cell(f"{reviews.accepted:,}")),
        (Cell("Muscle outlined by a person"), Cell(f"{reviews.changed:,}")),
        (Cell("No muscle according to a person"), Cell(f"{reviews.absent:,}")),
        (Cell("Files not used"), refused),
    ]
    if reviews.used:
        rows.append((Cell("Automatic result was wrong"), _corrected(reviews)))
        rows.append((Cell("Dice of automatic and outlined muscle, median"), _agreement(reviews)))
    note = (
        "Wrong: a muscle was missed or invented, or the outline by a person is different (Dice below 0.98). People"
        " review the most uncertain images first, so this is not the share of all images."
    )
    blocks: list[Block] = [Table("Reviews by people", ("", "Images"), tuple(rows), note)]
    if reviews.findings:
        listed = tuple(
            (Cell(finding.file), Cell(finding.problem.replace("_", " ")), Cell(finding.sentence))
            for finding in reviews.findings
        )
        table = Table("Images that keep the automatic result", ("File", "Reason", "What to do"), listed)
        blocks.append(Fold(f"{reviews.refused:,} review files were not used", (table,)))
    return blocks


def segmentation_section(quality: Quality | None, limits: PictureLimits) -> Section:
    """Show the results of the segmentation, its most uncertain images and typical images of each system."""
    if quality is None:
        return Section(ANCHOR, TITLE, (missing_note("quality report", "MammogramPreprocessor"),))
    blocks: list[Block] = [_status_table(quality)]
    if quality.summary.reviews is not None and quality.summary.reviews.files:
        blocks += _reviews(quality.summary.reviews)
    uncertain = most_uncertain(quality.views, limits.uncertain)
    if uncertain:
        blocks.append(
            Gallery(
                "Most uncertain",
                tuple(_picture(quality, v, limits) for v in uncertain),
                "The images with the most uncertain segmentation, worst first. Check these first.",
            )
        )
    systems = sorted({v.acquisition_system for v in quality.views})
    pictures = []
    for system in systems[: limits.systems]:
        of_system = [v for v in quality.views if v.acquisition_system == system]
        middle = median_uncertainty(of_system)
        pictures += [_picture(quality, v, limits, middle) for v in typical_views(of_system, limits.typical)]
    if pictures:
        note = "Of the drawn views, those whose uncertainty is nearest to the median of all views of their system."
        if len(systems) > limits.systems:
            note += f" The first {limits.systems} of {len(systems)} systems."
        blocks.append(Gallery("Typical of each system", tuple(pictures), note))
    if not uncertain and not pictures:
        blocks.append(Note("No overlays were written.", "muted"))
    return Section(ANCHOR, TITLE, tuple(blocks))
