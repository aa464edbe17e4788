"""Section "Experiments": where comparisons of several runs are found."""

from __future__ import annotations

from components.report_generator.page import Note, Section


def experiments_section() -> Section:
    """Says that experiments have pages of their own."""
    text = (
        "This page shows one run. Experiments compare several on the same data (architecture, normalisation,"
        " segmentation, flip, image size, an unseen acquisition system, dataset size), and each has a page of its"
        " own, which breast-density experiment NAME writes."
    )
    return Section("experiments", "Experiments", (Note(text),))
