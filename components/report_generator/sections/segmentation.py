"""Section "Segmentation": what became of the pectoral muscle, with the images that need a human eye."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from components.report_generator.artifacts import Quality, QualityView, ReviewSummary
from components.report_generator.limits import PictureLimits
from components.report_generator.page import Block, Cell, Fold, Gallery, Note, Picture, Section, Table, missing
from components.report_generator.pictures import overlay_path, picture
from components.report_generator.text import number, share, view_name
from components.statistics.intervals import wilson_interval
from schema.features import PECTORAL_STATUSES

ANCHOR, TITLE = "segmentation", "Segmentation"


def _doubt(view: QualityView) -> float:
    return view.doubt or 0.0


def most_doubtful(views: Sequence[QualityView], count: int) -> tuple[QualityView, ...]:
    """Returns the views with an overlay that the segmentation was least sure of, worst first."""
    drawn = [v for v in views if v.overlay and _doubt(v) > 0]
    return tuple(sorted(drawn, key=lambda v: (-_doubt(v), v.exam_id, v.view))[:count])


def typical(views: Sequence[QualityView], count: int) -> tuple[QualityView, ...]:
    """Returns the views with an overlay whose doubt is nearest the median, muscle-bearing ones first."""
    drawn = [v for v in views if v.overlay]
    mlo = [v for v in drawn if v.status != "not_applicable"] or drawn
    if not mlo:
        return ()
    middle = statistics.median(_doubt(v) for v in mlo)
    return tuple(sorted(mlo, key=lambda v: (abs(_doubt(v) - middle), v.exam_id, v.view))[:count])


def _picture(quality: Quality, view: QualityView, limits: PictureLimits) -> Picture:
    muscle = view.pectoral_area_fraction
    parts = [view.status.replace("_", " ")]
    if muscle:
        parts.append(f"muscle {100 * muscle:.0f} % of breast and muscle")
    if view.doubt is not None:
        parts.append(f"doubt {number(view.doubt, 2)}")
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
        "Not applicable: CC views, where the muscle does not show.",
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
    """Counts the reviews and names each that was not used."""
    refused = Cell(f"{reviews.refused:,}", tone="warn" if reviews.refused else "")
    rows: list[tuple[Cell, ...]] = [
        (Cell("Images reviewed"), Cell(f"{reviews.used:,}")),
        (Cell("Automatic result accepted"), Cell(f"{reviews.accepted:,}")),
        (Cell("Muscle outlined by a person"), Cell(f"{reviews.changed:,}")),
        (Cell("No muscle, says a person"), Cell(f"{reviews.absent:,}")),
        (Cell("Files not used"), refused),
    ]
    if reviews.used:
        rows.append((Cell("Automatic result was wrong"), _corrected(reviews)))
        rows.append((Cell("Dice of automatic and drawn muscle, median"), _agreement(reviews)))
    note = (
        "Wrong: a muscle was missed or invented, or the drawn outline is another one (Dice below .98). People look at"
        " the most doubtful images first, so that this is no share of all images."
    )
    blocks: list[Block] = [Table("Reviews by people", ("", "Images"), tuple(rows), note)]
    if reviews.findings:
        listed = tuple(
            (Cell(finding.file), Cell(finding.problem.replace("_", " ")), Cell(finding.sentence))
            for finding in reviews.findings
        )
        table = Table("The automatic result stays for these", ("File", "Reason", "What to do"), listed)
        blocks.append(Fold(f"{reviews.refused:,} review files were not used", (table,)))
    return blocks


def segmentation_section(quality: Quality | None, limits: PictureLimits) -> Section:
    """Shows the segmentation's outcome, its most doubtful images and typical ones of each system."""
    if quality is None:
        return Section(ANCHOR, TITLE, (missing("quality report", "MammogramPreprocessor"),))
    blocks: list[Block] = [_status_table(quality)]
    if quality.summary.reviews is not None and quality.summary.reviews.files:
        blocks += _reviews(quality.summary.reviews)
    doubtful = most_doubtful(quality.views, limits.doubtful)
    if doubtful:
        blocks.append(
            Gallery(
                "Most doubtful",
                tuple(_picture(quality, v, limits) for v in doubtful),
                "The images that the segmentation was least sure of, worst first. Look at these.",
            )
        )
    chosen = {(v.exam_id, v.view) for v in doubtful}
    systems = sorted({v.acquisition_system for v in quality.views})
    pictures = []
    for system in systems[: limits.systems]:
        rest = [v for v in quality.views if v.acquisition_system == system and (v.exam_id, v.view) not in chosen]
        pictures += [_picture(quality, v, limits) for v in typical(rest, limits.typical)]
    if pictures:
        note = "Views whose doubt is nearest the median of their acquisition system."
        if len(systems) > limits.systems:
            note += f" The first {limits.systems} of {len(systems)} systems."
        blocks.append(Gallery("Typical of each system", tuple(pictures), note))
    if not doubtful and not pictures:
        blocks.append(Note("No overlays were written.", "muted"))
    return Section(ANCHOR, TITLE, tuple(blocks))
