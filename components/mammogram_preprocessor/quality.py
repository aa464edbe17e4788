"""The quality report: results of the segmentation, and which views a person should look at."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.review.problems import UnusedReview
from components.review.review_file import ReviewName, review_name
from components.review.reviewed_view import ReviewOutcome
from schema.features import is_mlo


@dataclass(frozen=True)
class QualityRow:
    """One view in the quality report.

    Attributes:
        shard: Input shard, the index of its file.
        index: Record in the shard.
        exam_id: Keyed hash.
        view: One of VIEWS.
        acquisition_system: Slicing key.
        density: True class.
        status: One of PECTORAL_STATUSES.
        pectoral_area_fraction: Muscle's share of breast and muscle, 0..1.
        breast_area_fraction: Share of the image that is breast and muscle, 0..1.
        doubt: Uncertainty of the segmentation, 0 (certain, or reviewed) to 1.
        pixels_sha256: ``pixels_sha256`` of the ingested image.
        review: Outcome of the view's review, if a review is used.
        unused_review: The view's review and why it is not used, if so.
    """

    shard: int
    index: int
    exam_id: str
    view: str
    acquisition_system: str
    density: str
    status: str
    pectoral_area_fraction: float
    breast_area_fraction: float
    doubt: float
    pixels_sha256: str
    review: ReviewOutcome | None = None
    unused_review: UnusedReview | None = None

    @property
    def review_name(self) -> ReviewName:
        """The name that a review of this view has."""
        return review_name(self.exam_id, self.view, self.pixels_sha256)

    @property
    def overlay(self) -> str:
        """Path of the view's overlay in the report; it contains shard and record, no patient identity."""
        return f"overlays/{self.shard:05d}_{self.index:05d}_{self.view}.png"


def _by_doubt(rows: Iterable[QualityRow]) -> list[QualityRow]:
    return sorted(rows, key=lambda row: (-row.doubt, row.exam_id, row.view))


def rank_by_doubt(rows: Iterable[QualityRow]) -> dict[ReviewName, int]:
    """Rank the oblique views for a review: rank 1 has the highest doubt.

    Views in which the muscle was segmented are ranked, reviewed views last. Ties are ordered by exam and view.
    """
    segmented = [row for row in rows if is_mlo(row.view) and row.status != "not_applicable"]
    ordered = sorted(_by_doubt(segmented), key=lambda row: row.review is not None)
    return {row.review_name: rank for rank, row in enumerate(ordered, start=1)}


def choose_overlays(rows: Sequence[QualityRow], doubtful: int, typical_per_system: int) -> list[QualityRow]:
    """Choose the views to draw: those of highest doubt, and those of median doubt per acquisition system.

    Args:
        rows: All views.
        doubtful: Number of views of highest doubt.
        typical_per_system: Number of views of median doubt per acquisition system.

    Returns:
        Rows without duplicates, sorted by shard and index.
    """
    ranked = _by_doubt(rows)
    chosen = {(row.shard, row.index): row for row in ranked[:doubtful]}
    systems: dict[str, list[QualityRow]] = defaultdict(list)
    for row in ranked:
        if row.status != "not_applicable":
            systems[row.acquisition_system].append(row)
    for members in systems.values():
        start = max(0, (len(members) - typical_per_system) // 2)
        chosen |= {(row.shard, row.index): row for row in members[start : start + typical_per_system]}
    return sorted(chosen.values(), key=lambda row: (row.shard, row.index))


def report_row(row: QualityRow, rank: int | None, drawn: bool) -> dict[str, Any]:
    """Return a row of ``views.jsonl``.

    Args:
        row: The view.
        rank: Its rank by doubt; None if its muscle was not segmented.
        drawn: True if its overlay is in the report.
    """
    values = asdict(row)
    del values["shard"], values["index"], values["unused_review"]
    return values | {
        "rank": rank,
        "review_name": row.review_name.stem if is_mlo(row.view) else None,
        "overlay": row.overlay if drawn else None,
    }


def quality_summary(rows: Iterable[QualityRow]) -> dict[str, Any]:
    """Count views by status, in total and per acquisition system."""
    total: Counter[str] = Counter()
    systems: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        total[row.status] += 1
        systems[row.acquisition_system][row.status] += 1
    return {
        "views": sum(total.values()),
        "by_status": dict(sorted(total.items())),
        "by_system": {system: dict(sorted(counts.items())) for system, counts in sorted(systems.items())},
    }


def review_summary(rows: Iterable[QualityRow], unused: Iterable[UnusedReview]) -> dict[str, Any]:
    """Count the reviews: each file in the folder is accepted, changed, absent or refused.

    Args:
        rows: All views.
        unused: Reviews that are not used.

    Returns:
        Counts by verdict; the number of corrected automatic results; the Dice coefficients of the automatic and the
        drawn muscle, if both exist; and the files that are not used, without names that could identify a person.
    """
    outcomes = [row.review for row in rows if row.review is not None]
    refused = sorted(unused, key=lambda review: review.file)
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    agreements = sorted(o.dice for o in outcomes if o.dice is not None and o.verdict == "changed")
    return {
        "files": len(outcomes) + len(refused),
        "accepted": verdicts["accepted"],
        "changed": verdicts["changed"],
        "absent": verdicts["absent"],
        "refused": len(refused),
        "corrected": sum(outcome.corrected for outcome in outcomes),
        "dice": {
            "n": len(agreements),
            "median": round(statistics.median(agreements), 6) if agreements else None,
            "lowest": agreements[0] if agreements else None,
        },
        "by_problem": dict(sorted(Counter(review.problem.value for review in refused).items())),
        "findings": [
            {"file": review.shown, "problem": review.problem.value, "sentence": review.sentence} for review in refused
        ],
    }
