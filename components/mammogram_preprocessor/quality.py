"""The quality report: what was segmented, and which views a person should look at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.mammogram_preprocessor.result import PreprocessedView


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
        doubt: 0 (sure) to 1.
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

    @property
    def overlay(self) -> str:
        """Path of the view's overlay in the report; it names shard and record, never a person."""
        return f"overlays/{self.shard:05d}_{self.index:05d}_{self.view}.png"


def quality_row(
    shard: int, index: int, result: PreprocessedView, *, exam_id: str, view: str, system: str, density: str
) -> QualityRow:
    """Makes a row of what preprocessing gave."""
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
        round(result.doubt, 6),
    )


def choose_overlays(rows: Sequence[QualityRow], doubtful: int, typical_a_system: int) -> list[QualityRow]:
    """Chooses the views to draw: the most doubtful, and those of median doubt of each acquisition system.

    Args:
        rows: All views.
        doubtful: How many of the most doubtful.
        typical_a_system: How many typical ones with a muscle for each system.

    Returns:
        Rows, each once, sorted by shard and index.
    """
    ranked = sorted(rows, key=lambda row: (-row.doubt, row.shard, row.index))
    chosen = {(row.shard, row.index): row for row in ranked[:doubtful]}
    systems: dict[str, list[QualityRow]] = defaultdict(list)
    for row in ranked:
        if row.status != "not_applicable":
            systems[row.acquisition_system].append(row)
    for members in systems.values():
        start = max(0, (len(members) - typical_a_system) // 2)
        chosen |= {(row.shard, row.index): row for row in members[start : start + typical_a_system]}
    return sorted(chosen.values(), key=lambda row: (row.shard, row.index))


def report_row(row: QualityRow, drawn: bool) -> dict[str, Any]:
    """Gives a row as ``views.jsonl`` has it."""
    values = asdict(row)
    del values["shard"], values["index"]
    return values | {"overlay": row.overlay if drawn else None}


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
