"""Write a set of special and standard pictures with ordinary headers, and the truth."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.phantom.appearance import APPEARANCES, Appearance
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.dicom import write_view
from pipeline.phantom.distractors import DISTRACTORS
from pipeline.phantom.exam import draw_exam, make_view
from pipeline.phantom.plan import ExamPlan, plan_exams
from pipeline.phantom.special import SPECIAL, Grey
from schema.features import VIEWS

STANDARD: Final = "standard"


@dataclass(frozen=True)
class SpecialView:
    """One picture, in memory.

    Attributes:
        name: ``KIND/EXAM.VIEW``.
        kind: A key of ``SPECIAL`` or ``DISTRACTORS``, or ``standard``.
        special: Whether it is to be refused.
        view: View that its header names.
        grey: float32 [rows, columns], 0..1, as a reader sees it.
        spacing_mm: Pixel spacing that its header names.
        plan: The exam it was made from.
    """

    name: str
    kind: str
    special: bool
    view: str
    grey: Grey
    spacing_mm: float
    plan: ExamPlan


def _shown(stored: NDArray[np.uint16], appearance: Appearance) -> Grey:
    """Return the grey of the standard window."""
    full = float((1 << appearance.bits_stored) - 1)
    share = stored.astype(np.float32) / np.float32(full)
    low, high = appearance.window
    upright = 1 - share if appearance.inverted else share
    return np.asarray(np.clip((upright - low) / (high - low), 0, 1), dtype=np.float32)


def special_views(config: PhantomConfig) -> Iterator[SpecialView]:
    """Make one picture of every kind, and the plain view, of each view of each exam."""
    for plan in plan_exams(config):
        source, appearance = draw_exam(plan, config), APPEARANCES[plan.system]
        for view in VIEWS:
            made = make_view(source, view)
            grey, spacing = _shown(made.stored, appearance), made.truth.pixel_spacing_mm
            yield SpecialView(f"{STANDARD}/{plan.exam_id}.{view}", STANDARD, False, view, grey, spacing, plan)
            for kinds, special in ((SPECIAL, True), (DISTRACTORS, False)):
                for kind, draw in kinds.items():
                    rng = np.random.default_rng([config.seed, plan.index, VIEWS.index(view), zlib.crc32(kind.encode())])
                    drawn = draw(grey, made.breast, spacing, rng)
                    yield SpecialView(f"{kind}/{plan.exam_id}.{view}", kind, special, view, drawn, spacing, plan)


def write_special_set(config: PhantomConfig, out: Path) -> dict[str, int]:
    """Write ``images/KIND/EXAM.VIEW.dcm`` and ``truth.csv`` (file, kind, special, view).

    Headers say nothing of the kind: they are those of an ordinary view.

    Args:
        config: Exams whose views are drawn on, their seed and reduction.
        out: Folder to write to.

    Returns:
        Pictures by kind.

    Raises:
        FileExistsError: The folder holds such a set already.
    """
    truth = out / "truth.csv"
    if truth.exists():
        raise FileExistsError(f"{truth} is there already; choose another folder.")
    rows = []
    counts: dict[str, int] = {}
    for made in special_views(config):
        # Grey as it is seen: 12 bits, full range, no window of its own.
        appearance = replace(
            APPEARANCES[made.plan.system],
            bits_stored=12,
            inverted=False,
            jpeg_ls=False,
            window=(0.0, 1.0),
            sigmoid_window=False,
        )
        file = out / "images" / f"{made.name}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        stored = np.rint(made.grey * 4095).astype(np.uint16)
        write_view(file, stored, made.plan, made.view, appearance, made.spacing_mm, (config.seed, made.kind))
        rows.append(
            {"file": f"images/{made.name}.dcm", "kind": made.kind, "special": int(made.special), "view": made.view}
        )
        counts[made.kind] = counts.get(made.kind, 0) + 1
    with truth.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return counts
