"""The pectoral muscle by method ``auto``: best line, then curve, then a verdict by evidence."""

from __future__ import annotations

from typing import Final

import numpy as np

from components.mammogram_preprocessor.curve import refine
from components.mammogram_preprocessor.edge import Line, find_line
from components.mammogram_preprocessor.region import MuscleEdge, Region, line_residual

# Evidence (see ``Line.evidence``) of 193 film views with a muscle: .45 or more for 99 %. Of 290
# craniocaudal and upside-down views, and 60 of plain texture, which have no muscle there: 2 % reach .5.
_PRESENT: Final = 0.5
_ABSENT: Final = 0.4
# A muscle of less or more than these shares of breast and muscle is none.
_AREA: Final = (0.005, 0.55)
_SURE_EVIDENCE: Final = 0.95
_SURE_MARGIN: Final = 0.4
_LARGE_RESIDUAL: Final = 0.03


def _verdict(line: Line, region: Region) -> tuple[str, tuple[str, ...]]:
    """Status and reasons, by what is seen along the best line."""
    evidence = line.evidence
    area = line.top * line.foot / 2 / max(1, int(region.mask.sum()))
    if evidence < _ABSENT:
        return "absent", (f"no edge in the corner: evidence {evidence:.2f} is below {_ABSENT}",)
    if evidence < _PRESENT:
        return "failed", (f"the edge is unclear: evidence {evidence:.2f} lies between {_ABSENT} and {_PRESENT}",)
    if not _AREA[0] <= area <= _AREA[1]:
        return "failed", (f"the area is no muscle's: {area:.3f} of the breast, allowed {_AREA[0]} to {_AREA[1]}",)
    return "removed", ()


def _doubt(status: str, line: Line, residual: float) -> float:
    """Grows with weak evidence, a rival line and a bent edge; for an absent muscle, with evidence for it."""
    if status == "failed":
        return 1.0
    if status == "absent":
        return float(np.clip(line.evidence / _ABSENT, 0, 1))
    weak = (_SURE_EVIDENCE - line.evidence) / (_SURE_EVIDENCE - _PRESENT)
    contested = 1 - line.margin / _SURE_MARGIN
    bent = residual / _LARGE_RESIDUAL
    return float(np.dot((0.6, 0.2, 0.2), np.clip([weak, contested, bent], 0, 1)))


def find_muscle(region: Region) -> MuscleEdge:
    """Finds the muscle's edge, or says by what evidence there is none or none can be found.

    Args:
        region: Breast and muscle of a mediolateral oblique view, chest wall at the left edge.

    Returns:
        ``removed`` with the edge; ``absent`` where no line in the corner looks like one; ``failed`` where one
        does in part, or would cut off more than a muscle.
    """
    line = find_line(region)
    status, reasons = _verdict(line, region)
    points = refine(region, line) if status == "removed" else np.empty((0, 2))
    residual = line_residual(points, region.grey.shape[0]) if len(points) else 0.0
    return MuscleEdge(
        status=status,
        points=points,
        doubt=_doubt(status, line, residual),
        angle_deg=line.angle_deg,
        fit_residual=residual,
        contrast=line.contrast,
        alignment=line.alignment,
        support=line.support,
        reasons=reasons,
    )
