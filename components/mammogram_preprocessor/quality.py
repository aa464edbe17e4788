"""The quality report: what was segmented, and which views a person should look at."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.review.apply import Reviewed, ReviewOutcome
from components.review.findings import Finding
from components.review.naming import ReviewName, review_name
from schema.features import is_mlo


@dataclass(frozen=True)
class QualityRow:
    """Figures of one view.

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
        doubt: 0 (sure, or reviewed) to 1.
        pixels_sha256: ``pixels_sha256`` of the ingested image.
        review: What the view's review came to, if it has one that is used.
        finding: Why its review is not used, if so.
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
    finding: Finding | None = None

    @property
    def review_name(self) -> ReviewName:
        """Name of a review of this view."""
        return review_name(self.exam_id, self.view, self.pixels_sha256)

    @property
    def overlay(self) -> str:
        """Path of the view's overlay in the report; it names shard and record, never a person."""
        return f"overlays/{self.shard:05d}_{self.index:05d}_{self.view}.png"


def quality_row(
    shard: int,
    index: int,
    reviewed: Reviewed,
    *,
    exam_id: str,
    view: str,
    system: str,
    density: str,
    pixels_sha256: str,
) -> QualityRow:
    """Makes a row of what preprocessing gave; what a person has looked at is not doubtful any more."""
    result = reviewed.result
    return QualityRow(
        shard,
        index,
        exam_id,
        view,
        system,
        density,
        result.status,
        round(result.pectoral_area_fraction, 6),
        round(result.breast_area_fraction, 6),
        0.0 if reviewed.outcome else round(result.doubt, 6),
        pixels_sha256,
        reviewed.outcome,
        reviewed.finding,
    )


def _by_doubt(rows: Iterable[QualityRow]) -> list[QualityRow]:
    return sorted(rows, key=lambda row: (-row.doubt, row.exam_id, row.view))


def ranks(rows: Iterable[QualityRow]) -> dict[ReviewName, int]:
    """Ranks the oblique views by doubt, for a review: 1 is the most doubtful.

    Views whose muscle was looked for are ranked, the reviewed ones last. Equal doubt is ordered by exam and view.
    """
    looked_for = [row for row in rows if is_mlo(row.view) and row.status != "not_applicable"]
    ordered = sorted(_by_doubt(looked_for), key=lambda row: row.review is not None)
    return {row.review_name: rank for rank, row in enumerate(ordered, start=1)}


def choose_overlays(rows: Sequence[QualityRow], doubtful: int, typical_a_system: int) -> list[QualityRow]:
    """Chooses the views to draw: the most doubtful, and those of median doubt of each acquisition system.

    Args:
        rows: All views.
        doubtful: How many of the most doubtful.
        typical_a_system: How many typical ones with a muscle for each system.

    Returns:
        Rows, each once, sorted by shard and index.
    """
    ranked = _by_doubt(rows)
    chosen = {(row.shard, row.index): row for row in ranked[:doubtful]}
    systems: dict[str, list[QualityRow]] = defaultdict(list)
    for row in ranked:
        if row.status != "not_applicable":
            systems[row.acquisition_system].append(row)
    for members in systems.values():
        start = max(0, (len(members) - typical_a_system) // 2)
        chosen |= {(row.shard, row.index): row for row in members[start : start + typical_a_system]}
    return sorted(chosen.values(), key=lambda row: (row.shard, row.index))


def report_row(row: QualityRow, rank: int | None, drawn: bool) -> dict[str, Any]:
    """Gives a row as ``views.jsonl`` has it.

    Args:
        row: The view.
        rank: Its rank by doubt; None for a view that has no muscle to look for.
        drawn: Whether its overlay is in the report.
    """
    values = asdict(row)
    del values["shard"], values["index"], values["finding"]
    return values | {
        "rank": rank,
        "review_name": row.review_name.stem if is_mlo(row.view) else None,
        "overlay": row.overlay if drawn else None,
    }


def quality_summary(rows: Iterable[QualityRow]) -> dict[str, Any]:
    """Counts views by status, in all and by acquisition system."""
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


def review_summary(rows: Iterable[QualityRow], findings: Iterable[Finding]) -> dict[str, Any]:
    """Counts the reviews: every file in the folder is accepted, changed, absent or refused.

    Args:
        rows: All views.
        findings: Reviews that were not used, for whatever reason.

    Returns:
        Counts by verdict; how many automatic results were corrected; the Dice coefficients of automatic and drawn
        muscle where there are both; and each file that is not used, by a name that identifies nobody.
    """
    outcomes = [row.review for row in rows if row.review is not None]
    refused = sorted(findings, key=lambda finding: finding.file)
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
        "by_problem": dict(sorted(Counter(finding.problem.value for finding in refused).items())),
        "findings": [
            {"file": finding.shown, "problem": finding.problem.value, "sentence": finding.sentence}
            for finding in refused
        ],
    }
